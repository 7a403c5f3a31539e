"""Warm-up: collects the first events of a version without a profile as its reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from producer.events import Prediction, Value
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.outputs import output_names
from stream_monitor.reference.profile import ReferenceProfile, Task
from stream_monitor.state_parts import StoredParts

_PART_ROWS: Final = 256
_ONE_IN: Final = 100
_MAX_FEATURES: Final = 512
_OTHER_VERSION_EVENTS: Final = "other-version-events"


def task_of(predictions: Iterable[Prediction | UnsetType]) -> Task:
    """The task (binary, multiclass, regression) of a model with such predictions.

    >>> task_of([0.2, 0.9]), task_of(["UA", "AA"]), task_of([12.5, 30.0])
    ('binary', 'multiclass', 'regression')
    """
    seen = [p for p in predictions if p is not None and p is not UNSET]
    if output_names(seen):
        return "regression"
    if seen and all(isinstance(p, str | dict) for p in seen):
        return "multiclass"
    if all(isinstance(p, int | float) and 0 <= p <= 1 for p in seen):
        return "binary"
    return "regression"


def features_of(counts: Mapping[str, int], n_rows: int) -> list[str]:
    """Return the names to use as features: the most frequent, each in at least 1 % of the rows.

    Made-up names neither spend the false-alarm budget nor fill the state.

    >>> features_of({"age": 2000, "note": 20, "id-17": 1}, 2000)
    ['age', 'note']
    """
    often = [name for name, count in counts.items() if count * _ONE_IN >= n_rows]
    return sorted(sorted(often, key=lambda name: (-counts[name], name))[:_MAX_FEATURES])


class WarmUpRow(
    msgspec.Struct, frozen=True, rename={"features": "f", "time_ms": "t", "prediction": "p"}
):
    """One collected event."""

    features: dict[str, Value]
    time_ms: int
    prediction: Prediction | UnsetType = UNSET


class WarmUp:
    """Collects the first ``n_rows`` events of a version, then makes its profile.

    ``other_version_events`` counts the events of the model's other versions meanwhile: a budget
    per week is the model's, so its event rate is that of all versions.
    """

    def __init__(self, model: str, version: str, n_rows: int) -> None:
        self.model, self.version, self.n_rows = model, version, n_rows
        self._rows: list[WarmUpRow] = []
        self._first_uncommitted = 0
        self.other_version_events = self._stored_other_version_events = 0

    @property
    def missing(self) -> int:
        """The number of events that are still needed."""
        return self.n_rows - len(self._rows)

    def count_other_versions(self, batches: Sequence[EventBatch]) -> None:
        """Count the next events of the model's other versions; `add` takes its own events.

        Events after the last one that is needed are left out.
        """
        last = self.missing - 1
        until = next(
            (int(b.offsets[last]) for b in batches if b.version == self.version and len(b) > last),
            None,
        )
        self.other_version_events += sum(
            len(b) if until is None else int(np.searchsorted(b.offsets, until))
            for b in batches
            if b.version != self.version
        )

    def add(self, batch: EventBatch) -> None:
        """Add at most `missing` events."""
        self._rows += [
            WarmUpRow({n: row[n] for n in sorted(row) if row[n] is not None}, time_ms, prediction)
            for row, prediction, time_ms in zip(
                batch.features.rows(), batch.predictions, batch.times_ms.tolist(), strict=True
            )
        ]

    def profile(self) -> ReferenceProfile:
        """Fit the reference on the collected events.

        Raises:
            ValueError: the events do not give a reference.
        """
        counts = Counter(name for row in self._rows for name in row.features)
        names = features_of(counts, len(self._rows))
        predictions = [row.prediction for row in self._rows]
        profile = fit_profile(
            self.model,
            self.version,
            {name: [row.features.get(name) for row in self._rows] for name in names},
            predictions=predictions,
            task=task_of(predictions),
            origin="warm_up",
            times_ms=np.array([row.time_ms for row in self._rows], dtype=np.int64),
        )
        if profile.events_per_week is None or not self.other_version_events:
            return profile
        of_model = profile.events_per_week * (1 + self.other_version_events / self.n_rows)
        return msgspec.structs.replace(profile, events_per_week=of_model)

    def take_changes(self) -> dict[str, Any]:
        """The parts that changed since the last call; pieces of rows keep commits small."""
        parts: dict[str, Any] = {}
        if self.other_version_events != self._stored_other_version_events:
            parts[_OTHER_VERSION_EVENTS] = self.other_version_events
        if len(self._rows) > self._first_uncommitted:
            for first in range(
                self._first_uncommitted // _PART_ROWS * _PART_ROWS, len(self._rows), _PART_ROWS
            ):
                parts[str(first // _PART_ROWS)] = self._rows[first : first + _PART_ROWS]
        self._mark_stored()
        return parts

    def _mark_stored(self) -> None:
        self._first_uncommitted = len(self._rows)
        self._stored_other_version_events = self.other_version_events

    def restore(self, parts: StoredParts) -> None:
        """Continue from the parts."""
        if _OTHER_VERSION_EVENTS in parts:
            self.other_version_events = parts.read(_OTHER_VERSION_EVENTS, int)
        for name in sorted({*parts} - {_OTHER_VERSION_EVENTS}, key=int):
            self._rows += parts.read(name, list[WarmUpRow])
        self._mark_stored()
