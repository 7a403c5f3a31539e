"""Replaying: the reference from the first rows, the others through `PartitionMonitor`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import pandas as pd

from driftline.replay.columns import Layout, values_of
from driftline.replay.episodes import Episode, episodes_of
from driftline.replay.records import (
    MODEL,
    VERSION,
    Places,
    batches,
    rows_of,
    unbounded,
    update_of,
)
from driftline.replay.source import BadSource
from producer.injection import Injection
from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.monitor import PartitionMonitor
from stream_monitor.reference.errors import ReferenceTooShort
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.spec import MonitorSpec


class Replay(NamedTuple):
    """What came of it.  ``refused`` are rows the monitor would not take."""

    n_events: int
    n_reference: int
    profile: ReferenceProfile
    alerts: list[DriftAlert]
    refused: list[DeadLetter]
    episodes: list[Episode]
    span_ms: int
    seconds: float


def profile_of(frame: pd.DataFrame, layout: Layout) -> ReferenceProfile:
    """What was normal, from the reference rows.

    Raises:
        BadSource: there are too few rows to watch anything.
    """
    prepared = pd.DataFrame(
        {f.name: pd.Series(values_of(frame[f.column], f.kind), dtype=_dtype(f.kind))
         for f in layout.features}
    )  # fmt: skip
    names = [f.name for f in layout.features]
    prediction, label = "prediction of the model", "label of the event"
    if layout.prediction is not None:
        prepared[prediction] = frame[layout.prediction].to_numpy()
        if layout.label is not None:
            prepared[label] = frame[layout.label].to_numpy()
    try:
        return profile_from_frame(
            prepared,
            model=MODEL,
            version=VERSION,
            prediction=prediction if prediction in prepared else None,
            label=label if label in prepared else None,
            features=names,
        )
    except ReferenceTooShort as error:
        raise BadSource(
            f"the reference of {len(frame):,} rows is too short: {error}",
            fix="a reference of at least 300 rows, better 2,000: --reference first:50%",
        ) from error


def _dtype(kind: str) -> str:
    return "float64" if kind == "numeric" else "object"


def replay(
    reference: pd.DataFrame,
    frame: pd.DataFrame,
    layout: Layout,
    spec: MonitorSpec,
    *,
    first: int,
    injections: Sequence[Injection] = (),
    on_progress: Callable[[int], object] = lambda _: None,
) -> Replay:
    """Fold ``frame``, whose first row has the number ``first``, and answer what it led to."""
    began = time.monotonic()
    profile = profile_of(reference, layout)
    rows = rows_of(frame, layout, first, injections, lambda name: float(reference[name].std()))
    places = Places(2 if rows.labels is not None else 1)
    spec = msgspec.structs.replace(spec, limits=unbounded(spec.limits))
    monitor = PartitionMonitor("replay", 0, spec)
    monitor.observe(update_of(profile, places, rows))
    alerts: list[DriftAlert] = []
    refused: list[DeadLetter] = []
    for batch in batches(rows, places):
        seen = monitor.observe(batch)
        alerts += seen.alerts
        refused += seen.dead_letters
        on_progress(places.row(batch.next - 1) - first + 1)
    return Replay(
        n_events=len(rows),
        n_reference=len(reference),
        profile=profile,
        alerts=alerts,
        refused=refused,
        episodes=episodes_of(alerts, places.row, layout.column_of, timed=layout.time is not None),
        span_ms=max(rows.times_ms) - min(rows.times_ms) if layout.time is not None else 0,
        seconds=time.monotonic() - began,
    )
