from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from driftline.demo.timeline import TimeScale, interleave

times = st.lists(st.integers(0, 1_000), min_size=1, max_size=60).map(
    lambda found: np.array(sorted(found), dtype=np.int64)
)


@given(times, st.integers(1, 500))
def test_everything_happens_once_and_in_order_of_event_time(
    event_times: np.ndarray, delay: int
) -> None:
    line = interleave(event_times, delay)
    assert (np.diff(line.times_ms) >= 0).all()
    assert sorted(line.rows[line.is_label].tolist()) == list(range(len(event_times)))
    assert line.rows[~line.is_label].tolist() == list(range(len(event_times)))
    expected = event_times[line.rows] + np.where(line.is_label, delay, 0)
    assert (line.times_ms == expected).all()


@given(times, st.integers(1, 500))
def test_a_label_never_comes_before_its_prediction(event_times: np.ndarray, delay: int) -> None:
    line = interleave(event_times, delay)
    position = {
        (int(r), bool(k)): i for i, (r, k) in enumerate(zip(line.rows, line.is_label, strict=True))
    }
    assert all(position[row, False] < position[row, True] for row in range(len(event_times)))


def test_due_events_are_all_up_to_now_and_never_decrease() -> None:
    line = interleave(np.array([0, 10, 20], dtype=np.int64), 5)
    assert [line.due(0, now) for now in (-1.0, 0.0, 5.0, 14.9, 25.0)] == [0, 1, 2, 3, 6]
    assert line.due(4, 0.0) == 4


def test_the_year_ends_when_its_seconds_are_over_and_at_once_without_seconds() -> None:
    assert TimeScale(100, 200, 4.0).event_time_ms(1.0) == 125.0
    assert TimeScale(100, 200, 4.0).event_time_ms(9.0) == 200.0
    assert TimeScale(100, 200, 0.0).event_time_ms(0.0) == 200.0
