"""The schema check: features that the reference does not have.

Features of a version's first events are known, because many profiles have only some of them.
Afterwards a name in at least half of 64 events is a new feature.  The rule has no false alarms by
chance and uses none of the alert budget.

A feature that is no longer sent is reported by its own validity check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

from stream_monitor.checks.check import Check, CheckContext
from stream_monitor.checks.version_events import VersionEvents
from stream_monitor.contracts import DriftAlert, Phase
from stream_monitor.episodes.finding import AlertSource, EventPosition, Finding
from stream_monitor.episodes.messages import (
    features_gone_message,
    new_features_message,
    schema_ended_message,
)
from stream_monitor.episodes.rule_episode import RuleEpisode
from stream_monitor.ingest.table import Table
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.state_parts import as_type

SPAN_EVENTS: Final = 64
LEARN_EVENTS: Final = 2 * SPAN_EVENTS
_MANY: Final = SPAN_EVENTS // 2
_MAX_KNOWN: Final = 1024
"""Names beside the profile; a version whose first events have more has no schema to speak of."""
_MAX_NEW: Final = 64
"""Names that are counted, and told of, at once."""
_CLEAR_SPANS: Final = 4
_FEW: Final = 4  # of a span's events: so few are no new feature, and keep none there
SchemaPhase = Literal["started", "ongoing", "recovered"]


class SchemaChange(NamedTuple):
    """After the event at ``position`` of the batch, ``names`` are there that nobody knows.

    ``back`` events before it the first of them came; "ongoing" there are more of them, or fewer,
    and of "recovered" ones it says which were.
    """

    position: int
    phase: SchemaPhase
    names: tuple[str, ...]
    back: int


class SchemaRule:
    """Counts unknown names by spans of 64 events; exact under any cut of the log."""

    def __init__(self, features: AbstractSet[str]) -> None:
        self._features = frozenset(features)
        self._known = set(features)
        self._n_events = 0
        self._counts: dict[str, tuple[int, int]] = {}  # of this span: how many, and the first
        self._clear: dict[str, int] = {}  # of `new`: spans running in which hardly an event had it
        self.new: tuple[str, ...] = ()

    def observe(self, table: Table) -> list[SchemaChange]:
        """Take consecutive events; gives what begins, grows or is over, in their order."""
        n = len(table)
        places = {} if self._is_off else table.unexpected_columns(self._known)
        if not n or not (places or self.new or self._counts):
            self._n_events += n
            return []
        changes: list[SchemaChange] = []
        first = SPAN_EVENTS - self._n_events % SPAN_EVENTS
        spans = _by_span(places, first)
        for k, (start, end) in enumerate(pairwise([0, *range(first, n, SPAN_EVENTS), n])):
            if self._n_events < LEARN_EVENTS:
                self._learn(spans.get(k, {}))
            else:
                changes += self._count(spans.get(k, {}), start)
            self._n_events += end - start
            if self._n_events % SPAN_EVENTS == 0:
                changes += self._close(end)
        return changes

    def uncompared_features(self, n_last: int) -> tuple[list[str], int]:
        """Names that come beside the features of the profile, and so are compared with nothing.

        They are known once the first events were seen: from the event at the position that is also
        given, among the ``n_last`` that were observed last.
        """
        if self._n_events < LEARN_EVENTS:
            return [], n_last
        return sorted(self._known - self._features), max(0, LEARN_EVENTS + n_last - self._n_events)

    @property
    def _n_learnt(self) -> int:
        return len(self._known) - len(self._features)

    @property
    def _is_off(self) -> bool:
        return self._n_events >= LEARN_EVENTS and self._n_learnt >= _MAX_KNOWN

    def _learn(self, here: Mapping[str, Sequence[int]]) -> None:
        for name in here:
            if self._n_learnt < _MAX_KNOWN:
                self._known.add(name)

    def _count(self, here: Mapping[str, Sequence[int]], start: int) -> Iterator[SchemaChange]:
        """Names by their places, within one span that goes on at ``start``."""
        if self._is_off:
            return
        offset = self._n_events % SPAN_EVENTS - start  # from a place here to that in the span
        many: dict[int, list[str]] = {}
        for name, places in here.items():
            if name in self._known or not self._has_room(name):
                continue
            count, first = self._counts.get(name, (0, places[0] + offset))
            self._counts[name] = (count + len(places), first)
            if count < _MANY <= count + len(places) and name not in self.new:
                many.setdefault(places[_MANY - count - 1], []).append(name)
        for at in sorted(many):
            more = sorted(many[at])[: _MAX_NEW - len(self.new)]
            if more:
                phase: SchemaPhase = "ongoing" if self.new else "started"
                self.new = tuple(sorted({*self.new, *more}))
                back = at + offset - min(self._counts[name][1] for name in more)
                yield SchemaChange(at, phase, self.new, back)

    def _has_room(self, name: str) -> bool:
        """What was told of is always counted, or it would seem to be gone."""
        return name in self._counts or name in self.new or len(self._counts) < 2 * _MAX_NEW

    def _close(self, end: int) -> Iterator[SchemaChange]:
        """A span is over: what hardly an event of the last four had is gone."""
        for name in self.new:
            rare = self._counts.get(name, (0, 0))[0] < _FEW
            self._clear[name] = self._clear.get(name, 0) + 1 if rare else 0
        self._counts.clear()
        gone = [name for name in self.new if self._clear[name] >= _CLEAR_SPANS]
        if not gone:
            return
        were, self.new = self.new, tuple(name for name in self.new if name not in gone)
        for name in gone:
            del self._clear[name]
        if self.new:
            yield SchemaChange(end - 1, "ongoing", self.new, 0)
        else:
            yield SchemaChange(end - 1, "recovered", were, 0)

    def reset(self) -> None:
        """Accept the new names: they are known from now on."""
        self._known.update(self.new)
        self.drop()

    def drop(self) -> None:
        """Drop the new names; a name that is still sent is found once more."""
        self._counts.clear()
        self.new, self._clear = (), {}

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        counts = [[name, *count] for name, count in sorted(self._counts.items())]
        learnt = sorted(self._known - self._features)
        clear = [self._clear.get(name, 0) for name in self.new]
        return [self._n_events, learnt, counts, list(self.new), clear]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError on what no snapshot holds."""
        n_events, learnt, counts, new, clear = data
        if n_events < 0 or any(not 0 < c <= SPAN_EVENTS for _, c, _ in counts):
            raise ValueError("impossible counts of unknown features")
        if isinstance(clear, int):  # stored when it was one for all
            clear = [clear] * max(len(new), clear > 0)
        if len(clear) != len(new) or not all(0 <= one < _CLEAR_SPANS for one in clear):
            raise ValueError("impossible end of what is new")
        self._n_events, self.new = n_events, tuple(new)
        self._clear = dict(zip(new, clear, strict=True))
        self._known = {*self._features, *learnt}
        self._counts = {name: (count, first) for name, count, first in counts}


def _by_span(places: Mapping[str, list[int]], first: int) -> dict[int, dict[str, list[int]]]:
    """The places of each span, the first one of ``first`` events; names as they come in it."""
    spans: dict[int, dict[str, list[int]]] = {}
    for name, at in places.items():
        for i in at:
            k = 0 if i < first else 1 + (i - first) // SPAN_EVENTS
            spans.setdefault(k, {}).setdefault(name, []).append(i)
    return {
        k: dict(sorted(span.items(), key=lambda item: (item[1][0], item[0])))
        for k, span in spans.items()
    }


SCHEMA: Final = "schema"
"""The series, and the cause its alerts name."""


def schema_checks(context: CheckContext) -> Iterator[SchemaCheck]:
    """The schema check of a version."""
    yield SchemaCheck(context.source, context.profile)


class SchemaCheck(Check[VersionEvents]):
    """The check of the names of features: those that the reference does not have."""

    series = SCHEMA

    def __init__(self, source: AlertSource, profile: ReferenceProfile) -> None:
        self._source = source
        self._rule = SchemaRule(profile.features.keys())
        self._episode = RuleEpisode()

    def observe(self, batch: VersionEvents) -> list[Finding]:
        """Apply events; returns the phases of episodes that they decided."""
        return [
            self._finding(
                change,
                batch.position(change.position),
                EventPosition(*batch.onset(change.position, change.back)),
            )
            for change in self._rule.observe(batch.batch.features)
        ]

    def _finding(self, change: SchemaChange, at: EventPosition, onset: EventPosition) -> Finding:
        opened, version = self._episode.latest, self._source.version
        if opened is None:
            return self._episode.start(self._started(change, at, onset))
        if change.phase == "recovered":
            message = features_gone_message(change.names)
        else:
            message = new_features_message(change.names, opened.onset.time_ms, version)
        return self._episode.enter(change.phase, at, message)

    def _started(self, change: SchemaChange, at: EventPosition, onset: EventPosition) -> Finding:
        return Finding(
            source=self._source,
            series=SCHEMA,
            check="names",
            episode_id=self._source.episode_id(SCHEMA, at.offset),
            phase="started",
            kind="quality",
            severity="medium",
            channel="names",
            direction="up",
            effect=0.0,
            window_events=change.back + 1,
            explanation=new_features_message(change.names, onset.time_ms, self._source.version),
            onset=onset,
            detected=at,
            decided=at,
            cause=SCHEMA,
        )

    def end(
        self, phase: Phase, at: EventPosition, alert: DriftAlert | None = None
    ) -> list[Finding]:
        """End the open episode; where a person resolved it, its features are accepted."""
        if self._episode.latest is None:
            return []
        if phase == "resolved":
            self._rule.reset()
        else:
            self._rule.drop()
        message = schema_ended_message(resolved=phase == "resolved")
        return [self._episode.enter(phase, at, message)]

    def uncompared_features(self, n_last: int) -> tuple[list[str], int]:
        """Features that are not compared; see `SchemaRule.uncompared_features`."""
        return self._rule.uncompared_features(n_last)

    def level(self) -> int | None:
        """0: no change; 2: an open episode."""
        return 0 if self._episode.latest is None else 2

    def snapshot(self) -> Any:
        """The state as plain data."""
        return [self._rule.snapshot(), self._episode]

    def restore(self, data: Any) -> None:
        """Continue from `snapshot`.  Raises ValueError where the data do not fit."""
        rule, episode = data
        self._rule.restore(rule)
        self._episode = as_type(episode, RuleEpisode)
        if bool(self._rule.new) != (self._episode.latest is not None):
            raise ValueError("new features without an episode, or the reverse")
