"""The schema rule: features that the reference does not know.

What a version's first events have beside the features of its profile is known from then on: many
models are watched on a part of what they are sent.  Afterwards a name that half of 64 events have
is new.  No chance is involved, so the rule costs nothing of the budget.

A feature that is gone is told by its own series, as missing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

from stream_monitor.alerts.wording import moment
from stream_monitor.ingest.table import Table

SPAN_EVENTS: Final = 64
LEARN_EVENTS: Final = 2 * SPAN_EVENTS
_MANY: Final = SPAN_EVENTS // 2
_MAX_KNOWN: Final = 1024
"""Names beside the profile; a version whose first events have more has no schema to speak of."""
_MAX_NEW: Final = 64
"""Names that are counted, and told of, at once."""
_TOLD: Final = 5
Happened = Literal["started", "ongoing", "recovered"]


class SchemaChange(NamedTuple):
    """After the event at ``position`` of the batch, ``names`` are there that nobody knows.

    ``back`` events before it the first of them came; of ``recovered`` ones it says which were.
    """

    position: int
    phase: Happened
    names: tuple[str, ...]
    back: int


class SchemaWatch:
    """Counts unknown names by spans of 64 events; exact under any cut of the log."""

    def __init__(self, features: AbstractSet[str]) -> None:
        self._features = frozenset(features)
        self._known = set(features)
        self._n_events = 0
        self._counts: dict[str, tuple[int, int]] = {}  # of this span: how many, and the first
        self.new: tuple[str, ...] = ()

    def observe(self, table: Table) -> list[SchemaChange]:
        """Take consecutive events; gives what begins, grows or is over, in their order."""
        places = table.others(self._known)
        n = len(table)
        if not n or not (places or self.new or self._counts):
            self._n_events += n
            return []
        changes: list[SchemaChange] = []
        first = SPAN_EVENTS - self._n_events % SPAN_EVENTS
        for start, end in pairwise([0, *range(first, n, SPAN_EVENTS), n]):
            here = _between(places, start, end)
            if self._n_events < LEARN_EVENTS:
                self._learn(here)
            elif self._n_learnt < _MAX_KNOWN:
                changes += self._count(here, start)
            self._n_events += end - start
            if self._n_events % SPAN_EVENTS == 0:
                changes += self._close(end)
        return changes

    @property
    def _n_learnt(self) -> int:
        return len(self._known) - len(self._features)

    def _learn(self, here: Mapping[str, Sequence[int]]) -> None:
        for name in here:
            if self._n_learnt < _MAX_KNOWN:
                self._known.add(name)

    def _count(self, here: Mapping[str, Sequence[int]], start: int) -> Iterator[SchemaChange]:
        """Names by their places, within one span that goes on at ``start``."""
        offset = self._n_events % SPAN_EVENTS - start  # from a place here to that in the span
        many: dict[int, list[str]] = {}
        for name, places in here.items():
            full = name not in self._counts and len(self._counts) >= 2 * _MAX_NEW
            if full or name in self._known:
                continue
            count, first = self._counts.get(name, (0, places[0] + offset))
            self._counts[name] = (count + len(places), first)
            if count < _MANY <= count + len(places) and name not in self.new:
                many.setdefault(places[_MANY - count - 1], []).append(name)
        for at in sorted(many):
            more = sorted(many[at])[: _MAX_NEW - len(self.new)]
            if more:
                phase: Happened = "ongoing" if self.new else "started"
                self.new = tuple(sorted({*self.new, *more}))
                back = at + offset - min(self._counts[name][1] for name in more)
                yield SchemaChange(at, phase, self.new, back)

    def _close(self, end: int) -> Iterator[SchemaChange]:
        """A span is over: what none of its events had is gone."""
        before = self.new
        self.new = tuple(name for name in before if name in self._counts)
        self._counts.clear()
        if before and not self.new:
            yield SchemaChange(end - 1, "recovered", before, 0)

    def mend(self) -> None:
        """A person says that it is well: the new names are known from now on."""
        self._known.update(self.new)
        self._counts = {n: c for n, c in self._counts.items() if n not in self.new}
        self.new = ()

    def snapshot(self) -> list[Any]:
        """All that changes, as plain data."""
        counts = [[name, *count] for name, count in sorted(self._counts.items())]
        return [self._n_events, sorted(self._known - self._features), counts, list(self.new)]

    def restore(self, data: Sequence[Any]) -> None:
        """Continue from `snapshot`.  Raises ValueError on what no snapshot holds."""
        n_events, known, counts, new = data
        if n_events < 0 or any(not 0 < c <= SPAN_EVENTS for _, c, _ in counts):
            raise ValueError("impossible counts of unknown features")
        self._n_events, self.new = n_events, tuple(new)
        self._known = {*self._features, *known}
        self._counts = {name: (count, first) for name, count, first in counts}


def _between(places: Mapping[str, list[int]], start: int, end: int) -> dict[str, list[int]]:
    """The places from ``start`` to before ``end``, names in the order in which they come."""
    cut = {name: at[bisect_left(at, start) : bisect_left(at, end)] for name, at in places.items()}
    return dict(sorted(((n, at) for n, at in cut.items() if at), key=lambda x: (x[1][0], x[0])))


def words(names: Sequence[str], since_ms: int) -> str:
    """What is new.

    >>> words(["fare", "age_years"], 1362128040000)
    'schema: new features age_years, fare, since 2013-03-01 08:54Z; the reference lacks them'
    """
    lacked = "it" if len(names) == 1 else "them"
    return f"schema: new {_listed(names)}, since {moment(since_ms)}; the reference lacks {lacked}"


def words_over(names: Sequence[str]) -> str:
    """What is gone again.

    >>> words_over(["fare"])
    'schema: feature fare is gone again'
    """
    return f"schema: {_listed(names)} {'is' if len(names) == 1 else 'are'} gone again"


def _listed(names: Sequence[str]) -> str:
    some = ", ".join(sorted(names)[:_TOLD])
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"feature{'s' if len(names) > 1 else ''} {some}{more}"
