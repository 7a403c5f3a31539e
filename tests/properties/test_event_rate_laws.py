"""The rate of a reference: exact where events come evenly, and no single clock can spoil it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stream_monitor.reference.event_rate import MIN_SPAN_MS, estimate_events_per_week
from stream_monitor.reference.season import WEEK_MS

TIMES = st.lists(st.integers(0, 10**13), max_size=300)


@given(st.integers(2, 400), st.integers(1, WEEK_MS), st.integers(1, 9), st.integers(0, 10**12))
def test_batches_that_come_evenly_have_their_rate_exactly(
    n: int, every_ms: int, size: int, since_ms: int
) -> None:
    times_ms = since_ms + every_ms * np.repeat(np.arange(n), size)
    cut = len(times_ms) // 100
    assume(times_ms[-1 - cut] - times_ms[cut] >= MIN_SPAN_MS)

    assert estimate_events_per_week(times_ms) == pytest.approx(size * WEEK_MS / every_ms)


@given(TIMES, st.randoms(use_true_random=False))
def test_the_rate_is_positive_or_unknown_and_independent_of_order(
    times: list[int], chance: object
) -> None:
    shuffled = list(times)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    rate = estimate_events_per_week(np.array(times, dtype=np.int64))

    assert rate == estimate_events_per_week(np.array(shuffled, dtype=np.int64))
    assert rate is None or rate > 0


@given(st.lists(st.integers(0, 10**13), min_size=20, max_size=20))
def test_one_clock_in_a_hundred_may_be_wrong(wrong_ms: list[int]) -> None:
    """2,000 events of ten minutes; twenty of them come with any time between 1970 and 2286."""
    times_ms = 10**12 + 300 * np.arange(2_000, dtype=np.int64)
    times_ms[::100] = wrong_ms

    assert estimate_events_per_week(times_ms) == pytest.approx(WEEK_MS / 300, rel=0.03)


@given(st.lists(st.integers(0, MIN_SPAN_MS - 1), max_size=500), st.integers(0, 10**13))
def test_a_burst_has_none(times: list[int], moment_ms: int) -> None:
    assert estimate_events_per_week(moment_ms + np.array(times, dtype=np.int64)) is None


def test_ten_seconds_are_the_shortest_that_have_one() -> None:
    seconds = np.array([0, MIN_SPAN_MS], dtype=np.int64)

    assert estimate_events_per_week(seconds) == WEEK_MS / MIN_SPAN_MS
    assert estimate_events_per_week(seconds - np.array([0, 1])) is None
