"""Laws of windows: any cut, any restart, any order of merging gives the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.transform import Transform
from stream_monitor.state_parts import StoredParts, decode_part, encode_part
from stream_monitor.statistics.fixed_point import FIXED_POINT
from stream_monitor.windows.closed_window import ClosedWindow
from stream_monitor.windows.feature_statistics import FeatureStatistics, statistics_of
from stream_monitor.windows.tumbling import TumblingWindows, WindowSpec

SPEC = WindowSpec(size_ms=10, grace_ms=5, idle_close_ms=100, max_open=4)
RNG = np.random.default_rng(3)
PROFILE = fit_profile(
    "m",
    "1",
    {"temp": RNG.normal(20, 5, 1000).tolist(), "wait": RNG.exponential(300, 1000).tolist()},
    task="binary",
    origin="training",
)
TRANSFORMS = {name: Transform(reference) for name, reference in PROFILE.features.items()}
N_BINS = len(PROFILE.features["temp"].bin_counts)

VALUES = st.one_of(
    st.floats(-100, 100), st.floats(-1e12, 1e12), st.sampled_from([None, float("nan"), 0.0, 20.0])
)
ROWS = st.lists(st.tuples(st.integers(0, 120), VALUES, VALUES), max_size=30)
Row = tuple[int, float | None, float | None]


def observe(windows: TumblingWindows, rows: Sequence[Row], offset: int) -> list[ClosedWindow]:
    columns = {"temp": [row[1] for row in rows], "wait": [row[2] for row in rows]}
    return windows.observe(
        np.arange(offset, offset + len(rows)),
        np.array([row[0] for row in rows], dtype=np.int64),
        {name: TRANSFORMS[name].apply(column) for name, column in columns.items()},
    )


def fold(
    rows: Sequence[Row], cuts: Sequence[int], *, restored: bool = False
) -> tuple[list[ClosedWindow], dict[str, bytes]]:
    """All closed windows, and what is stored at the end."""
    windows, store = TumblingWindows(SPEC, PROFILE), dict[str, bytes]()
    closed: list[ClosedWindow] = []
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, end in pairwise(bounds):
        closed += observe(windows, rows[start:end], start)
        for name, part in windows.take_changes().items():
            store.pop(name, None)
            if part is not None:
                store[name] = encode_part(part)
        if restored:
            windows = TumblingWindows(SPEC, PROFILE)
            windows.restore(StoredParts(store))
    return closed, store


@given(ROWS, st.lists(st.integers(0, 30), max_size=5))
def test_windows_do_not_depend_on_batches_nor_on_restarts(rows: list[Row], cuts: list[int]) -> None:
    one_at_a_time = fold(rows, range(len(rows)))
    assert fold(rows, []) == one_at_a_time
    assert fold(rows, cuts) == one_at_a_time
    assert fold(rows, cuts, restored=True) == one_at_a_time


@given(ROWS)
def test_every_event_is_in_exactly_one_window_or_late(rows: list[Row]) -> None:
    # The rule without vectorisation: one record after another.
    watermark_ms, late, members = -1, 0, dict[int, int]()
    closing: dict[int, int] = {}
    for offset, (time_ms, _, _) in enumerate(rows):
        start = time_ms // 10 * 10
        if start + 15 <= watermark_ms:
            late += 1
        else:
            members[start] = members.get(start, 0) + 1
        watermark_ms = max(watermark_ms, time_ms)
        for start in members:
            if start + 15 <= watermark_ms:
                closing.setdefault(start, offset)

    windows = TumblingWindows(SPEC, PROFILE)
    closed = observe(windows, rows, 0) if rows else []
    assert windows.late == late
    assert {w.start_ms: w.closed_offset for w in closed} == closing
    assert {w.start_ms: w.n_events for w in closed} == {s: members[s] for s in closing}
    assert [w.start_ms for w in closed] == sorted(closing, key=lambda s: (closing[s], s))
    parts = windows.take_changes().items()
    still_open = {name for name, part in parts if part is not None} - {"meta"}
    assert still_open == {f"open|{s}" for s in members if s not in closing}
    assert len(still_open) <= SPEC.max_open


@given(ROWS, st.lists(st.tuples(st.integers(0, 30), st.integers(0, 400)), max_size=3))
def test_a_window_once_closed_never_reopens(rows: list[Row], idle: list[tuple[int, int]]) -> None:
    windows, closed = TumblingWindows(SPEC, PROFILE), list[int]()
    for offset, row in enumerate(rows):
        closed += [w.start_ms for w in observe(windows, [row], offset)]
        for at, clock_ms in idle:
            if at == offset:
                closed += [w.start_ms for w in windows.close_idle(clock_ms, offset)]
    assert len(closed) == len(set(closed))
    parts = windows.take_changes()
    assert all(parts[f"open|{start}"] is None for start in closed)


def statistics(values: Sequence[float | None]) -> FeatureStatistics:
    [result] = statistics_of(
        TRANSFORMS["temp"].apply(values),
        TRANSFORMS["temp"].bin,
        N_BINS,
        np.zeros(len(values), dtype=np.int64),
        1,
    )
    return result


def merged(*parts: Sequence[float | None]) -> bytes:
    total = FeatureStatistics(0, 0, np.zeros(N_BINS, dtype=np.int64))
    for part in parts:
        total.merge(statistics(part))
    return encode_part(total)


COLUMNS = st.lists(VALUES, max_size=20)


@given(COLUMNS, COLUMNS, COLUMNS)
def test_merging_is_associative_and_commutative(
    a: list[float | None], b: list[float | None], c: list[float | None]
) -> None:
    left, right = statistics(a), statistics(b)
    left.merge(statistics(b))
    left.merge(statistics(c))
    right.merge(statistics(c))
    total = statistics(a)
    total.merge(right)

    assert encode_part(left) == encode_part(total)
    assert merged(a, b, c) == merged(c, a, b) == encode_part(statistics([*a, *b, *c]))


@given(COLUMNS)
def test_stored_statistics_read_back(values: list[float | None]) -> None:
    stored = encode_part(statistics(values))
    again = decode_part(stored, FeatureStatistics)
    again.require_fit(N_BINS, len(values))
    assert encode_part(again) == stored


@given(st.lists(st.one_of(st.floats(-1e4, 1e4), st.floats(-1e6, 1e6)), min_size=2, max_size=50))
def test_moments_equal_numpy_within_the_fixed_point(values: list[float]) -> None:
    reference = PROFILE.features["temp"]
    total = statistics(values)
    grain = reference.scale / FIXED_POINT + 1e-9

    assert total.mean(reference) == pytest.approx(np.mean(values), abs=grain, rel=1e-12)
    assert total.sd(reference) == pytest.approx(np.std(values, ddof=1), abs=2 * grain, rel=1e-9)


@given(st.lists(st.tuples(st.integers(0, 4), VALUES), min_size=1, max_size=40))
def test_groups_at_once_equal_one_group_after_another(rows: list[tuple[int, float | None]]) -> None:
    groups = np.array([group for group, _ in rows], dtype=np.int64)
    together = statistics_of(
        TRANSFORMS["temp"].apply([value for _, value in rows]),
        TRANSFORMS["temp"].bin,
        N_BINS,
        groups,
        5,
    )
    for group in range(5):
        mine = [value for g, value in rows if g == group]
        assert encode_part(together[group]) == merged(mine)
