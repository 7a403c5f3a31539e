"""A worker that has unread records and does not advance has stalled; an idle one has not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.runtime.watchdog import PartitionProgress, StallState

STALL_S = 10.0
looks = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=40)


@given(looks=looks)
def test_a_stall_is_no_progress_for_the_timeout_with_unread_records(
    looks: list[tuple[int, int]],
) -> None:
    """A look a second: (records read since the last one, lag)."""
    seen, position, moved_s = StallState(0.0), 0, 0.0
    for second, (read, lag) in enumerate(looks, 1):
        position += read
        seen = seen.after(float(second), {0: PartitionProgress(position, lag)})
        if read or not lag or second == 1:
            moved_s = float(second)
        reason = seen.reason(float(second), STALL_S)
        assert (reason is not None) == (second - moved_s >= STALL_S)


def test_a_revoked_partition_is_no_stall() -> None:
    seen = StallState(0.0).after(1.0, {0: PartitionProgress(5, 9)}).after(20.0, {})
    assert seen.reason(21.0, STALL_S) is None


def test_an_event_loop_that_does_not_run_is_a_stall() -> None:
    seen = StallState(0.0).after(1.0, {0: PartitionProgress(5, 0)})
    assert seen.reason(10.5, STALL_S) is None
    assert seen.reason(11.0, STALL_S) == "the event loop has not run for 10 s"
