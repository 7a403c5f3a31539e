"""Named values of events, as they were sent, with access by column.

A column is built on its first use, so unused names cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from producer.events import Value

Row = Mapping[str, Value]
ValueColumn: TypeAlias = Sequence[Value] | NDArray[Any]
"""The values of one name.  In an array, NaN is a missing value."""
_MAX_CELLS: Final = 1 << 20
"""Rows do not become columns of more cells: each may have names of its own."""


class Table:
    """Rows of named values, shape (n,); where a row lacks a name its value is ``None``.

    >>> table = Table([{"a": 1, "b": 2}, {"a": 3}])
    >>> list(table.column("b")), table.unexpected_columns({"a"}), len(table[1:])
    ([2, None], {'b': [0]}, 1)
    """

    __slots__ = ("_columns", "_rows", "n_rows")

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows: Sequence[Row] | None = rows
        self._columns: dict[str, ValueColumn] = {}
        self.n_rows = len(rows)

    @classmethod
    def of_columns(cls, columns: Mapping[str, ValueColumn], n_rows: int) -> Table:
        """A table of all of its columns, each (n,)."""
        table = cls(())
        table._rows, table._columns, table.n_rows = None, dict(columns), n_rows
        return table

    @classmethod
    def concatenated(cls, parts: Sequence[Table]) -> Table:
        """The rows of tables one after the other."""
        by_rows = [part.by_rows for part in parts]
        if not all(by_rows):
            n_rows = sum(map(len, parts))
            names = dict.fromkeys(name for part in parts for name in part.names())
            if not any(by_rows) or len(names) * n_rows <= _MAX_CELLS:
                return cls.of_columns(
                    {name: _concatenated([part.column(name) for part in parts]) for name in names},
                    n_rows,
                )
        return cls([row for part in parts for row in part.rows()])

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, part: slice) -> Table:
        """The rows of a slice."""
        if self._rows is not None:
            return Table(self._rows[part])
        columns = {name: values[part] for name, values in self._columns.items()}
        return Table.of_columns(columns, len(range(*part.indices(self.n_rows))))

    @property
    def by_rows(self) -> bool:
        """Whether the table is of rows, and not of columns, all of which are known."""
        return self._rows is not None

    def names(self) -> Sequence[str]:
        """All names, in the order of their first values."""
        return list(self._columns if self._rows is None else dict.fromkeys(chain(*self._rows)))

    def take(self, rows: NDArray[np.int64]) -> Table:
        """Some of the rows, by their places."""
        places = rows.tolist()
        if self._rows is not None:
            return Table([self._rows[i] for i in places])
        columns: dict[str, ValueColumn] = {
            name: values[rows] if isinstance(values, np.ndarray) else [values[i] for i in places]
            for name, values in self._columns.items()
        }
        return Table.of_columns(columns, len(places))

    def rows(self) -> Sequence[Row]:
        """The rows, each with the names that have a value, at least."""
        if self._rows is not None:
            return self._rows
        names = list(self._columns)
        columns = map(plain_values, self._columns.values())
        values = zip(*columns, strict=True) if names else repeat((), self.n_rows)
        return [dict(zip(names, row, strict=True)) for row in values]

    def column(self, name: str) -> ValueColumn:
        """The values of one name, shape (n,)."""
        found = self._columns.get(name)
        if found is None:
            rows = self._rows
            found = [None] * self.n_rows if rows is None else [row.get(name) for row in rows]
            self._columns[name] = found
        return found

    def columns(self, names: Sequence[str]) -> dict[str, ValueColumn]:
        """The values of each of ``names``.  Rows that have all of them take a fast path."""
        if len(names) > 1 and self._rows and not self._columns:
            try:
                values = zip(*map(itemgetter(*names), self._rows), strict=True)
                self._columns = dict(zip(names, values, strict=True))
            except KeyError:
                pass  # a row lacks one of them
        return {name: self.column(name) for name in names}

    def unexpected_columns(self, known: AbstractSet[str]) -> dict[str, list[int]]:
        """The rows in which names that are not among ``known`` have a value, by name."""
        found: dict[str, list[int]] = {}
        if self._rows is None:
            for name in self._columns.keys() - known:
                values = self._columns[name]
                rows = (
                    np.flatnonzero(values == values).tolist()  # noqa: PLR0124 - NaN is missing
                    if isinstance(values, np.ndarray)
                    else [i for i, value in enumerate(values) if value is not None]
                )
                if rows:
                    found[name] = rows
            return found
        for i, row in enumerate(self._rows):
            if row.keys() <= known:
                continue
            for name, value in row.items():
                if value is not None and name not in known:
                    found.setdefault(name, []).append(i)
        return found


def plain_values(column: ValueColumn) -> Sequence[Value]:
    """The values of a column as they were sent; ``None`` where one is missing."""
    if not isinstance(column, np.ndarray):
        return column
    plain: list[Any] = column.tolist()
    if column.dtype.kind == "f" and np.isnan(column).any():
        return [None if value != value else value for value in plain]  # noqa: PLR0124 - NaN
    return plain


def _concatenated(columns: Sequence[ValueColumn]) -> ValueColumn:
    """Columns one after the other; an array where all are arrays of one type."""
    arrays = [column for column in columns if isinstance(column, np.ndarray)]
    if len(arrays) == len(columns) and len({array.dtype for array in arrays}) == 1:
        return np.concatenate(arrays)
    return list(chain.from_iterable(map(plain_values, columns)))
