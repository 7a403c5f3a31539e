"""Reads an Arrow IPC stream of one record batch to columns.

Total and bounded: any bytes give columns or `MalformedArrow`, and memory is proportional to the
number of bytes.

nanoarrow and pyarrow read trusted bytes: damaged ones crash the process, or ask for any amount of
memory where the stream is compressed.  So this reads the few types that events need, with a check
of every length, and rejects compression.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

_CONTINUATION: Final = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _RECORDS = 1, 2, 3
_INT, _FLOAT, _UTF8, _BOOL, _FIXED_BINARY, _LARGE_UTF8 = 2, 3, 5, 6, 15, 20
_FLOATS: Final[dict[int, np.dtype[Any]]] = {1: np.dtype("<f4"), 2: np.dtype("<f8")}
_MAX_CACHED_SCHEMA_BYTES: Final = 16 * 1024
_MAX_FIELDS: Final = 2_048


class MalformedArrow(ValueError):  # noqa: N818 - expected, and the fault of a producer
    """Bytes are no Arrow IPC stream of this kind; the text has details."""


class FixedColumn(NamedTuple):
    """Numbers, booleans, or bytes of one length (n,); ``valid`` None: none is null."""

    values: NDArray[np.generic]
    valid: Bools | None


class TextColumn(NamedTuple):
    """Texts: row i is text ``row_index[i]`` of ``texts``, whose UTF-8 has ``sizes`` bytes.

    Bytes that are not UTF-8 became lone surrogates.  ``valid`` None: none is null.
    """

    texts: Sequence[str]
    sizes: Ints
    row_index: Ints
    valid: Bools | None

    def row_sizes(self) -> Ints:
        """The bytes of each row's text, (n,); 0 for a null."""
        sizes = (
            self.sizes[self.row_index]
            if len(self.sizes)
            else np.zeros(len(self.row_index), np.int64)
        )
        return sizes if self.valid is None else np.where(self.valid, sizes, 0)

    def to_list(self) -> list[str | None]:
        """The text of each row; ``None`` for a null."""
        rows = (
            [self.texts[i] for i in self.row_index.tolist()]
            if self.texts
            else [""] * len(self.row_index)
        )
        if self.valid is None:
            return list(rows)
        return [text if ok else None for text, ok in zip(rows, self.valid.tolist(), strict=True)]


Column: TypeAlias = FixedColumn | TextColumn


class ArrowTable(NamedTuple):
    """The columns of a record batch by name, of ``n_rows`` each, and the schema's metadata."""

    n_rows: int
    columns: Mapping[str, Column]
    metadata: Mapping[str, str]


class _Field(NamedTuple):
    name: str
    kind: int
    dtype: np.dtype[np.generic]  # of a row, or of the index into the dictionary
    dictionary: int | None
    large: bool


class _Schema(NamedTuple):
    fields: Sequence[_Field]
    metadata: Mapping[str, str]


class _Message(NamedTuple):
    kind: int
    header: _Struct
    body: memoryview
    raw: bytes


def read_arrow(value: bytes, max_rows: int, max_cells: int) -> ArrowTable:
    """Read the record batch of an Arrow IPC stream.

    Args:
        value: the stream.
        max_rows: the most rows.
        max_cells: the most rows times columns.

    Raises:
        MalformedArrow: the bytes are no such stream, or a bound is exceeded.
    """
    try:
        return _read(value, max_rows, max_cells)
    except MalformedArrow:
        raise
    except (struct.error, ValueError, IndexError, OverflowError, TypeError) as error:
        raise MalformedArrow(f"damaged: {error}"[:200]) from error


def _read(value: bytes, max_rows: int, max_cells: int) -> ArrowTable:
    schema: _Schema | None = None
    dictionaries: dict[int, tuple[Sequence[str], Ints]] = {}
    large_of: dict[int, bool] = {}
    for message in _messages(value):
        if message.kind == _SCHEMA and schema is None:
            schema = _schema(message.raw)
            large_of = {f.dictionary: f.large for f in schema.fields if f.dictionary is not None}
        elif message.kind == _DICTIONARY and schema is not None:
            key = message.header.integer(0, "<q")
            if key not in large_of or key in dictionaries or message.header.integer(2, "<?"):
                raise MalformedArrow("a dictionary is unknown, repeated, or a part")
            reader = _Buffers(message.header.table(1), message.body, max_rows)
            field = _Field("", _UTF8, np.dtype("<i8"), None, large_of[key])
            texts = reader.column(field, {})
            if not isinstance(texts, TextColumn) or texts.valid is not None:
                raise MalformedArrow("a dictionary has a null")
            dictionaries[key] = texts.texts, texts.sizes
        elif message.kind == _RECORDS and schema is not None:
            reader = _Buffers(message.header, message.body, max_rows)
            if reader.n_rows * len(schema.fields) > max_cells:
                raise MalformedArrow(f"rows times columns are over {max_cells:,}")
            columns = {f.name: reader.column(f, dictionaries) for f in schema.fields}
            return ArrowTable(reader.n_rows, columns, schema.metadata)
        else:
            raise MalformedArrow(f"a message of kind {message.kind} out of place")
    raise MalformedArrow("no record batch")


def _messages(value: bytes) -> Iterator[_Message]:
    at, view = 0, memoryview(value)
    while at + 8 <= len(value):
        marker, size = struct.unpack_from("<II", value, at)
        if marker != _CONTINUATION:
            raise MalformedArrow("a message does not begin as it should")
        if size == 0:
            return
        start = at + 8
        raw = bytes(view[start : start + size])
        root = _root(raw)
        length = root.integer(3, "<q")
        at = start + size + length
        if len(raw) < size or length < 0 or at > len(value):
            raise MalformedArrow("a message is cut off")
        yield _Message(root.integer(1, "<B"), root.table(2), view[start + size : at], raw)


class _Struct(NamedTuple):
    """A table of a flatbuffer: ``at`` is its position in ``raw``."""

    raw: bytes
    at: int

    def _place(self, field: int) -> int | None:
        """The position of a field; ``None`` where it has its default."""
        table = self.at - struct.unpack_from("<i", self.raw, self.at)[0]
        if not 0 <= table < len(self.raw):
            raise MalformedArrow("a table is outside of its message")
        size = struct.unpack_from("<H", self.raw, table)[0]
        if 4 + 2 * field + 2 > size:
            return None
        offset = struct.unpack_from("<H", self.raw, table + 4 + 2 * field)[0]
        return self.at + offset if offset else None

    def has(self, field: int) -> bool:
        """Whether a field is set."""
        return self._place(field) is not None

    def integer(self, field: int, of: str) -> int:
        """A number; 0 where it is not set."""
        place = self._place(field)
        return 0 if place is None else int(struct.unpack_from(of, self.raw, place)[0])

    def table(self, field: int) -> _Struct:
        """A table."""
        place = self._place(field)
        if place is None:
            raise MalformedArrow("a part of a message is missing")
        return _Struct(self.raw, place + struct.unpack_from("<I", self.raw, place)[0])

    def vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        """Position and number of the items of a vector."""
        place = self._place(field)
        if place is None:
            return 0, 0
        start = place + struct.unpack_from("<I", self.raw, place)[0]
        n = struct.unpack_from("<I", self.raw, start)[0]
        if start + 4 + n * item_bytes > len(self.raw):
            raise MalformedArrow("a vector is longer than its message")
        return start + 4, n

    def tables(self, field: int) -> list[_Struct]:
        """The tables of a vector."""
        start, n = self.vector(field, 4)
        if n > _MAX_FIELDS:
            raise MalformedArrow(f"{n:,} fields, over {_MAX_FIELDS:,}")
        places = range(start, start + 4 * n, 4)
        return [_Struct(self.raw, p + struct.unpack_from("<I", self.raw, p)[0]) for p in places]

    def text(self, field: int) -> str:
        """A text; empty where it is not set."""
        start, n = self.vector(field, 1)
        return self.raw[start : start + n].decode()


def _root(raw: bytes) -> _Struct:
    return _Struct(raw, struct.unpack_from("<I", raw, 0)[0])


def _schema(raw: bytes) -> _Schema:
    """The schema of a message; those of one producer are mostly equal."""
    return _cached_schema(raw) if len(raw) <= _MAX_CACHED_SCHEMA_BYTES else _parse_schema(raw)


@lru_cache(maxsize=256)
def _cached_schema(raw: bytes) -> _Schema:
    return _parse_schema(raw)


def _parse_schema(raw: bytes) -> _Schema:
    header = _root(raw).table(2)
    if header.integer(0, "<h") != 0:
        raise MalformedArrow("the bytes are big-endian")
    fields = [_field(table) for table in header.tables(1)]
    if len({field.name for field in fields}) < len(fields):
        raise MalformedArrow("two columns have one name")
    return _Schema(fields, {pair.text(0): pair.text(1) for pair in header.tables(2)})


def _field(table: _Struct) -> _Field:
    name, kind = table.text(0), table.integer(2, "<B")
    dtype: np.dtype[Any] = np.dtype("<i8")
    of = table.table(3)
    if kind == _INT:
        dtype = _int_type(of)
    elif kind == _FLOAT and of.integer(0, "<h") in _FLOATS:
        dtype = _FLOATS[of.integer(0, "<h")]
    elif kind == _FIXED_BINARY and 0 < of.integer(0, "<i") <= 1 << 16:
        dtype = np.dtype(f"V{of.integer(0, '<i')}")
    elif kind not in (_UTF8, _LARGE_UTF8, _BOOL):
        raise MalformedArrow(f"column {name!a}: its type is none of an event")
    if not table.has(4):
        return _Field(name, kind, dtype, None, kind == _LARGE_UTF8)
    if kind not in (_UTF8, _LARGE_UTF8):
        raise MalformedArrow(f"column {name!a}: a dictionary of something else than text")
    encoding = table.table(4)
    index = _int_type(encoding.table(1)) if encoding.has(1) else np.dtype("<i4")
    return _Field(name, kind, index, encoding.integer(0, "<q"), kind == _LARGE_UTF8)


def _int_type(of: _Struct) -> np.dtype[np.generic]:
    bits, signed = of.integer(0, "<i"), of.integer(1, "<?")
    if bits not in (8, 16, 32, 64):
        raise MalformedArrow(f"an integer of {bits} bits")
    return np.dtype(f"<{'i' if signed else 'u'}{bits // 8}")


class _Buffers:
    """Takes the buffers of a record batch in order, column by column."""

    def __init__(self, batch: _Struct, body: memoryview, max_rows: int) -> None:
        self.n_rows = batch.integer(0, "<q")
        if not 0 <= self.n_rows <= max_rows:
            raise MalformedArrow(f"{self.n_rows:,} rows, over {max_rows:,}")
        if batch.has(3):
            raise MalformedArrow("its buffers are compressed: leave compression to Kafka")
        self._body = body
        self._raw = batch.raw
        self._nodes = batch.vector(1, 16)
        self._buffers = batch.vector(2, 16)
        self._node = self._buffer = self._taken = 0

    def _next_node(self) -> int:
        """The number of nulls of the next column."""
        start, n = self._nodes
        if self._node >= n:
            raise MalformedArrow("a column is missing")
        length, nulls = struct.unpack_from("<qq", self._raw, start + 16 * self._node)
        if length != self.n_rows:
            raise MalformedArrow("a column is of another length")
        self._node += 1
        return int(nulls)

    def _next(self) -> memoryview:
        start, n = self._buffers
        if self._buffer >= n:
            raise MalformedArrow("a buffer is missing")
        offset, length = struct.unpack_from("<qq", self._raw, start + 16 * self._buffer)
        if offset < 0 or length < 0 or offset + length > len(self._body):
            raise MalformedArrow("a buffer is outside of the record")
        self._buffer += 1
        self._taken += length
        if self._taken > len(self._body):
            raise MalformedArrow("buffers overlap")  # they would unpack to more than was sent
        return self._body[offset : offset + length]

    def _array(self, dtype: np.dtype[np.generic], n: int) -> NDArray[np.generic]:
        return np.frombuffer(self._next(), dtype, n) if n else self._empty(dtype)

    def _empty(self, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
        self._next()
        return np.zeros(0, dtype)

    def _valid(self) -> Bools | None:
        nulls, bitmap = self._next_node(), self._next()
        if nulls == 0 or len(bitmap) == 0:
            return None
        valid = self._bits(bitmap)
        return None if valid.all() else valid

    def _bits(self, bitmap: memoryview) -> Bools:
        if 8 * len(bitmap) < self.n_rows:
            raise MalformedArrow("a bitmap is too short")
        bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), count=self.n_rows, bitorder="little")
        return bits.astype(np.bool_)

    def column(
        self, field: _Field, dictionaries: Mapping[int, tuple[Sequence[str], Ints]]
    ) -> Column:
        """The next column, which is of this field."""
        valid, n = self._valid(), self.n_rows
        if field.dictionary is not None:
            index = self._array(field.dtype, n).astype(np.int64)
            texts, sizes = dictionaries[field.dictionary]
            if valid is not None:
                index = np.where(valid, index, 0)
            if len(index) and not (index.min() >= 0 and index.max() < max(1, len(texts))):
                raise MalformedArrow(f"column {field.name!a}: an index without a text")
            if not texts and valid is None and n:
                raise MalformedArrow(f"column {field.name!a}: an index without a text")
            return TextColumn(texts, sizes, index, valid)
        if field.kind in (_UTF8, _LARGE_UTF8):
            return self._texts(field, valid)
        if field.kind == _BOOL:
            return FixedColumn(self._bits(self._next()), valid)
        return FixedColumn(self._array(field.dtype, n), valid)

    def _texts(self, field: _Field, valid: Bools | None) -> TextColumn:
        n = self.n_rows
        dtype = np.dtype("<i8" if field.large else "<i4")
        offsets = self._array(dtype, n + 1 if n else 0).astype(np.int64)
        data, sizes = bytes(self._next()), np.diff(offsets)
        if n and (offsets[0] < 0 or offsets[-1] > len(data) or int(sizes.min()) < 0):
            raise MalformedArrow(f"column {field.name!a}: its texts overlap")
        bounds = offsets.tolist()
        whole = data.decode("ascii") if data.isascii() else None
        if whole is not None:
            texts = [whole[a:b] for a, b in pairwise(bounds)]
        else:
            texts = [data[a:b].decode("utf-8", "surrogateescape") for a, b in pairwise(bounds)]
        return TextColumn(texts, sizes, np.arange(n, dtype=np.int64), valid)
