"""Labelled events as a pandas frame, and its split into training rows and holdout."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import pandas as pd

from producer.events import Value
from stream_monitor.reference.loss import scores_of
from stream_monitor.reference.profile import ClassLabel, Task
from trainer.dataset.collector import CollectedEvents, LabelledEvent
from trainer.policy.offset_ranges import OffsetRange


class TrainingSet(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a training set, for the manifest and for people.

    ``read`` counts records, ``events`` the model's distinct inference events among them,
    ``duplicates`` repeated ids of events and labels, ``excluded`` labelled events inside excluded
    time ranges, ``rejected`` records that are not valid events.  ``rows`` counts the labelled
    events in the set: all, or those whose hashed id is in the first ``sampled_share`` of its range.
    ``sha256`` is over the sorted ids with their labels.  ``history_rows`` of the rows come from the
    training frame of an earlier version; ``over_max_rows`` older rows of it were left out.
    ``unlabelled`` counts events of the sample without a label, ``excluded_sources`` the rows left
    out by producer, because only that producer's events show a change.
    """

    ranges: list[OffsetRange]
    read: int
    events: int
    duplicates: int
    excluded: int
    rejected: int
    rows: int
    sampled_share: float
    sha256: str
    first_ms: int | None
    last_ms: int | None
    history_rows: int = 0
    over_max_rows: int = 0
    unlabelled: int = 0
    excluded_sources: dict[str, int] = {}

    def left_out(self) -> dict[str, int]:
        """Return how many rows and records do not train, by reason; only those that occur."""
        counts = {
            "no label yet": self.unlabelled,
            "in an excluded time range": self.excluded,
            "duplicate": self.duplicates,
            "not a valid event": self.rejected,
            "older rows above max_rows": self.over_max_rows,
            **{f"only {name} changed": n for name, n in self.excluded_sources.items()},
        }
        if self.sampled_share < 1:
            sampled = self.rows - self.history_rows
            counts["not in the sample (estimate)"] = round(sampled / self.sampled_share) - sampled
        return {reason: n for reason, n in counts.items() if n}

    def numbers(self) -> dict[str, float | int | str | None]:
        """Return the description as the ``numbers`` of a `RetrainEvent`."""
        places = (f"{part.partition}:{part.start}-{part.end}" for part in self.ranges)
        return {
            "ranges": " ".join(places),
            "read": self.read,
            "rejected": self.rejected,
            "events": self.events,
            "duplicates": self.duplicates,
            "excluded": self.excluded,
            "unlabelled": self.unlabelled,
            "excluded_sources": ", ".join(f"{k}: {n}" for k, n in self.excluded_sources.items()),
            "rows": self.rows,
            "history_rows": self.history_rows,
            "sampled_share": self.sampled_share,
            "dataset_sha256": self.sha256,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
        }


def fingerprint(rows: Iterable[tuple[str, Any]]) -> str:
    """Hash a training set: its sorted ids with their labels, one JSON array each.

    >>> fingerprint([("b", 1), ("a", 0)]) == fingerprint([("a", 0), ("b", 1)])
    True
    >>> fingerprint([("a", 0)]) == fingerprint([("a", False)])
    False
    """
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row[0]):
        digest.update(msgspec.json.encode(row) + b"\n")
    return digest.hexdigest()


RESERVED_COLUMNS: Final = (
    "id",
    "time_ms",
    "version",
    "ce_source",
    "label_ce_source",
    "prediction",
    "label",
)
"""Columns of the frame that are not features.  A feature with such a name is left out.

``ce_source`` and ``label_ce_source`` name the producers of the event and of its label."""


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
            "ce_source": pd.Series([row.source for row in rows], dtype=object),
            "label_ce_source": pd.Series([row.label_source for row in rows], dtype=object),
            "prediction": scores_of(
                [row.event.prediction_or_none for row in rows], columns.task, columns.positive
            ),
            "label": [row.label for row in rows],
            **{
                name: column_of([row.event.features.get(name) for row in rows]) for name in features
            },
        }
    )
    record = TrainingSet(
        ranges=sorted(ranges),
        read=read,
        events=collected.events,
        duplicates=collected.duplicates,
        excluded=collected.excluded,
        unlabelled=collected.unlabelled,
        rejected=rejected,
        rows=len(rows),
        sampled_share=collected.sampled_share,
        sha256=fingerprint((row.event.id, row.label) for row in rows),
        first_ms=rows[0].event.time_ms if rows else None,
        last_ms=rows[-1].event.time_ms if rows else None,
    )
    return Dataset(frame, features, record, collected.events_per_week)


def split_holdout(frame: pd.DataFrame, holdout_rows: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split rows in order of time into the earlier rows and the newest ``holdout_rows``."""
    cut = len(frame) - min(len(frame), holdout_rows)
    return frame.iloc[:cut], frame.iloc[cut:]


def with_history(dataset: Dataset, history: pd.DataFrame | None, *, max_rows: int) -> Dataset:
    """Return the dataset with earlier rows of a stored training frame before its own.

    Rows that are not earlier than the first row of the dataset are left out, because the event
    topic is read from there on.  At most the newest ``max_rows`` are kept.
    """
    frame, record = dataset.frame, dataset.record
    if history is None:
        return dataset
    first_ms = record.first_ms
    earlier = history if first_ms is None else history[history["time_ms"] < first_ms]
    missing = [name for name in frame.columns if name not in earlier]
    earlier = earlier.assign(**dict.fromkeys(missing, None))[list(frame.columns)]
    n_earlier = len(earlier)
    earlier = earlier.tail(max(0, max_rows - len(frame)))
    if not len(earlier):
        return dataset
    both = pd.concat([earlier, frame], ignore_index=True)
    for name in dataset.features:
        both[name] = column_of([None if v is None or v != v else v for v in both[name].tolist()])  # noqa: PLR0124 - NaN
    ids = zip(both["id"].tolist(), both["label"].tolist(), strict=True)
    record = msgspec.structs.replace(
        record,
        rows=len(both),
        history_rows=len(earlier),
        over_max_rows=n_earlier - len(earlier),
        sha256=fingerprint(ids),
        first_ms=int(both["time_ms"].iloc[0]),
        last_ms=int(both["time_ms"].iloc[-1]),
    )
    return dataset._replace(frame=both, record=record)


def _feature_names(rows: Sequence[LabelledEvent]) -> list[str]:
    """Return the names of features in order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.event.features))


def column_of(values: list[Value]) -> pd.Series[Any]:
    """Build a numeric column if all known values are numbers, otherwise one of objects."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(v, int | float) and not isinstance(v, bool) for v in known):
        return pd.Series([float("nan") if v is None else v for v in values])
    return pd.Series(values, dtype=object)
