"""Recorded rows in order of time, with the moment at which each label becomes known."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftline.offline.tables.convert import floats_of, plain_of, values_of
from driftline.offline.tables.event_times import times_ms
from driftline.offline.tables.layout import Layout
from driftline.offline.tables.source_error import SourceError
from producer.events import Value
from stream_monitor.reference.profile import ClassLabel, Task
from trainer.fitting.model_fit import LABEL, TIME

Ints = NDArray[np.int64]

ROW_MS: Final = 1_000
"""Time between two rows of a file without a time column."""
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class LabelDelay(NamedTuple):
    """The delay of a label after its event: a number of events, or a time."""

    events: int = 0
    ms: int = 0

    @classmethod
    def parse(cls, text: str) -> LabelDelay:
        """Parse ``500events``, ``500`` or a time such as ``1d``.

        Raises:
            SourceError: the text is neither.

        >>> LabelDelay.parse("500events"), LabelDelay.parse("2h")
        (LabelDelay(events=500, ms=0), LabelDelay(events=0, ms=7200000))
        """
        found = re.fullmatch(r"(\d{1,12}) ?(events?|rows?|[smhd])?", text.strip())
        if found is None:
            raise SourceError(
                f"--label-delay {text!r} is not a delay",
                fix="write a number of events or a time: 500events, 30m, 6h or 1d",
            )
        unit = found[2] or "events"
        if unit in _UNIT_MS:
            return cls(ms=int(found[1]) * _UNIT_MS[unit])
        return cls(events=int(found[1]))


class LabelledStream(NamedTuple):
    """n rows in order of time.

    ``frame`` has the features, `LABEL` and `TIME` (ms).  ``known_at`` (n,) is the row with which
    the label of each row becomes known; n or more: not within the stream.  The first
    ``n_training`` rows are not counted; those of them with a label train the first version.
    ``sources`` has the producer of each row, if it is known.
    """

    frame: pd.DataFrame
    features: list[str]
    values: dict[str, list[Value]]
    labels: list[Value]
    times_ms: Ints
    known_at: Ints
    n_training: int
    task: Task
    positive: ClassLabel
    timed: bool
    sources: list[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def training_rows(self) -> Ints:
        """The rows that train the first version."""
        return self.known_rows(self.n_training)

    def known_rows(self, end: int) -> Ints:
        """The rows whose labels are known when all rows before ``end`` have been served."""
        return np.flatnonzero(self.known_at < end)


def stream_of(
    frame: pd.DataFrame,
    layout: Layout,
    *,
    n_training: int,
    delay: LabelDelay,
    task: Task,
    positive: ClassLabel,
) -> LabelledStream:
    """Sort the rows by time and compute when each label becomes known.

    The labels of the training rows are known from the start; a row without a label trains nothing.

    Raises:
        SourceError: a time cannot be read.
    """
    label = layout.label
    if label is None:
        raise SourceError("a backtest needs labels", fix="name their column with --label")
    if layout.time is None:
        times = ROW_MS * np.arange(1, len(frame) + 1, dtype=np.int64)
    else:
        times = np.array(times_ms(frame[layout.time]), dtype=np.int64)
        order = np.argsort(times, kind="stable")
        frame, times = frame.iloc[order], times[order]
    frame = frame.reset_index(drop=True)
    missing = frame[label].isna().to_numpy()
    known_at = np.arange(len(frame), dtype=np.int64) + delay.events
    if delay.ms:
        known_at = np.searchsorted(times, times + delay.ms, side="left").astype(np.int64)
    known_at = np.maximum(known_at, np.arange(len(frame), dtype=np.int64))
    known_at[:n_training] = -1
    known_at[missing] = 2 * len(frame)
    columns: dict[str, Any] = {
        feature.name: floats_of(frame[feature.column])
        if feature.kind == "numeric"
        else pd.Series(values_of(frame[feature.column], feature.kind), dtype="object")
        for feature in layout.features
    }
    labels: list[Value] = plain_of(frame[label])
    return LabelledStream(
        pd.DataFrame({**columns, LABEL: pd.Series(labels).infer_objects(), TIME: times}),
        list(columns),
        {f.name: values_of(frame[f.column], f.kind) for f in layout.features},
        labels,
        times,
        known_at,
        n_training,
        task,
        positive,
        layout.time is not None,
    )
