"""A partition is stopped by an unbroken run of refusals, or by a large share, and by no less."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.ingest.records import LogRecord
from stream_monitor.runtime.refusals import RefusalLimit, Refusals

LIMIT = RefusalLimit(run=5, share=0.2, window=20)


def fed(good: list[bool], cuts: list[int]) -> tuple[Refusals, str | None]:
    """Refusals after these records, in batches cut there; and the first reason to stop."""
    seen, reason = Refusals(), None
    edges = sorted({0, len(good), *(cut % (len(good) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        records = [LogRecord(offset, 0, None, b"") for offset in range(start, end)]
        bad = [r.offset for r in records if not good[r.offset]]
        seen = seen.after(records, bad, LIMIT.window)
        reason = reason or LIMIT.broken_by(seen)
    return seen, reason


records = st.lists(st.booleans(), min_size=1, max_size=60)
cuts = st.lists(st.integers(0, 60), max_size=8)


@given(good=records, cuts=cuts)
def test_a_run_is_found_wherever_batches_are_cut(good: list[bool], cuts: list[int]) -> None:
    text = "".join("g" if one else "b" for one in good)
    _, reason = fed(good, cuts)
    in_a_row = reason is not None and "in a row" in reason
    if "b" * LIMIT.run in text:
        assert reason is not None
    else:
        assert not in_a_row


@given(good=records, cuts=cuts)
def test_less_than_a_window_is_no_share(good: list[bool], cuts: list[int]) -> None:
    short = good[: LIMIT.window - 1]
    _, reason = fed(short, cuts)
    assert reason is None or "in a row" in reason


def test_a_share_of_refusals_stops_and_a_smaller_one_never_does() -> None:
    _, reason = fed([i % 4 != 0 for i in range(40)], [10, 20, 30])
    assert reason == "5 of 20 records were refused; the limit is 20%"
    _, reason = fed([i % 6 != 0 for i in range(4_000)], list(range(0, 4_000, 7)))
    assert reason is None


def test_a_flood_long_ago_is_forgotten() -> None:
    flood = [i % 2 == 0 for i in range(16)]
    calm = [True] * 200
    seen, _ = fed(flood + calm, list(range(0, 216, 3)))
    assert LIMIT.broken_by(seen) is None
