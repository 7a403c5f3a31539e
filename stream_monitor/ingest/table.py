"""Named values of events, as they were sent, with access by column.

A column is built on its first use, so unused names cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import repeat
from operator import itemgetter

from producer.events import Value

Row = Mapping[str, Value]


class Table:
    """Rows of named values, shape (n,); where a row lacks a name its value is ``None``.

    >>> table = Table([{"a": 1, "b": 2}, {"a": 3}])
    >>> list(table.column("b")), table.unexpected_columns({"a"}), len(table[1:])
    ([2, None], {'b': [0]}, 1)
    """

    __slots__ = ("_columns", "_rows", "n_rows")

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows: Sequence[Row] | None = rows
        self._columns: dict[str, Sequence[Value]] = {}
        self.n_rows = len(rows)

    @classmethod
    def of_columns(cls, columns: dict[str, Sequence[Value]], n_rows: int) -> Table:
        """A table of all of its columns, each (n,)."""
        table = cls(())
        table._rows, table._columns, table.n_rows = None, columns, n_rows
        return table

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, part: slice) -> Table:
        """The rows of a slice."""
        if self._rows is not None:
            return Table(self._rows[part])
        columns = {name: values[part] for name, values in self._columns.items()}
        return Table.of_columns(columns, len(range(*part.indices(self.n_rows))))

    def rows(self) -> Sequence[Row]:
        """The rows, each with the names that have a value, at least."""
        if self._rows is not None:
            return self._rows
        names = list(self._columns)
        values = zip(*self._columns.values(), strict=True) if names else repeat((), self.n_rows)
        return [dict(zip(names, row, strict=True)) for row in values]

    def column(self, name: str) -> Sequence[Value]:
        """The values of one name, shape (n,)."""
        found = self._columns.get(name)
        if found is None:
            rows = self._rows
            found = [None] * self.n_rows if rows is None else [row.get(name) for row in rows]
            self._columns[name] = found
        return found

    def columns(self, names: Sequence[str]) -> dict[str, Sequence[Value]]:
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
                rows = [i for i, value in enumerate(self._columns[name]) if value is not None]
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
