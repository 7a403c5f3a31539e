"""Encodes state as bytes and decodes it, without pickle, with a checksum and a version.

Layout: ``DL``, version (1 byte), length of the kind (1 byte), kind (ASCII), payload (MessagePack),
CRC-32 of everything before it (4 bytes, big endian).
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import msgspec

from stream_monitor.errors import CorruptState
from stream_monitor.state.earlier_names import with_current_names

MAGIC: Final = b"DL"
VERSION: Final = 2
"""In version 1 some fields have earlier names; see `earlier_names`."""
MAX_KIND: Final = 64

_HEAD: Final = len(MAGIC) + 2
_CRC: Final = 4


def encode_state(kind: str, data: Any) -> bytes:
    """Encode ``data`` (dicts, lists, str, bytes, floats, ints of 64 bits) under a ``kind``.

    Raises:
        ValueError: the kind is not 1 to 64 ASCII characters, or an integer does not fit 64 bits.
    """
    name = kind.encode("ascii")
    if not 0 < len(name) <= MAX_KIND:
        raise ValueError(f"a kind has 1 to {MAX_KIND} characters, not {len(name)}")
    try:
        payload = msgspec.msgpack.encode(data)
    except OverflowError as error:
        raise ValueError(f"{kind}: {error}; store larger integers as text") from error
    body = b"".join((MAGIC, bytes((VERSION, len(name))), name, payload))
    return body + zlib.crc32(body).to_bytes(_CRC, "big")


def decode_state(kind: str, blob: bytes) -> Any:
    """Decode data that was encoded under ``kind``.

    Raises:
        CorruptState: for any bytes that `encode_state` did not make under this kind and version.
    """
    if len(blob) < _HEAD + _CRC or not blob.startswith(MAGIC):
        raise CorruptState(f"{kind}: {len(blob)} bytes are not an envelope")
    if not 1 <= blob[2] <= VERSION:
        raise CorruptState(f"{kind}: version {blob[2]} of the envelope is unknown")
    body = memoryview(blob)[:-_CRC]
    if zlib.crc32(body) != int.from_bytes(blob[-_CRC:], "big"):
        raise CorruptState(f"{kind}: the checksum does not match")
    end = _HEAD + blob[3]
    if bytes(body[_HEAD:end]) != kind.encode("ascii"):
        raise CorruptState(f"{kind}: the envelope holds {bytes(body[_HEAD:end])!r}")
    try:
        data = msgspec.msgpack.decode(body[end:])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptState(f"{kind}: {error}") from error
    return data if blob[2] == VERSION else with_current_names(data)
