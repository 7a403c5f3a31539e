"""Placement is a part of the partition state: neither cuts nor restarts nor repeats matter."""

from __future__ import annotations

import random

import msgspec
from hypothesis import given, settings

from producer.events import ModelUpdate, Topology
from stream_monitor.core.coverage import is_event
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.ingest.records import ConsumerRecord
from tests.builders import record_of
from tests.hypothesis_profiles import examples
from tests.properties.partition_logs import (
    SPEC,
    TOPIC,
    batch_of,
    events_of,
    profile,
    run,
    seeds,
    some_cuts,
)

law = settings(max_examples=examples(3))


def moving_log(seed: int, *, repeats: bool = False) -> list[ConsumerRecord]:
    """A log of partition 0 in which the topic grows, models get shards, and references arrive."""
    rng = random.Random(seed)  # noqa: S311
    records = events_of(seed, n=700)
    free = {record.offset + 1: record for record in records}
    for record in records:
        free.pop(record.offset, None)
    places = sorted(rng.sample(sorted(free), 8))
    added: list[ConsumerRecord] = []
    placements = [(rng.randint(1, 5), rng.choice([{}, {}, {"churn": 3}])) for _ in range(5)]
    for k, (partitions, shards) in enumerate(placements):
        before = placements[k - 1] if k or rng.random() < 0.5 else None
        topology = Topology(
            id=f"t{k}",
            time_ms=0,
            generation=k + 1,
            partitions=partitions,
            shards=shards,
            before=before,
        )
        at = places.pop(0)
        added.append(_record(at, free[at].timestamp_ms, topology))
    reference = profile(rng, "1")
    for k, at in enumerate(places):
        update = ModelUpdate(
            id=f"moved{k}", model="churn", version="1", time_ms=0, moved_from=1, profile=reference
        )
        added.append(_record(at, free[at].timestamp_ms, update))
    if repeats:
        end = records[-1]
        added += [
            ConsumerRecord(end.offset + 2 * k + 2, end.timestamp_ms, again.kind, again.value)
            for k, again in enumerate(added)
        ]
    return sorted([*records, *added], key=lambda record: record.offset)


def _record(offset: int, timestamp_ms: int, event: Topology | ModelUpdate) -> ConsumerRecord:
    return record_of(offset, event, timestamp_ms)


@law
@given(seed=seeds, cuts=some_cuts)
def test_results_do_not_depend_on_cuts_nor_on_restarts(seed: int, cuts: list[int]) -> None:
    records = moving_log(seed)
    at = [cut % len(records) for cut in cuts]
    whole = run(records, [])

    assert run(records, at) == whole
    assert run(records, at, restart=True) == whole


@law
@given(seed=seeds)
def test_each_event_is_watched_or_counted_under_a_reason(seed: int) -> None:
    records = moving_log(seed)
    monitor = PartitionMonitor(TOPIC, 0, SPEC)
    monitor.observe(batch_of(records))
    counters = monitor.counters
    counted = sum(
        row.total
        for model in monitor.models.values()
        for row in model.coverage.last_hour(counters.append_clock_ms)
        if is_event(row.key)
    )

    assert counters.records == len(records)
    assert counted == counters.valid + counters.late + counters.not_watched


@law
@given(seed=seeds)
def test_a_repeated_announcement_changes_nothing(seed: int) -> None:
    once, again = (moving_log(seed, repeats=repeats) for repeats in (False, True))
    end = once[-1].offset

    reported_once, *_, state_once = run(once, [])
    reported_again, *_, state_again = run(again, [])
    first, second = msgspec.json.decode(state_once), msgspec.json.decode(state_again)

    assert [alert for alert in reported_again if alert.decided_offset <= end] == reported_once
    assert second["topology"] == first["topology"]
    assert second["counters"]["duplicate"] == first["counters"]["duplicate"] + len(again) - len(
        once
    )
