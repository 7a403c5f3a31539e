from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.events import InferenceEvent, Label, Prediction
from tests.builders import inference_event
from trainer.dataset.collector import Collector, hash_rank
from trainer.dataset.frame import (
    RESERVED_COLUMNS,
    ColumnRoles,
    build_dataset,
    split_holdout,
    with_history,
)
from trainer.policy.excluded_ranges import ExcludedRange, ValidValues
from trainer.policy.offset_ranges import OffsetRange

NUMBERS = st.integers(0, 60)
NAMES = ValidValues(names=True)


def event(number: int, *, model: str = "m", prediction: Prediction = 0.5) -> InferenceEvent:
    return inference_event(
        f"e{number}",
        {"x": float(number), "carrier": None if number % 2 else "UA"},
        prediction,
        model=model,
        time_ms=1_000 * number,
    )


def label(number: int, *, model: str = "m") -> Label:
    return Label(id=f"e{number}", model=model, label=number % 2, time_ms=1_000 * number + 1)


def collected(
    records: Sequence[InferenceEvent | Label],
    max_rows: int = 1_000,
    excluded_ranges: Sequence[ExcludedRange] = (),
) -> tuple[Collector, list[str]]:
    collector = Collector("m", max_rows=max_rows, since_ms=0)
    for record in records:
        collector.add(record)
    return collector, [row.event.id for row in collector.collected(excluded_ranges).rows]


LOG = st.lists(st.tuples(NUMBERS, st.booleans()), max_size=200).map(
    lambda pairs: [label(n) if is_label else event(n) for n, is_label in pairs]
)


@given(LOG)
def test_a_row_is_an_event_with_its_label_once_in_order_of_time(
    records: list[InferenceEvent | Label],
) -> None:
    events = {r.id: r for r in records if isinstance(r, InferenceEvent)}
    labels = {r.id for r in records if isinstance(r, Label)}
    expected = sorted(events.keys() & labels, key=lambda key: (events[key].time_ms, key))

    collector, ids = collected(records)

    assert ids == expected
    assert collector.events == len(events)
    assert collector.duplicates == len(records) - len(events) - len(labels)
    assert collector.labelled_since() == len(expected)


@given(LOG, st.integers(1, 20), st.randoms())
def test_the_sample_is_the_same_however_the_partitions_were_interleaved(
    records: list[InferenceEvent | Label], max_rows: int, chance: object
) -> None:
    shuffled = list(records)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]

    first, ids = collected(records, max_rows)
    second, same = collected(shuffled, max_rows)

    assert same == ids
    assert len(ids) <= max_rows
    share = first.collected().sampled_share
    assert share == second.collected().sampled_share
    assert all(hash_rank(key) < share * 2**64 for key in ids)


def test_the_memory_is_bounded_where_no_label_ever_comes() -> None:
    collector, ids = collected([event(n) for n in range(5_000)], max_rows=100)

    assert ids == []
    assert len(collector._events) <= 200


def test_the_sample_is_about_as_large_as_its_share() -> None:
    records = [kind(n) for n in range(4_000) for kind in (event, label)]

    collector, ids = collected(records, max_rows=1_500)

    assert collector.collected().sampled_share == 0.25
    assert 900 <= len(ids) <= 1_100
    assert 3_600 <= collector.labelled_since() <= 4_400


@pytest.mark.parametrize("max_rows", [10_000, 500])
def test_the_rate_is_that_of_all_events_however_few_become_rows(max_rows: int) -> None:
    """An event a second, one in four without a label; of the larger log a sample is kept."""
    records = [kind(n) for n in range(4_000) for kind in (event, label) if kind is event or n % 4]
    collector, ids = collected(records, max_rows)
    found = collector.collected([ExcludedRange("broken", 0, 1_000_000)])

    assert len(found.rows) < len(ids) < 4_000
    assert found.events_per_week == pytest.approx(7 * 86_400, rel=0.1)
    assert build_dataset(found, ColumnRoles("binary")).events_per_week == found.events_per_week


def test_events_of_an_excluded_time_range_do_not_train() -> None:
    records = [kind(n) for n in range(10) for kind in (event, label)]
    excluded_ranges = [ExcludedRange("broken", 2_000, 4_000), ExcludedRange("open", 8_000, None)]

    collector, ids = collected(records, excluded_ranges=excluded_ranges)

    assert ids == ["e0", "e1", "e5", "e6", "e7"]
    assert collector.labelled_since(excluded_ranges) == 5
    assert collector.collected(excluded_ranges).excluded == 5


def test_only_events_without_a_valid_value_are_excluded_where_values_are_missing() -> None:
    """Events of odd numbers have no carrier."""
    records = [kind(n) for n in range(6) for kind in (event, label)]
    excluded_ranges = [ExcludedRange("broken", 2_000, None, None, "carrier", NAMES)]

    collector, ids = collected(records, excluded_ranges=excluded_ranges)

    assert ids == ["e0", "e1", "e2", "e4"]
    assert collector.labelled_since(excluded_ranges) == 4


def test_another_model_in_the_same_partition_is_not_read() -> None:
    _, ids = collected([event(1), label(1), event(2, model="n"), label(2, model="n")])

    assert ids == ["e1"]


def test_the_frame_holds_predictions_and_labels() -> None:
    collector = Collector("m", max_rows=10)
    for record in (event(1, prediction={"0": 0.3, "1": 0.7}), label(1), event(2), label(2)):
        collector.add(record, "/jobs" if isinstance(record, Label) else f"/pod-{record.id}")
    ranges = [OffsetRange(partition=1, start=10, end=14)]

    dataset = build_dataset(collector.collected(), ColumnRoles("binary"), ranges=ranges, read=4)

    frame = dataset.frame
    assert list(frame) == [*RESERVED_COLUMNS, "x", "carrier"]
    assert frame["ce_source"].tolist() == ["/pod-e1", "/pod-e2"]
    assert frame["label_ce_source"].tolist() == ["/jobs", "/jobs"]
    assert dataset.features == ["x", "carrier"]
    assert frame["prediction"].tolist() == [0.7, 0.5]
    assert frame["carrier"].tolist() == [None, "UA"]
    assert [str(frame[name].dtype) for name in ("time_ms", "x")] == ["int64", "float64"]
    assert dataset.record.numbers()["ranges"] == "1:10-14"
    assert (dataset.record.first_ms, dataset.record.last_ms) == (1_000, 2_000)


def test_different_training_sets_have_different_hashes() -> None:
    def sha256(*numbers: int) -> str:
        collector, _ = collected([kind(n) for n in numbers for kind in (event, label)])
        return build_dataset(collector.collected(), ColumnRoles("binary")).record.sha256

    assert sha256(1, 2) == sha256(2, 1)
    assert sha256(1, 2) != sha256(1, 3)


@pytest.mark.parametrize(("holdout_rows", "held_out"), [(30, 30), (1, 1), (200, 100)])
def test_the_newest_rows_are_held_out(holdout_rows: int, held_out: int) -> None:
    collector, _ = collected([kind(n) for n in range(100) for kind in (event, label)])
    frame = build_dataset(collector.collected(), ColumnRoles("binary")).frame

    earlier, later = split_holdout(frame, holdout_rows)

    assert (len(earlier), len(later)) == (100 - held_out, held_out)
    assert not len(earlier) or earlier["time_ms"].max() < later["time_ms"].min()


def test_history_comes_before_the_rows_of_the_topic_and_is_bounded() -> None:
    collector, _ = collected([kind(n) for n in range(10) for kind in (event, label)])
    whole = build_dataset(collector.collected(), ColumnRoles("binary"))
    newer = whole.frame[whole.frame["time_ms"] >= 6_000]
    record = msgspec.structs.replace(whole.record, rows=len(newer), first_ms=6_000)
    fresh = whole._replace(frame=newer, record=record)

    joined = with_history(fresh, whole.frame, max_rows=8)

    assert joined.frame["id"].tolist() == whole.frame["id"].tolist()[-8:]
    assert (joined.record.rows, joined.record.history_rows) == (8, 8 - len(newer))
    assert joined.frame.dtypes.tolist() == whole.frame.dtypes.tolist()
    assert with_history(fresh, None, max_rows=8) is fresh


def test_events_that_do_not_train_are_counted_by_reason() -> None:
    records = [kind(n) for n in range(10) for kind in (event, label)]
    records += [event(3), event(20), event(21)]

    collector, _ = collected(records)
    dataset = build_dataset(
        collector.collected([ExcludedRange("broken", 2_000, 4_000)]),
        ColumnRoles("binary"),
        rejected=4,
    )
    joined = with_history(
        dataset, dataset.frame.assign(time_ms=range(-7, 0)), max_rows=len(dataset.frame) + 2
    )

    assert joined.record.left_out() == {
        "no label yet": 2,
        "in an excluded time range": 3,
        "duplicate": 1,
        "not a valid event": 4,
        "older rows above max_rows": 5,
    }


def test_a_shadow_prediction_is_no_training_row() -> None:
    collector = Collector("m", max_rows=10)
    for one in (msgspec.structs.replace(event(1), version="9", shadow=True), event(1), label(1)):
        collector.add(one)

    found = collector.collected()
    assert (found.events, found.duplicates) == (1, 0)
    assert [row.event.version for row in found.rows] == [event(1).version]
