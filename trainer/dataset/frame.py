"""Labelled events as a pandas frame, and its split into training rows and holdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import pandas as pd

from producer.events import Value
from stream_monitor.reference.loss import scores_of
from stream_monitor.reference.profile import ClassLabel, Task
from trainer.dataset.collector import CollectedEvents, LabelledEvent
from trainer.dataset.training_set import TrainingSet, fingerprint
from trainer.policy.offset_ranges import OffsetRange

RESERVED_COLUMNS: Final = ("id", "time_ms", "version", "prediction", "label")
"""Columns of the frame that are not features.  A feature with such a name is left out."""


class ColumnRoles(NamedTuple):
    """The task, the positive class, and the features (``None``: all that occur)."""

    task: Task
    positive: ClassLabel = 1
    features: tuple[str, ...] | None = None


class Dataset(NamedTuple):
    """A training set as a frame, and its description.

    ``frame`` has one row per labelled event in order of time, then id; its columns are
    `RESERVED_COLUMNS`, then ``features``.  ``events_per_week`` counts all events of the model.
    """

    frame: pd.DataFrame
    features: list[str]
    record: TrainingSet
    events_per_week: float | None = None


def build_dataset(
    collected: CollectedEvents,
    columns: ColumnRoles,
    *,
    ranges: Sequence[OffsetRange] = (),
    read: int = 0,
    rejected: int = 0,
) -> Dataset:
    """Build the frame; a feature that an event does not have is missing."""
    rows = collected.rows
    features = list(columns.features) if columns.features is not None else _feature_names(rows)
    features = [name for name in features if name not in RESERVED_COLUMNS]
    frame = pd.DataFrame(
        {
            "id": [row.event.id for row in rows],
            "time_ms": pd.Series([row.event.time_ms for row in rows], dtype="int64"),
            "version": [row.event.version for row in rows],
            "prediction": scores_of(
                [row.event.prediction_or_none for row in rows], columns.task, columns.positive
            ),
            "label": [row.label for row in rows],
            **{name: _column([row.event.features.get(name) for row in rows]) for name in features},
        }
    )
    record = TrainingSet(
        ranges=sorted(ranges),
        read=read,
        events=collected.events,
        duplicates=collected.duplicates,
        excluded=collected.excluded,
        rejected=rejected,
        rows=len(rows),
        sampled_share=collected.sampled_share,
        sha256=fingerprint((row.event.id, row.label) for row in rows),
        first_ms=rows[0].event.time_ms if rows else None,
        last_ms=rows[-1].event.time_ms if rows else None,
    )
    return Dataset(frame, features, record, collected.events_per_week)


def split_by_time(
    frame: pd.DataFrame, *, since_ms: int | None, holdout_ratio: float, min_holdout: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split rows in order of time into training rows and the holdout.

    The holdout has ``holdout_ratio`` of the rows from ``since_ms`` (the onset) on, and at least
    ``min_holdout`` rows; without an onset the ratio is of all rows.  So the training rows contain
    events after the onset, too.
    """
    fresh = len(frame) if since_ms is None else int((frame["time_ms"] >= since_ms).sum())
    held = min(len(frame), max(min_holdout, round(holdout_ratio * fresh)))
    cut = len(frame) - held
    return frame.iloc[:cut], frame.iloc[cut:]


def _feature_names(rows: Sequence[LabelledEvent]) -> list[str]:
    """Return the names of features in order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.event.features))


def _column(values: list[Value]) -> pd.Series[Any]:
    """Build a numeric column if all known values are numbers, otherwise one of objects."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(v, int | float) and not isinstance(v, bool) for v in known):
        return pd.Series([float("nan") if v is None else v for v in values])
    return pd.Series(values, dtype=object)
