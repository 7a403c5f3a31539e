"""Named values of events, as they were sent, with access by column.

A column is built on its first use, so unused names cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import itemgetter

from producer.events import Value

Row = Mapping[str, Value]


class Table:
    """Rows of named values, shape (n,); where a row lacks a name its value is ``None``.

    >>> table = Table([{"a": 1, "b": 2}, {"a": 3}])
    >>> list(table.column("b")), table.unexpected_columns({"a"}), len(table[1:])
    ([2, None], {'b': [0]}, 1)
    """

    __slots__ = ("_columns", "_exact", "rows")

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._columns: dict[str, Sequence[Value]] = {}
        self._exact: frozenset[str] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Table:
        """The rows of a slice."""
        return Table(self.rows[part])

    def column(self, name: str) -> Sequence[Value]:
        """The values of one name, shape (n,)."""
        found = self._columns.get(name)
        if found is None:
            found = self._columns[name] = [row.get(name) for row in self.rows]
        return found

    def columns(self, names: Sequence[str]) -> dict[str, Sequence[Value]]:
        """The values of each of ``names``.  Rows that have all of them take a fast path."""
        if len(names) > 1 and self.rows and not self._columns:
            try:
                values = zip(*map(itemgetter(*names), self.rows), strict=True)
                self._columns = dict(zip(names, values, strict=True))
            except KeyError:
                pass  # a row lacks one of them
            else:
                if set(map(len, self.rows)) == {len(names)}:
                    self._exact = frozenset(names)
        return {name: self.column(name) for name in names}

    def unexpected_columns(self, known: AbstractSet[str]) -> dict[str, list[int]]:
        """The rows in which names that are not among ``known`` have a value, by name."""
        found: dict[str, list[int]] = {}
        if self._exact is not None and self._exact <= known:
            return found
        for i, row in enumerate(self.rows):
            if row.keys() <= known:
                continue
            for name, value in row.items():
                if value is not None and name not in known:
                    found.setdefault(name, []).append(i)
        return found
