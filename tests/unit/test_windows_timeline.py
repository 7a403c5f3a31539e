"""When windows open and close, and which events are late, drawn on a timeline.

Windows of 10 ms, grace 5 ms: [0, 10) closes at the first record with watermark >= 15.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.transform import Transform
from stream_monitor.windows.closed_window import ClosedWindow, window_key
from stream_monitor.windows.tumbling import TumblingWindows, WindowSpec
from tests.builders import stored

SPEC = WindowSpec(size_ms=10, grace_ms=5, idle_close_ms=100, max_open=4)
SAMPLE = np.random.default_rng(3).normal(20, 5, 1000).tolist()
PROFILE = fit_profile("m", "1", {"temp": SAMPLE}, task="binary", origin="training")
TRANSFORM = Transform(PROFILE.features["temp"])


def observe(
    windows: TumblingWindows,
    times_ms: Sequence[int],
    values: Sequence[float | None] = (),
    offset: int = 0,
) -> list[ClosedWindow]:
    values = values or [20.0] * len(times_ms)
    offsets = np.arange(offset, offset + len(times_ms))
    return windows.observe(offsets, np.array(times_ms), {"temp": TRANSFORM.apply(values)})


def test_a_window_closes_at_the_record_that_takes_the_watermark_past_its_grace() -> None:
    #  0         10        20
    #  [0--------)[10-------)
    #    a        b  c d          c at 14: still open; d at 15: closes [0, 10)
    windows = TumblingWindows(SPEC, PROFILE)
    assert observe(windows, [2, 10, 14]) == []
    [closed] = observe(windows, [15], offset=3)

    assert (closed.start_ms, closed.end_ms) == (0, 10)
    assert (closed.first_offset, closed.last_offset, closed.closed_offset) == (0, 0, 3)
    assert closed.n_events == 1


def test_within_the_grace_an_event_is_in_time_and_after_it_late() -> None:
    #  [0--------)[10-------)
    #    a         b(14)  a'(9)  c(15)  a''(9)
    windows = TumblingWindows(SPEC, PROFILE)
    [closed] = observe(windows, [2, 14, 9, 15, 9])

    assert closed.n_events == 2
    assert windows.late == 1


def test_windows_are_half_open() -> None:
    windows = TumblingWindows(SPEC, PROFILE)
    closed = observe(windows, [0, 9, 10, 19, 20, 1000])
    assert [(w.start_ms, w.n_events) for w in closed] == [(0, 2), (10, 2), (20, 1)]


def test_one_record_may_close_several_windows_oldest_first() -> None:
    windows = TumblingWindows(SPEC, PROFILE)
    observe(windows, [12, 3])
    closed = observe(windows, [500], offset=2)
    assert [(w.start_ms, w.closed_offset) for w in closed] == [(0, 2), (10, 2)]


def test_the_watermark_never_goes_back() -> None:
    windows = TumblingWindows(SPEC, PROFILE)
    observe(windows, [50, 3, 40])
    assert windows.watermark_ms == 50


def test_an_idle_version_closes_what_the_append_clock_has_passed() -> None:
    windows = TumblingWindows(SPEC, PROFILE)
    assert windows.idle_due_ms(1000) is None
    observe(windows, [2, 12])

    assert windows.idle_due_ms(1000) == 1100
    closed = windows.close_idle(1100, offset=9)
    assert [(w.start_ms, w.closed_offset) for w in closed] == [(0, 9), (10, 9)]
    assert windows.idle_due_ms(1000) is None


def test_an_idle_window_of_the_present_stays_open_until_it_is_over() -> None:
    slow = TumblingWindows(WindowSpec(size_ms=10_000, grace_ms=5, idle_close_ms=100), PROFILE)
    observe(slow, [2])

    assert slow.idle_due_ms(2) == 10_005
    assert slow.close_idle(10_004, offset=1) == []
    assert len(slow.close_idle(10_005, offset=2)) == 1


def test_a_window_closed_by_idleness_never_reopens() -> None:
    windows = TumblingWindows(SPEC, PROFILE)
    observe(windows, [2])
    windows.close_idle(1100, offset=1)

    assert observe(windows, [3, 4, 10], offset=2) == []
    assert windows.late == 2
    assert windows.idle_due_ms(0) is not None


def test_a_closed_window_has_the_statistics_of_its_valid_values() -> None:
    values = [10.0, None, 30.0, float("nan"), 40.0]
    windows = TumblingWindows(SPEC, PROFILE)
    [closed] = observe(windows, [1, 2, 3, 4, 5], values) + observe(windows, [99], offset=5)
    temp = closed.features["temp"]

    assert (temp.count, temp.invalid, sum(temp.bins)) == (3, 2, 3)
    assert temp.mean == pytest.approx(80 / 3, abs=1e-4)
    assert temp.sd == pytest.approx(np.std([10, 30, 40], ddof=1), abs=1e-4)
    assert temp.minimum == pytest.approx(10, abs=1e-4)
    assert temp.maximum == pytest.approx(40, abs=1e-4)
    assert temp.psi > 0
    assert temp.jensen_shannon > 0


def test_a_window_without_a_valid_value_has_no_moments() -> None:
    windows = TumblingWindows(SPEC, PROFILE)
    [closed] = observe(windows, [1], [None]) + observe(windows, [99], offset=1)
    temp = closed.features["temp"]

    assert (temp.count, temp.invalid, temp.psi, temp.jensen_shannon) == (0, 1, 0.0, 0.0)
    assert (temp.mean, temp.sd, temp.minimum, temp.maximum) == (None, None, None, None)


def test_a_commit_writes_changed_windows_only_and_deletes_closed_ones() -> None:
    windows = TumblingWindows(SPEC, PROFILE)
    observe(windows, [2, 12])
    assert set(windows.take_changes()) == {"meta", "open|0", "open|10"}
    assert windows.take_changes() == {}
    observe(windows, [13], offset=2)
    assert set(windows.take_changes()) == {"meta", "open|10"}
    observe(windows, [15], offset=3)
    assert windows.take_changes()["open|0"] is None
    assert windows.take_changes() == {}


def test_a_grace_period_that_keeps_too_many_windows_open_is_rejected() -> None:
    with pytest.raises(ValueError, match="raise max_open"):
        WindowSpec(size_ms=10, grace_ms=31, max_open=4)
    assert WindowSpec(size_ms=10, grace_ms=30, max_open=4).most_open == 4


def test_keys_of_different_windows_differ() -> None:
    keys = {window_key("d", m, v, 10, p) for m, v in (("a:b", "c"), ("a", "b:c")) for p in (0, 1)}
    assert len(keys) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"meta": None},
        {"meta": ["x"]},
        {"open|0": [0, 0, 0, 1, {}]},
        {"open|3": [3, 0, 0, 1, {"temp": []}]},
        {"open|0": 5},
    ],
)
def test_inconsistent_parts_are_rejected(change: dict[str, object]) -> None:
    windows = TumblingWindows(SPEC, PROFILE)
    observe(windows, [2])
    parts = stored(windows.take_changes() | change)
    with pytest.raises(ValueError, match=r"."):
        TumblingWindows(SPEC, PROFILE).restore(parts)
