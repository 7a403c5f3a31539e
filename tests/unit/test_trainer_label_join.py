"""Labels join the newest events: each once, in bounded memory, and after a restart as before."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from producer.events import InferenceEvent, Label
from tests.hypothesis_profiles import examples
from trainer.dataset.label_join import BUCKET_MS, JoinedEvent, LabelJoin, LabelSampler

Records: TypeAlias = list[tuple[str, bool]]
"""Ids, each of a label or of an event."""
RECORDS = st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=40)


def record(event_id: str, *, is_label: bool) -> InferenceEvent | Label:
    if is_label:
        return Label(id=event_id, model="m", label=1, time_ms=9)
    return InferenceEvent(id=event_id, model="m", version="1", time_ms=5, features={"x": 1.0})


def joined(records: Records, join: LabelJoin, start: int = 0) -> list[JoinedEvent]:
    found = (
        join.add(offset, record(event_id, is_label=is_label))
        for offset, (event_id, is_label) in enumerate(records[start:], start=start)
    )
    return [one for one in found if one is not None]


@given(RECORDS)
@settings(max_examples=examples(200))
def test_each_event_is_joined_once_when_both_records_are_there(records: Records) -> None:
    found = joined(records, LabelJoin(100))

    both = {i for i, _ in records if {(i, True), (i, False)} <= set(records)}
    assert Counter(one.event.id for one in found) == Counter(both)
    for one in found:
        places = [k for k, (i, _) in enumerate(records) if i == one.event.id]
        firsts = [next(k for k in places if records[k][1] == kind) for kind in (True, False)]
        assert (one.event_offset, one.offset) == (min(firsts), max(firsts))


@given(RECORDS, st.integers(0, 40))
@settings(max_examples=examples(200))
def test_a_restart_from_the_oldest_record_joins_the_same_later_labels(
    records: Records, cut: int
) -> None:
    before, whole = LabelJoin(100), LabelJoin(100)
    joined(records[:cut], before)
    oldest = before.oldest_offset
    restarted = joined(records, LabelJoin(100), start=cut if oldest is None else oldest)

    assert [one for one in restarted if one.offset >= cut] == [
        one for one in joined(records, whole) if one.offset >= cut
    ]


def test_a_restart_counts_no_repeat_of_a_label_that_came_before_its_event() -> None:
    records = [("a", True), ("a", False), ("a", True)]
    before = LabelJoin(100)

    assert len(joined(records[:2], before)) == 1
    assert before.oldest_offset == 0
    assert [one.offset for one in joined(records, LabelJoin(100), start=0)] == [1]


def test_only_the_newest_events_are_held_and_dropped_ones_are_counted() -> None:
    join = LabelJoin(2)
    joined([("a", False), ("b", False), ("b", True), ("c", False), ("d", False)], join)

    assert join.n_unlabelled == 1  # a: b had its label
    assert join.oldest_offset == 3
    assert join.add(5, record("a", is_label=True)) is None
    assert join.add(6, record("c", is_label=True)) is not None


def test_labels_without_an_event_are_bounded_too() -> None:
    join = LabelJoin(2)
    joined([("a", True), ("b", True), ("c", True)], join)

    assert joined([("a", False), ("c", False)], join) != []
    assert join.oldest_offset is not None


def test_the_sample_is_whole_below_the_rate_and_about_the_rate_above_it() -> None:
    sampler = LabelSampler(10)
    limit = 10 * BUCKET_MS // 1_000

    assert all(sampler.keeps(f"a{i}", 0) for i in range(limit))
    assert sampler.share == 1.0
    kept = sum(sampler.keeps(f"b{i}", BUCKET_MS) for i in range(64 * limit))
    assert limit < kept < 6 * limit
    assert sampler.share == 1 / 64
    assert sampler.keeps("c", 2 * BUCKET_MS)
    assert sampler.share == 1.0


def test_a_shadow_prediction_takes_no_label_from_the_event_that_was_served() -> None:
    join = LabelJoin(100)
    served = InferenceEvent(id="a", model="m", version="1", time_ms=5, features={"x": 1.0})
    shadow = InferenceEvent(id="a", model="m", version="2", time_ms=5, features={}, shadow=True)

    assert join.add(0, shadow) is None
    assert join.add(1, served) is None
    found = join.add(2, Label(id="a", model="m", label=1, time_ms=9))
    assert found is not None
    assert found.event == served
