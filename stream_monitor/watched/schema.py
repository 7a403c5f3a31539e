"""The schema of a watched version: which features came that its reference does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from producer.drill import is_shadow
from stream_monitor.alerts.alert import Place, derived_id, later_phase
from stream_monitor.alerts.breaks import Onset
from stream_monitor.alerts.schema import SchemaChange, SchemaWatch, words, words_over
from stream_monitor.contracts import DriftAlert, Phase
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.reference.profile import ReferenceProfile

SCHEMA: Final = "schema"
"""The series, and the cause its alerts name."""


class WatchedSchema:
    """The rule and its open episode, which is its latest alert."""

    def __init__(self, place: Place, profile: ReferenceProfile) -> None:
        self._place = place
        self._watch = SchemaWatch(profile.features.keys())
        self._open: DriftAlert | None = None

    def observe(self, batch: EventBatch, onset: Onset) -> list[DriftAlert]:
        """Take events; gives what is to be told, in log order."""
        return [
            self._told(
                change,
                (int(batch.offsets[change.position]), int(batch.times_ms[change.position])),
                onset(change.position, change.back),
            )
            for change in self._watch.observe(batch.features)
        ]

    def _told(
        self, change: SchemaChange, at: tuple[int, int], onset: tuple[int, int]
    ) -> DriftAlert:
        if self._open is None:
            self._open = self._started(change, at, onset)
            return self._open
        over = change.phase == "recovered"
        says = words_over(change.names) if over else words(change.names, self._open.onset_ms)
        alert = later_phase(self._open, change.phase, *at, says)
        self._open = None if over else alert
        return alert

    def _started(
        self, change: SchemaChange, at: tuple[int, int], onset: tuple[int, int]
    ) -> DriftAlert:
        place, (offset, time_ms) = self._place, at
        episode_id = derived_id(
            place.topic, place.partition, place.model, place.version, SCHEMA, offset
        )
        return DriftAlert(
            alert_id=derived_id(episode_id, "started", offset),
            episode_id=episode_id,
            phase="started",
            kind="quality",
            severity="medium",
            model=place.model,
            version=place.version,
            series=SCHEMA,
            feature=None,
            detector="rule",
            channel="names",
            direction="up",
            effect=0.0,
            p_value=0.0,
            window_events=change.back + 1,
            cause=SCHEMA,
            explanation=words(change.names, onset[1]),
            reference=place.origin,
            topic=place.topic,
            partition=place.partition,
            onset_offset=onset[0],
            onset_ms=onset[1],
            detected_offset=offset,
            detected_ms=time_ms,
            decided_offset=offset,
            decided_ms=time_ms,
            drill=is_shadow(place.model),
        )

    def end(self, phase: Phase, offset: int, time_ms: int) -> list[DriftAlert]:
        """End from outside what is open; resolved by a person, its features are known."""
        if self._open is None:
            return []
        over = (
            "resolved"
            if phase == "resolved"
            else "superseded: its version is idle, or has a new reference"
        )
        alert = later_phase(self._open, phase, offset, time_ms, f"schema: {over}")
        self._open = None
        if phase == "resolved":
            self._watch.mend()
        else:
            self._watch.drop()
        return [alert]

    def beside(self, n_last: int) -> tuple[list[str], int]:
        """Names of features that nobody watches; see `SchemaWatch.beside`."""
        return self._watch.beside(n_last)

    def level(self) -> int:
        """0: nothing; 2: an episode is open."""
        return 0 if self._open is None else 2

    def snapshot(self) -> list[Any]:
        """All that changes, as plain data."""
        opened = None if self._open is None else msgspec.to_builtins(self._open)
        return [self._watch.snapshot(), opened]

    def restore(self, data: Sequence[Any]) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit."""
        watch, opened = data
        self._watch.restore(watch)
        self._open = None if opened is None else msgspec.convert(opened, DriftAlert)
        if bool(self._watch.new) != (self._open is not None):
            raise ValueError("an episode of the schema that nothing opened")
