"""A limit on consecutive dead letters, or on their ratio, stops a partition."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.runtime.dead_letter_limit import RecentRejections
from stream_monitor.settings import DeadLetterSettings

MAX_CONSECUTIVE = 5
LIMIT = DeadLetterSettings(max_consecutive=MAX_CONSECUTIVE, max_ratio=0.2, window_records=20)


def fed(
    good: list[bool], cuts: list[int], batches: frozenset[int] = frozenset()
) -> tuple[RecentRejections, str | None]:
    """RecentRejections after these events, in fetches cut there; and the first reason to stop.

    Each event is a record, but the fetches with these numbers are batches.
    """
    seen, reason = RecentRejections(), None
    edges = sorted({0, len(good), *(cut % (len(good) + 1) for cut in cuts)})
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        bad = [i for i in range(start, end) if not good[i]]
        if number in batches:
            records = [ConsumerRecord(start, 0, None, b"")]
            places: list[tuple[int, int | None]] = [(start, i - start) for i in bad]
            rows = {start: end - start}
        else:
            records = [ConsumerRecord(offset, 0, None, b"") for offset in range(start, end)]
            places, rows = [(i, None) for i in bad], {}
        seen = seen.after(records, places, LIMIT.window_records, rows)
        reason = reason or seen.limit_exceeded(LIMIT)
    return seen, reason


records = st.lists(st.booleans(), min_size=1, max_size=60)
cuts = st.lists(st.integers(0, 60), max_size=8)


@given(good=records, cuts=cuts)
def test_a_run_is_found_wherever_batches_are_cut(good: list[bool], cuts: list[int]) -> None:
    text = "".join("g" if one else "b" for one in good)
    _, reason = fed(good, cuts)
    in_a_row = reason is not None and "in a row" in reason
    if "b" * MAX_CONSECUTIVE in text:
        assert reason is not None
    else:
        assert not in_a_row


@given(good=records, cuts=cuts, batches=st.frozensets(st.integers(0, 8)))
def test_rows_of_batches_count_as_single_events_do(
    good: list[bool], cuts: list[int], batches: frozenset[int]
) -> None:
    assert fed(good, cuts, batches) == fed(good, cuts)


@given(good=records, cuts=cuts)
def test_less_than_a_window_is_no_share(good: list[bool], cuts: list[int]) -> None:
    short = good[: LIMIT.window_records - 1]
    _, reason = fed(short, cuts)
    assert reason is None or "in a row" in reason


def test_a_rejected_share_above_the_limit_stops_and_a_smaller_one_never_does() -> None:
    _, reason = fed([i % 4 != 0 for i in range(40)], [10, 20, 30])
    assert reason == "5 of 20 records were rejected; max_ratio is 0.2"
    _, reason = fed([i % 6 != 0 for i in range(4_000)], list(range(0, 4_000, 7)))
    assert reason is None


def test_a_flood_long_ago_is_forgotten() -> None:
    flood = [i % 2 == 0 for i in range(16)]
    calm = [True] * 200
    seen, _ = fed(flood + calm, list(range(0, 216, 3)))
    assert seen.limit_exceeded(LIMIT) is None


def test_without_a_limit_nothing_is_too_much() -> None:
    seen = RecentRejections()
    for start in range(0, 100_000, 1_000):
        records = [ConsumerRecord(offset, 0, None, b"") for offset in range(start, start + 1_000)]
        seen = seen.after(records, [(r.offset, None) for r in records], 10_000, {})
        assert seen.limit_exceeded(DeadLetterSettings()) is None
