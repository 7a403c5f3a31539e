"""Replaying: a reference, from rows or as it was stored, and rows through `PartitionMonitor`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pandas as pd

from driftline.replay.columns import Layout, floats_of, values_of
from driftline.replay.episodes import episodes_of
from driftline.replay.outcome import Outcome
from driftline.replay.positive import positive_of, what_to_do
from driftline.replay.records import (
    MODEL,
    VERSION,
    Places,
    batches,
    rows_of,
    unbounded,
    update_of,
)
from driftline.replay.refusal import BadSource
from driftline.replay.stored import as_watched, with_all_features
from driftline.replay.times import times_ms
from producer.injection import Injection
from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.drift.calibration import Budget
from stream_monitor.monitor import PartitionMonitor
from stream_monitor.reference.errors import NoPositiveLabel, ReferenceTooShort
from stream_monitor.reference.fit import MIN_EVENTS
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.spec import MonitorSpec


@dataclass(frozen=True, kw_only=True)
class Replay(Outcome):
    """What came of rows; ``n_backward`` are those that are earlier than the row before them.

    ``budget`` is that of the model, as it was stated; ``from_rows``: the reference was made here.
    """

    profile: ReferenceProfile
    n_backward: int
    budget: Budget
    from_rows: bool


def profile_of(
    frame: pd.DataFrame,
    layout: Layout,
    segments: Sequence[str] = (),
    positive: str | None = None,
) -> ReferenceProfile:
    """What was normal, from the reference rows; with their times, a season they prove.

    ``positive`` is the label that a score is the probability of; ``None``: 1.

    Raises:
        BadSource: there are too few rows to watch anything, or no label is the positive one.
    """
    prepared = pd.DataFrame(
        {
            feature.name: floats_of(frame[feature.column])
            if feature.kind == "numeric"
            else pd.Series(values_of(frame[feature.column], feature.kind), dtype="object")
            for feature in layout.features
        },
        index=range(len(frame)),
    )
    names = [f.name for f in layout.features]
    prediction, label, time = "\x1fprediction", "\x1flabel", "\x1ftime"  # names of no feature
    if layout.time is not None:
        prepared[time] = pd.to_datetime(times_ms(frame[layout.time]), unit="ms", utc=True)
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
            time=time if time in prepared else None,
            segments=segments,
            positive=positive_of(positive, None if layout.label is None else frame[layout.label]),
        )
    except NoPositiveLabel as error:
        what, why, fix = what_to_do(error)
        raise BadSource(f"--label {layout.label}: {what}; {why}", fix=fix) from error
    except ReferenceTooShort as error:
        why = (
            f"{MIN_EVENTS} are needed"
            if len(frame) < MIN_EVENTS
            else f"no column has {MIN_EVENTS} valid values in them"
        )
        raise BadSource(
            f"the reference of {len(frame):,} rows is too short: {why}",
            fix="better 2,000 or more: --reference first:50%",
        ) from error


def _sd_of(reference: pd.DataFrame | ReferenceProfile, layout: Layout) -> Callable[[str], float]:
    """The standard deviation of a numeric column of the reference; 0 of any other."""
    kinds = {feature.column: feature.kind for feature in layout.features}

    def sd(column: str) -> float:
        if isinstance(reference, ReferenceProfile):
            return reference.features[column].sd or 0.0 if column in reference.features else 0.0
        if kinds[column] != "numeric":
            return 0.0
        floats = floats_of(reference[column])
        return float(floats[np.isfinite(floats)].std(ddof=1))

    return sd


def replay(
    reference: pd.DataFrame | ReferenceProfile,
    frame: pd.DataFrame,
    layout: Layout,
    spec: MonitorSpec,
    *,
    first: int,
    injections: Sequence[Injection] = (),
    segments: Sequence[str] = (),
    positive: str | None = None,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Replay:
    """Fold ``frame``, whose first row has the number ``first``, and answer what it led to."""
    began = time.monotonic()
    if isinstance(reference, ReferenceProfile):
        profile = as_watched(reference, layout)
        profile = msgspec.structs.replace(profile, model=MODEL, version=VERSION)
        frame = with_all_features(frame, layout)
        unknown = frozenset(f.name for f in layout.features if f.name not in profile.features)
    else:
        profile, unknown = profile_of(reference, layout, segments, positive), frozenset()
    rows = rows_of(frame, layout, first, injections, _sd_of(reference, layout), unknown)
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
        n_reference=(
            reference.n_events if isinstance(reference, ReferenceProfile) else len(reference)
        ),
        n_features=len(layout.features),
        timed=layout.time is not None,
        profile=profile,
        alerts=alerts,
        refused=refused,
        episodes=episodes_of(alerts, places.row, layout.column_of, timed=layout.time is not None),
        span_ms=max(rows.times_ms) - min(rows.times_ms) if layout.time is not None else 0,
        n_backward=int(np.count_nonzero(np.diff(rows.times_ms) < 0)),
        seconds=time.monotonic() - began,
        budget=spec.budget,
        from_rows=not isinstance(reference, ReferenceProfile),
    )
