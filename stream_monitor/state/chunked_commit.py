"""Commits with more fields than one write can carry: chunks first, single fields afterwards.

One write moves state and offset together and carries `MAX_PAIRS` fields.  A larger commit writes
*chunks*: fields that each hold many others.  From then on the values of a chunk take precedence
over the single fields of the same name.  Before the next commit the worker writes them as single
fields, in as many writes as needed, and then empties the chunks, all at the same offset.  A crash
in between leaves a hash that reads the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from stream_monitor.state.codec import decode_state, encode_state
from stream_monitor.state.store import CHUNKED_FIELD, MAX_PAIRS

CHUNK_PREFIX: Final = "b:"
"""Prefix of the fields that hold chunks."""
CHUNK_FIELDS: Final = 250
"""Fields in a chunk: one write carries 3,500 of them."""
_KIND: Final = "chunk"


class ChunkedFields(NamedTuple):
    """Fields that are stored in chunks and not yet as single fields."""

    fields: Mapping[str, bytes] = {}
    chunks: tuple[str, ...] = ()


class StoredFields(NamedTuple):
    """The fields of a hash, chunks merged and without the dead ones; and those in chunks."""

    fields: dict[str, bytes]
    chunked_fields: ChunkedFields


def split_into_chunks(fields: Mapping[str, bytes]) -> tuple[dict[str, bytes], ChunkedFields]:
    """The fields of the first write, and the chunked fields to expand after it.

    >>> split_into_chunks({"s:a": b"1"})
    ({'s:a': b'1'}, ChunkedFields(fields={}, chunks=()))
    >>> written, chunked_fields = split_into_chunks({f"s:{i}": b"1" for i in range(3_501)})
    >>> len(written), len(chunked_fields.chunks), len(chunked_fields.fields)
    (16, 15, 3501)
    """
    if len(fields) <= MAX_PAIRS:
        return dict(fields), ChunkedFields()
    written = {
        f"{CHUNK_PREFIX}{i}": encode_state(_KIND, part)
        for i, part in enumerate(_parts(fields, CHUNK_FIELDS))
    }
    chunked_fields = ChunkedFields(dict(fields), tuple(written))
    return {**written, CHUNKED_FIELD: b"1"}, chunked_fields


def expand_chunks(chunked_fields: ChunkedFields) -> Iterator[dict[str, bytes]]:
    """The writes, in this order, after which no field is in a chunk."""
    yield from _parts(chunked_fields.fields, MAX_PAIRS)
    if chunked_fields.chunks:
        yield {**dict.fromkeys(chunked_fields.chunks, b""), CHUNKED_FIELD: b""}


def merge_chunks(stored: Mapping[str, bytes]) -> StoredFields:
    """The fields of a hash, with the values of its chunks.

    Raises:
        CorruptState: a chunk cannot be decoded.
    """
    fields = {name: value for name, value in stored.items() if not name.startswith(CHUNK_PREFIX)}
    chunked: dict[str, bytes] = {}
    names = tuple(n for n, value in stored.items() if n.startswith(CHUNK_PREFIX) and value)
    for name in names:
        chunked |= decode_state(_KIND, stored[name], dict[str, bytes])
    alive = {name: value for name, value in (fields | chunked).items() if value}
    return StoredFields(alive, ChunkedFields(chunked, names))


def _parts(fields: Mapping[str, bytes], size: int) -> Iterator[dict[str, bytes]]:
    pairs = iter(fields.items())
    while part := dict(islice(pairs, size)):
        yield part
