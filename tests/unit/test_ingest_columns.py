"""Rows to columns."""

from __future__ import annotations

from producer.events import InferenceEvent, Value
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.ingest.columns import id_hash, id_hashes, series_salt, to_batch
from stream_monitor.ingest.records import LogRecord


def batch(*rows: dict[str, Value]) -> EventBatch:
    entries = [
        (
            LogRecord(10 + i, 99, None, b""),
            InferenceEvent(
                id=f"e{i}", model="m", version="1", time_ms=i, features=row, prediction=i / 10
            ),
        )
        for i, row in enumerate(rows)
    ]
    return to_batch("m", "1", entries)


def test_columns_hold_the_values_in_log_order() -> None:
    columns = batch({"a": 1, "b": "x"}, {"a": 2.5, "b": None})

    assert columns.offsets.tolist() == [10, 11]
    assert columns.times_ms.tolist() == [0, 1]
    assert list(columns.predictions) == [0.0, 0.1]
    assert columns.ids.tolist() == [id_hash("e0"), id_hash("e1")]
    assert {k: list(v) for k, v in columns.columns.items()} == {"a": [1, 2.5], "b": ["x", None]}


def test_an_absent_feature_is_none() -> None:
    columns = batch({"a": 1, "b": 2}, {"a": 3}, {"a": 4, "c": 5})
    assert {k: list(v) for k, v in columns.columns.items()} == {
        "a": [1, 3, 4],
        "b": [2, None, None],
        "c": [None, None, 5],
    }


def test_a_feature_that_only_a_later_event_has_is_a_column() -> None:
    columns = batch({"a": 1, "b": 2}, {"a": 3, "b": 4, "c": 5})
    assert list(columns.columns["c"]) == [None, 5]


def test_equally_many_features_of_other_names_are_kept_apart() -> None:
    columns = batch({"a": 1, "b": 2}, {"a": 3, "c": 4})
    assert {k: list(v) for k, v in columns.columns.items()} == {
        "a": [1, 3],
        "b": [2, None],
        "c": [None, 4],
    }


def test_a_single_feature_is_a_column_of_values() -> None:
    assert list(batch({"a": 1}, {"a": 2}).columns["a"]) == [1, 2]


def test_events_without_features_and_no_events_are_batches() -> None:
    assert batch({}, {}).columns == {}
    assert len(batch({}, {})) == 2
    assert len(batch()) == 0


def test_columns_stand_in_the_order_of_their_names_whatever_the_rows() -> None:
    assert list(batch({"b": 1, "a": 2}).columns) == ["a", "b"]
    assert list(batch({"b": 1}, {"a": 2}).columns) == ["a", "b"]


def test_a_slice_is_a_batch() -> None:
    part = batch({"a": 1}, {"a": 2}, {"a": 3})[1:]
    assert part.offsets.tolist() == [11, 12]
    assert list(part.columns["a"]) == [2, 3]


def test_hashes_are_the_same_for_ever() -> None:
    assert id_hash("a") == 0xE6C632B61E964E1F
    assert id_hashes(["019a", "é"]).tolist() == [id_hash("019a"), id_hash("é")]
    assert id_hash("019a", 1) != id_hash("019a")
    assert series_salt("m", "1") != series_salt("m", "2")
