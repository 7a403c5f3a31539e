"""Rows to columns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.events import Value
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.ingest.columns import id_hash, id_hashes, to_batch, version_salt
from stream_monitor.ingest.table import Table, plain_values
from tests.builders import inference_event


def batch(*rows: dict[str, Value]) -> EventBatch:
    events = [inference_event(f"e{i}", row, i / 10, time_ms=i) for i, row in enumerate(rows)]
    return to_batch("m", "1", range(10, 10 + len(rows)), events)


def values(batch: EventBatch, *names: str) -> dict[str, list[Value]]:
    return {name: list(column) for name, column in batch.features.columns(names).items()}


def test_a_batch_holds_the_values_in_log_order() -> None:
    columns = batch({"a": 1, "b": "x"}, {"a": 2.5, "b": None})

    assert columns.offsets.tolist() == [10, 11]
    assert columns.times_ms.tolist() == [0, 1]
    assert list(columns.predictions) == [0.0, 0.1]
    assert columns.ids.tolist() == [id_hash("e0"), id_hash("e1")]
    assert values(columns, "a", "b") == {"a": [1, 2.5], "b": ["x", None]}


@pytest.mark.parametrize("rows", [[], [{}, {}]])
def test_no_events_and_events_without_features_are_batches(rows: list[dict[str, Value]]) -> None:
    made = batch(*rows)
    assert len(made) == len(rows)
    assert values(made, "a", "b") == {"a": [None] * len(rows), "b": [None] * len(rows)}
    assert made.features.unexpected_columns(set()) == {}


ROWS = st.lists(st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers(0, 3)), max_size=8)


@given(ROWS, st.sets(st.sampled_from("abcde")))
def test_columns_and_other_names_are_those_of_the_rows(
    rows: list[dict[str, Value]], asked: set[str]
) -> None:
    features = batch(*rows).features

    names = tuple(sorted(asked))
    found = {name: list(column) for name, column in features.columns(names).items()}
    assert found == {name: [row.get(name) for row in rows] for name in names}
    assert features.unexpected_columns(asked) == {
        name: places
        for name in "abcd"
        if name not in asked
        and (places := [i for i, row in enumerate(rows) if row.get(name) is not None])
    }


def test_a_slice_is_a_batch() -> None:
    part = batch({"a": 1}, {"a": 2}, {"a": 3})[1:]
    assert part.offsets.tolist() == [11, 12]
    assert values(part, "a") == {"a": [2, 3]}


def test_hashes_never_change() -> None:
    assert id_hash("a") == 0xE6C632B61E964E1F
    assert id_hashes(["019a", "é"]).tolist() == [id_hash("019a"), id_hash("é")]
    assert id_hash("019a", 1) != id_hash("019a")
    assert version_salt("m", "1") != version_salt("m", "2")


def test_columns_and_rows_together_are_columns() -> None:
    columns = Table.of_columns({"a": np.array([1.0, 2.0]), "b": ["x", None]}, 2)
    rows = Table([{"b": "y", "c": 5}, {"a": None}])

    both = Table.concatenated([columns, rows])

    assert not both.by_rows
    assert [plain_values(both.column(name)) for name in "abc"] == [
        [1.0, 2.0, None, None],
        ["x", None, "y", None],
        [None, None, 5, None],
    ]


def test_rows_of_made_up_names_do_not_become_columns() -> None:
    """2,000 rows with a name each would be 4 million cells."""
    columns = Table.of_columns({"a": np.zeros(256)}, 256)
    rows = Table([{f"name-{i}": 1.0} for i in range(2_000)])

    both = Table.concatenated([columns, rows])

    assert both.by_rows
    assert len(both) == 2_256
    assert both.unexpected_columns({"a"})["name-7"] == [263]
