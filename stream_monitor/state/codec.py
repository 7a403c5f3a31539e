"""The envelope of stored state: a format version, the kind of the content, and a checksum.

Layout: ``DL``, version (1 byte), length of the kind (1 byte), kind (ASCII), payload (MessagePack),
CRC-32 of everything before it (4 bytes, big endian).
"""

from __future__ import annotations

import zlib
from typing import Any, Final, TypeVar, overload

from stream_monitor.state_parts import CorruptState, decode_part, encode_part

T = TypeVar("T")

MAGIC: Final = b"DL"
VERSION: Final = 3
MAX_KIND: Final = 64

_HEAD: Final = len(MAGIC) + 2
_CRC: Final = 4


def wrap(kind: str, payload: bytes) -> bytes:
    """Return an encoded part of a ``kind`` in an envelope.

    Raises:
        ValueError: the kind is not 1 to 64 ASCII characters.
    """
    name = kind.encode("ascii")
    if not 0 < len(name) <= MAX_KIND:
        raise ValueError(f"a kind has 1 to {MAX_KIND} characters, not {len(name)}")
    body = b"".join((MAGIC, bytes((VERSION, len(name))), name, payload))
    return body + zlib.crc32(body).to_bytes(_CRC, "big")


def unwrap(kind: str, blob: bytes) -> memoryview:
    """Return the encoded part from an envelope of a ``kind``, without a copy.

    Raises:
        CorruptState: for any bytes that `wrap` did not make under this kind and version.
    """
    if len(blob) < _HEAD + _CRC or not blob.startswith(MAGIC):
        raise CorruptState(f"{kind}: {len(blob)} bytes are not an envelope")
    end = _HEAD + blob[3]
    if zlib.crc32(memoryview(blob)[:-_CRC]) != int.from_bytes(blob[-_CRC:], "big"):
        raise CorruptState(f"{kind}: the checksum does not match")
    if blob[2] != VERSION:
        raise CorruptState(
            f"{kind}: the state has version {blob[2]}, and this driftline reads version {VERSION}; "
            "start `driftline monitor`, which sets this state aside and rebuilds it from the event "
            "topic"
        )
    if blob[_HEAD:end] != kind.encode("ascii"):
        raise CorruptState(f"{kind}: the envelope holds {blob[_HEAD:end]!r}")
    return memoryview(blob)[end:-_CRC]


def encode_state(kind: str, data: object) -> bytes:
    """Encode a Struct, or plain data, under a ``kind``.

    Raises:
        ValueError: the kind is not 1 to 64 ASCII characters, or an integer does not fit 64 bits.
    """
    return wrap(kind, encode_part(data))


@overload
def decode_state(kind: str, blob: bytes, of: type[T]) -> T: ...
@overload
def decode_state(kind: str, blob: bytes, of: Any = Any) -> Any: ...
def decode_state(kind: str, blob: bytes, of: Any = Any) -> Any:
    """Decode data that was encoded under ``kind``, as the type ``of``.

    Raises:
        CorruptState: for any bytes that `encode_state` did not make, and for data of another type.
    """
    payload = unwrap(kind, blob)
    try:
        return decode_part(payload, of)
    except CorruptState as error:
        raise CorruptState(f"{kind}: {error}") from error
