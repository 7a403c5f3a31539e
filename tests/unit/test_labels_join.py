"""Labels find their predictions, before or after them, within a horizon and a bound."""

from __future__ import annotations

import pytest

from producer.events import Label, Prediction
from stream_monitor.ingest.columns import id_hash
from stream_monitor.labels.join import JoinedLabel, LabelJoin, LabelRow, LabelSpec
from tests.builders import PredictionRow, predictions_of, stored

SPEC = LabelSpec(horizon_ms=100, max_pending=1000, chunk_events=10)


def event(
    offset: int, text: str, time_ms: int, prediction: Prediction = 0.5, version: str = "1"
) -> PredictionRow:
    return offset, time_ms, id_hash(text), version, prediction


def truth(
    offset: int,
    text: str,
    time_ms: int,
    version: str | None = None,
    prediction: Prediction | None = None,
) -> LabelRow:
    label = Label(
        id=text, model="m", label=1, time_ms=time_ms, version=version, prediction=prediction
    )
    return offset, id_hash(text), label


def test_a_label_after_its_event_joins_at_the_label() -> None:
    labels = LabelJoin(SPEC)
    joined = labels.observe(predictions_of([event(0, "a", 10)]), [truth(1, "a", 30)])
    assert joined == [JoinedLabel(1, "1", 10, 20, 0.5, 1)]
    assert labels.pending == 0


def test_a_label_before_its_event_joins_at_the_event() -> None:
    labels = LabelJoin(SPEC)
    assert labels.observe(predictions_of([]), [truth(0, "a", 30)]) == []
    assert labels.early == 1
    assert labels.observe(predictions_of([event(1, "a", 10)]), []) == [
        JoinedLabel(1, "1", 10, 20, 0.5, 1)
    ]
    assert labels.early == 0


def test_the_prediction_keeps_its_form_and_version() -> None:
    labels = LabelJoin(SPEC)
    rows = [event(0, "a", 1, {"UA": 0.9}, "7"), event(1, "b", 1, "UA", "8")]
    joined = labels.observe(predictions_of(rows), [truth(2, "b", 1), truth(3, "a", 1)])
    assert [(x.version, x.prediction) for x in joined] == [("8", "UA"), ("7", {"UA": 0.9})]


def test_a_label_that_brings_its_prediction_needs_no_event() -> None:
    labels = LabelJoin(SPEC)
    joined = labels.observe(predictions_of([event(0, "a", 10)]), [truth(1, "a", 30, "2", 0.9)])
    joined += labels.observe(predictions_of([]), [truth(2, "z", 40, "2", 0.1)])

    assert joined == [JoinedLabel(1, "2", 30, 0, 0.9, 1), JoinedLabel(2, "2", 40, 0, 0.1, 1)]
    assert labels.pending == 0
    assert labels.counts.self_contained == 2


def test_an_event_waits_until_the_watermark_reaches_its_horizon() -> None:
    labels = LabelJoin(SPEC)
    rows = [event(0, "a", 0), event(1, "b", 0), event(2, "x", 99), event(4, "y", 100)]
    joined = labels.observe(predictions_of(rows), [truth(3, "a", 5), truth(5, "b", 5)])
    assert [x.offset for x in joined] == [3]  # at offset 5 the watermark is 100


def test_memory_is_freed_at_the_start_of_a_chunk_and_counted() -> None:
    labels = LabelJoin(SPEC)
    labels.observe(predictions_of([event(0, "a", 0)]), [truth(1, "z", 0)])
    labels.observe(predictions_of([event(9, "x", 500)]), [])
    assert (labels.pending, labels.counts.expired, labels.counts.unmatched) == (2, 0, 0)
    labels.observe(predictions_of([event(10, "y", 500)]), [])
    assert (labels.pending, labels.counts.expired, labels.counts.unmatched) == (3, 0, 1)
    labels.observe(predictions_of([event(20, "w", 700)]), [])
    labels.observe(predictions_of([event(30, "v", 700)]), [])
    assert (labels.pending, labels.counts.expired) == (2, 3)


def test_a_chunk_that_was_restored_half_full_expires_with_its_last_entry() -> None:
    labels = LabelJoin(SPEC)
    labels.observe(predictions_of([event(0, "a", 0)]), [])
    labels = LabelJoin.restore(SPEC, stored(labels.take_changes()))
    labels.observe(predictions_of([event(1, "b", 90)]), [])
    labels.observe(predictions_of([event(10, "x", 150)]), [])
    labels.observe(predictions_of([event(20, "y", 150)]), [])
    assert (labels.pending, labels.counts.expired) == (4, 0)  # "b" waits until 190


def test_a_repeated_event_or_label_changes_nothing() -> None:
    labels = LabelJoin(SPEC)
    labels.observe(predictions_of([event(0, "a", 10), event(1, "a", 11, 0.9)]), [])
    labels.observe(predictions_of([]), [truth(2, "z", 1), truth(3, "z", 2)])
    assert labels.counts.repeated == 2
    assert labels.observe(predictions_of([]), [truth(4, "a", 30)])[0].prediction == 0.5


def test_beyond_the_bound_a_sample_by_hash_waits() -> None:
    labels = LabelJoin(LabelSpec(horizon_ms=10**9, max_pending=500, chunk_events=100))
    offset = 0
    for i in range(8000):
        labels.observe(predictions_of([event(offset, str(i), i)]), [])
        offset += 1
        if i % 4 == 0:
            labels.observe(predictions_of([]), [truth(offset, str(i), i + 3)])
            offset += 1

    assert labels.pending <= 600
    assert labels.sampling_ratio < 0.2
    kept = labels.counts.joined - labels.counts.self_contained
    assert kept + labels.pending + labels.counts.sampled_out == 8000
    assert labels.counts.labels_sampled_out > 0


def test_a_commit_writes_changed_chunks_only_and_deletes_empty_ones() -> None:
    labels = LabelJoin(SPEC)
    labels.observe(predictions_of([event(0, "a", 1), event(10, "b", 1), event(20, "c", 1)]), [])
    assert set(labels.take_changes()) == {"meta", "event|0", "event|1", "event|2"}
    assert labels.take_changes() == {}
    labels.observe(predictions_of([]), [truth(21, "b", 1), truth(22, "z", 1)])
    changed = labels.take_changes()
    assert changed.keys() == {"meta", "event|1", "label|2"}
    assert changed["event|1"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"meta": None},
        {"meta": [0, 0, 0]},
        {"event|0": [5, [1], [5, 5], ["1"], [0], [0.5]]},
        {"event|0": [5, [1], [6], ["1"], [0], [0.5]]},
        {"event|0": [5, [1], [5], ["1"], [1], [0.5]]},
        {"event|1": [5, [id_hash("a")], [5], ["1"], [0], [0.5]]},
        {"event|x": [5, [1], [5], ["1"], [0], [0.5]]},
        {"event|0": 7},
    ],
)
def test_inconsistent_parts_are_rejected(change: dict[str, object]) -> None:
    labels = LabelJoin(SPEC)
    labels.observe(predictions_of([event(0, "a", 1)]), [])
    with pytest.raises(ValueError, match=r"."):
        LabelJoin.restore(SPEC, stored(labels.take_changes() | change))
