"""The schema check: detects features that the reference does not have.

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

import msgspec

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
"""Names in addition to the profile; a version whose first events have more has no schema."""
_MAX_NEW: Final = 64
"""Names that are counted and reported at the same time."""
_CLEAR_SPANS: Final = 4
_FEW: Final = 4  # events of a span: with fewer, a name counts as gone
SchemaPhase = Literal["started", "ongoing", "recovered"]


class SchemaChange(NamedTuple):
    """New features ``names``, found after the event at ``position`` of the batch.

    The first of them came ``back`` events before.  In phase "ongoing" their number changed, in
    phase "recovered" they are gone.
    """

    position: int
    phase: SchemaPhase
    names: tuple[str, ...]
    back: int


class SchemaRuleState(msgspec.Struct, array_like=True):
    """The state of a `SchemaRule`.

    ``learned`` are the names of the first events that the profile does not have.  ``counts`` are of
    the present span: the number of events with a name, and the first of them.  ``new`` are the new
    features, and ``rare_spans`` the consecutive spans in which hardly an event had each of them.
    """

    n_events: int = 0
    learned: list[str] = []
    counts: dict[str, tuple[int, int]] = {}
    new: list[str] = []
    rare_spans: dict[str, int] = {}

    def __post_init__(self) -> None:
        if self.n_events < 0 or any(not 0 < n <= SPAN_EVENTS for n, _ in self.counts.values()):
            raise ValueError("impossible counts of unknown features")
        rare = self.rare_spans
        if not set(rare) <= set(self.new) or not all(0 <= n < _CLEAR_SPANS for n in rare.values()):
            raise ValueError("impossible end of new features")


class SchemaRule:
    """Counts unknown feature names in spans of 64 events."""

    def __init__(self, features: AbstractSet[str], state: SchemaRuleState | None = None) -> None:
        """Start with the ``features`` of the profile, or continue from a state."""
        self.state = state or SchemaRuleState()
        self._features = frozenset(features)
        self._known = {*features, *self.state.learned}

    @property
    def new(self) -> tuple[str, ...]:
        """The new features."""
        return tuple(self.state.new)

    def observe(self, table: Table) -> list[SchemaChange]:
        """Apply consecutive events; returns the changes, by event."""
        n = len(table)
        places = {} if self._is_off else table.unexpected_columns(self._known)
        if not n or not (places or self.state.new or self.state.counts):
            self.state.n_events += n
            return []
        changes: list[SchemaChange] = []
        first = SPAN_EVENTS - self.state.n_events % SPAN_EVENTS
        spans = _by_span(places, first)
        for k, (start, end) in enumerate(pairwise([0, *range(first, n, SPAN_EVENTS), n])):
            if self.state.n_events < LEARN_EVENTS:
                self._learn(spans.get(k, {}))
            else:
                changes += self._count(spans.get(k, {}), start)
            self.state.n_events += end - start
            if self.state.n_events % SPAN_EVENTS == 0:
                changes += self._close(end)
        return changes

    def uncompared_features(self, n_last: int) -> tuple[list[str], int]:
        """Return the names that are not compared because the profile lacks them.

        They are known after the first events: from the returned position among the ``n_last``
        events that were observed last.
        """
        if self.state.n_events < LEARN_EVENTS:
            return [], n_last
        return sorted(self._known - self._features), max(
            0, LEARN_EVENTS + n_last - self.state.n_events
        )

    @property
    def _n_learned(self) -> int:
        return len(self._known) - len(self._features)

    @property
    def _is_off(self) -> bool:
        return self.state.n_events >= LEARN_EVENTS and self._n_learned >= _MAX_KNOWN

    def _learn(self, here: Mapping[str, Sequence[int]]) -> None:
        for name in here:
            if self._n_learned < _MAX_KNOWN:
                self._known.add(name)
        self._note_learned()

    def _note_learned(self) -> None:
        self.state.learned = sorted(self._known - self._features)

    def _count(self, here: Mapping[str, Sequence[int]], start: int) -> Iterator[SchemaChange]:
        """Count names by their rows ``here``, within one span that continues at ``start``."""
        if self._is_off:
            return
        offset = (
            self.state.n_events % SPAN_EVENTS - start
        )  # from a row of the batch to a position in the span
        many: dict[int, list[str]] = {}
        for name, places in here.items():
            if name in self._known or not self._is_counted(name):
                continue
            count, first = self.state.counts.get(name, (0, places[0] + offset))
            self.state.counts[name] = (count + len(places), first)
            if count < _MANY <= count + len(places) and name not in self.state.new:
                many.setdefault(places[_MANY - count - 1], []).append(name)
        for at in sorted(many):
            more = sorted(many[at])[: _MAX_NEW - len(self.state.new)]
            if more:
                phase: SchemaPhase = "ongoing" if self.state.new else "started"
                self.state.new = sorted({*self.state.new, *more})
                back = at + offset - min(self.state.counts[name][1] for name in more)
                yield SchemaChange(at, phase, self.new, back)

    def _is_counted(self, name: str) -> bool:
        """Whether a name is counted; a reported one always is, or it would seem to be gone."""
        return (
            name in self.state.counts
            or name in self.state.new
            or len(self.state.counts) < 2 * _MAX_NEW
        )

    def _close(self, end: int) -> Iterator[SchemaChange]:
        """Close a span: a name that hardly an event of the last four spans had is gone."""
        for name in self.state.new:
            rare = self.state.counts.get(name, (0, 0))[0] < _FEW
            self.state.rare_spans[name] = self.state.rare_spans.get(name, 0) + 1 if rare else 0
        self.state.counts.clear()
        gone = [name for name in self.state.new if self.state.rare_spans[name] >= _CLEAR_SPANS]
        if not gone:
            return
        before = self.new
        self.state.new = [name for name in before if name not in gone]
        for name in gone:
            del self.state.rare_spans[name]
        if self.state.new:
            yield SchemaChange(end - 1, "ongoing", self.new, 0)
        else:
            yield SchemaChange(end - 1, "recovered", before, 0)

    def reset(self) -> None:
        """Accept the new features as known."""
        self._known.update(self.state.new)
        self._note_learned()
        self.drop()

    def drop(self) -> None:
        """Discard the new features; a name that is still sent is detected again."""
        self.state.counts.clear()
        self.state.new, self.state.rare_spans = [], {}


def _by_span(places: Mapping[str, list[int]], first: int) -> dict[int, dict[str, list[int]]]:
    """The rows of each name by span, the first span of ``first`` events; names by first row."""
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


class SchemaState(msgspec.Struct, array_like=True):
    """The state of a `SchemaCheck`."""

    rule: SchemaRuleState
    episode: RuleEpisode


class SchemaCheck(Check[VersionEvents]):
    """The check of the names of features: those that the reference does not have."""

    series = SCHEMA

    def __init__(self, source: AlertSource, profile: ReferenceProfile) -> None:
        self._source = source
        self._features = profile.features.keys()
        self._rule = SchemaRule(self._features)
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
        """End the open episode; if a person resolved it, accept its features as known."""
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

    def snapshot(self) -> SchemaState:
        """The state of the rule and its episode."""
        return SchemaState(self._rule.state, self._episode)

    def restore(self, data: Any) -> None:
        """Continue from `snapshot`.  Raises ValueError where the data do not fit."""
        state = as_type(data, SchemaState)
        if bool(state.rule.new) != (state.episode.latest is not None):
            raise ValueError("the stored new features and the open episode do not match")
        self._rule, self._episode = SchemaRule(self._features, state.rule), state.episode
