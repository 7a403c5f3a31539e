"""What a warm-up has collected does not depend on where the log was cut into batches."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from producer.events import InferenceEvent, Value
from stream_monitor.ingest.columns import to_batch
from stream_monitor.ingest.records import LogRecord
from stream_monitor.watched.warm_up import WarmUp

ROWS = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.none() | st.floats(-1, 1), max_size=3),
    min_size=1, max_size=12,
)  # fmt: skip


def taken(rows: list[dict[str, Value]], cuts: list[int]) -> WarmUp:
    entries = [
        (
            LogRecord(i, i, None, b""),
            InferenceEvent(
                id=str(i), model="m", version="1", time_ms=i, features=row, prediction=0.5
            ),
        )
        for i, row in enumerate(rows)
    ]
    warm_up = WarmUp("m", "1", 100)
    edges = [0, *cuts, len(rows)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            warm_up.add(to_batch("m", "1", entries[start:end]))
    return warm_up


@given(ROWS, st.lists(st.integers(0, 12), max_size=4))
def test_features_that_only_some_events_have_leave_the_same_rows(
    rows: list[dict[str, Value]], cuts: list[int]
) -> None:
    inside = sorted(min(cut, len(rows)) for cut in cuts)
    assert taken(rows, inside).dirty() == taken(rows, []).dirty()
