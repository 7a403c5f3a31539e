"""Replay rows through a `PartitionMonitor`, with a reference from rows or from a profile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pandas as pd

from driftline.offline.injection import Injection
from driftline.offline.replay.replay_episodes import ReplayResult, episodes_of, series_names
from driftline.offline.replay.row_records import (
    MODEL,
    VERSION,
    RowOffsets,
    batches,
    model_update_of,
    replay_rows_of,
    without_size_limits,
)
from driftline.offline.replay.stored_profile import for_these_rows, with_all_features
from driftline.offline.tables.convert import floats_of
from driftline.offline.tables.layout import Layout
from driftline.offline.tables.reference_profile import profile_of
from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.detectors.calibration import Budget
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.windows.closed_window import ClosedWindow


@dataclass(frozen=True, kw_only=True)
class TableReplay(ReplayResult):
    """The result of a replay of rows.

    ``n_backward`` is the number of rows that are earlier than the row before them, ``budget`` the
    stated budget of the model.  ``from_rows``: the reference was built from rows.  ``since_ms`` and
    ``until_ms`` are the first and the last event time.  ``n_without_label`` rows have no label, and
    ``n_not_comparable`` labels cannot be compared with their predictions.
    """

    profile: ReferenceProfile
    n_backward: int
    budget: Budget
    from_rows: bool
    since_ms: int
    until_ms: int
    n_without_label: int
    n_not_comparable: int


def _sd_of(reference: pd.DataFrame | ReferenceProfile, layout: Layout) -> Callable[[str], float]:
    """A function for the standard deviation of a column in the reference; 0 unless numeric."""
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
) -> TableReplay:
    """Replay ``frame``, whose first row has the number ``first``, and return the result."""
    began = time.monotonic()
    if isinstance(reference, ReferenceProfile):
        profile = for_these_rows(reference, layout)
        profile = msgspec.structs.replace(profile, model=MODEL, version=VERSION)
        frame = with_all_features(frame, layout)
        unknown = frozenset(f.name for f in layout.features if f.name not in profile.features)
    else:
        made = profile_of(
            reference, layout, model=MODEL, version=VERSION, segments=segments, positive=positive
        )
        profile, unknown = made, frozenset()
    rows = replay_rows_of(frame, layout, first, injections, _sd_of(reference, layout), unknown)
    offsets = RowOffsets(2 if rows.labels is not None else 1)
    spec = msgspec.structs.replace(spec, limits=without_size_limits(spec.limits))
    monitor = PartitionMonitor("replay", 0, spec)
    monitor.observe(model_update_of(profile, offsets, rows))
    alerts: list[DriftAlert] = []
    rejected: list[DeadLetter] = []
    windows: list[ClosedWindow] = []
    for batch in batches(rows, offsets):
        seen = monitor.observe(batch)
        alerts += seen.alerts
        rejected += seen.dead_letters
        windows += seen.windows
        on_progress(offsets.row(batch.next - 1) - first + 1)
    model = monitor.models[MODEL]
    watched = model.versions[VERSION]
    return TableReplay(
        n_events=len(rows),
        n_reference=(
            reference.n_events if isinstance(reference, ReferenceProfile) else len(reference)
        ),
        n_features=sum(f.name in profile.features for f in layout.features),
        timed=layout.time is not None,
        profile=profile,
        alerts=alerts,
        windows=windows,
        rejected=rejected,
        episodes=episodes_of(
            alerts,
            lambda offset, _row: offsets.row(offset),
            layout.column_of,
            timed=layout.time is not None,
        ),
        since_ms=min(rows.times_ms),
        until_ms=max(rows.times_ms),
        span_ms=max(rows.times_ms) - min(rows.times_ms) if layout.time is not None else 0,
        n_backward=int(np.count_nonzero(np.diff(rows.times_ms) < 0)),
        seconds=time.monotonic() - began,
        budget=spec.budget,
        from_rows=not isinstance(reference, ReferenceProfile),
        suspected=series_names(watched.suspected(), layout.column_of),
        n_suppressed=model.open_episodes.suppressed,
        n_without_label=0 if rows.labels is None else rows.labels.count(None),
        n_not_comparable=watched.not_comparable,
        events_to_confirm=spec.episodes.first_test_events,
    )
