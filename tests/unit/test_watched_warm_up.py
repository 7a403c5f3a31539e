"""What a warm-up has collected does not depend on where the log was cut into batches."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from producer.events import InferenceEvent, Value
from stream_monitor.ingest.columns import to_batch
from stream_monitor.ingest.records import LogRecord
from stream_monitor.watched.warm_up import WarmUp, features_of

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
    warm_up = WarmUp("m", "1", 200)
    edges = [0, *cuts, len(rows)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            warm_up.add(to_batch("m", "1", entries[start:end]))
    return warm_up


def test_names_that_few_rows_have_become_no_features() -> None:
    rows: list[dict[str, Value]] = [{"a": i / 60, f"made-up-{i}": 1.0} for i in range(60)]
    rows += [{"a": i / 60, "b": i % 7} for i in range(60, 1_000)]

    assert sorted(taken(rows, [50]).profile().features) == ["a", "b"]


def test_of_too_many_names_the_most_frequent_become_features() -> None:
    counts = {f"n{i:03}": 100 + (i % 3) for i in range(700)}
    found = features_of(counts, 1_000)

    assert len(found) == 512
    assert found == sorted(found)
    assert all(f"n{i:03}" in found for i in range(700) if i % 3)


@given(ROWS, st.lists(st.integers(0, 12), max_size=4))
def test_features_that_only_some_events_have_leave_the_same_rows(
    rows: list[dict[str, Value]], cuts: list[int]
) -> None:
    inside = sorted(min(cut, len(rows)) for cut in cuts)
    assert taken(rows, inside).dirty() == taken(rows, []).dirty()
