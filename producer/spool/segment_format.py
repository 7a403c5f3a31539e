"""The format of a segment file of the spool; undamaged records are readable around damage.

A segment is a header and frames::

    header  magic 7 | version u8 | crc32 u32
    frame   marker 4 | length u32 | crc32 u32 | record as MessagePack

Numbers are big-endian.  A frame's checksum covers its offset and length too, so that a frame is
valid only where it was written.  The checksum is not a signature: it does not protect against a
value that contains a frame forged for another offset.

The marker begins with a byte that UTF-8 does not contain; after damage, reading continues at the
next marker.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

VERSION: Final = 1
_MAGIC: Final = b"driftsp"
_MARKER: Final = b"\xff\xd5\x01\xfe"
_HEADER: Final = struct.Struct(">7sBI")
_FRAME: Final = struct.Struct(">4sII")
_CHECKSUM_PREFIX: Final = struct.Struct(">QI")

HEADER_BYTES: Final = _HEADER.size


class SpooledRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record for Kafka; its headers are derived from ``value`` and ``source``."""

    topic: str
    key: bytes
    source: str
    value: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(SpooledRecord).decode


def header(version: int = VERSION) -> bytes:
    """Return the first bytes of a segment.

    >>> len(header()) == HEADER_BYTES
    True
    """
    return _HEADER.pack(_MAGIC, version, zlib.crc32(_MAGIC + bytes([version])))


def version_of(segment: bytes) -> int | None:
    """Return the version in the header of a segment; ``None`` if the header is damaged.

    >>> version_of(header()), version_of(header(2)), version_of(b"")
    (1, 2, None)
    """
    if len(segment) < HEADER_BYTES:
        return None
    version = segment[len(_MAGIC)]
    return version if segment.startswith(header(version)) else None


def frame(record: SpooledRecord, offset: int) -> bytes:
    """Encode a record for the position ``offset`` bytes after the beginning of its segment."""
    payload = _encode(record)
    return _FRAME.pack(_MARKER, len(payload), _checksum(payload, offset)) + payload


def records_of(segment: bytes) -> Iterator[SpooledRecord | None]:
    """Yield the records of a segment in order, and ``None`` for each damaged part.

    An incomplete last frame, as a crash leaves it, is not damage.  The header is not checked (see
    `version_of`).

    >>> one = SpooledRecord(topic="t", key=b"k", source="/s", value=b"{}")
    >>> list(records_of(header() + frame(one, HEADER_BYTES))) == [one]
    True
    """
    position = HEADER_BYTES
    while position < len(segment):
        found = _record_at(segment, position)
        if found is not None:
            record, position = found
            yield record
            continue
        following = _next_frame(segment, position + 1)
        if following is None and _is_torn(segment, position):
            return
        yield None
        if following is None:
            return
        position = following


def _checksum(payload: bytes, offset: int) -> int:
    return zlib.crc32(payload, zlib.crc32(_CHECKSUM_PREFIX.pack(offset, len(payload))))


def _record_at(segment: bytes, position: int) -> tuple[SpooledRecord, int] | None:
    """Return the record at a position and its end, if a valid frame is there."""
    begin = position + _FRAME.size
    if begin > len(segment):
        return None
    marker, length, checksum = _FRAME.unpack_from(segment, position)
    payload = segment[begin : begin + length]
    if marker != _MARKER or len(payload) != length or _checksum(payload, position) != checksum:
        return None
    try:
        return _decode(payload), begin + length
    except msgspec.MsgspecError:  # a valid frame with another content
        return None


def _next_frame(segment: bytes, position: int) -> int | None:
    """Return the position of the next valid frame, at ``position`` or later."""
    while (position := segment.find(_MARKER, position)) >= 0:
        if _record_at(segment, position) is not None:
            return position
        position += 1
    return None


def _is_torn(segment: bytes, position: int) -> bool:
    """Whether an incomplete frame begins at ``position`` and reaches beyond the end."""
    rest = segment[position : position + _FRAME.size]
    if len(rest) < _FRAME.size:
        return _MARKER.startswith(rest[: len(_MARKER)])
    marker, length, _ = _FRAME.unpack(rest)
    return bool(marker == _MARKER and position + _FRAME.size + length > len(segment))
