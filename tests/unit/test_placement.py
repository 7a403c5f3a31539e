"""Placement while the event topic grows: values worked out by hand."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from producer.codec import encode
from producer.events import CE_TYPE_OF, Event, InferenceEvent, Label, ModelUpdate, Tick, Topology
from producer.routing import partition_of
from producer.synthetic import synthetic_name
from stream_monitor.checks.traffic_spec import TrafficSpec
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.coverage import is_event
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.placement import REFERENCE_TIMEOUT_MS, Placement
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.detectors.calibration import Budget
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.labels.join import LabelSpec
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import Origin, profile_to_data
from tests.builders import inference_event

MODEL = "fraud"  # partition 0 of 2, 2 of 4
SPEC = MonitorSpec(
    budget=Budget(false_alerts=1.0, per_events=20_000),
    labels=LabelSpec(horizon_ms=3_600_000),
    warm_up_events=500,
    traffic=TrafficSpec(
        bucket_ms=5_000,
        cell_ms=60_000,
        period_ms=120_000,
        max_gap_ms=30_000,
        baseline_ms=180_000,
        label_baseline_ms=180_000,
    ),
)
GROWN = Topology(id="t2", time_ms=0, generation=2, partitions=4, shards={}, before=(2, {}))
SECOND_MS = 1_000


class Partition:
    """A partition and its monitor; a second passes from record to record."""

    def __init__(self, partition: int) -> None:
        self.monitor = PartitionMonitor("events", partition, SPEC)
        self.alerts: list[DriftAlert] = []
        self.now_ms = 0
        self._offsets = itertools.count()

    def write(self, *events: Event, every_ms: int = SECOND_MS) -> None:
        records = []
        for event in events:
            self.now_ms += every_ms
            kind = CE_TYPE_OF[type(event)]
            offset = next(self._offsets)
            records.append(ConsumerRecord(offset, self.now_ms, kind, encode(event)))
        first, last = records[0].offset, records[-1].offset
        batch = RecordBatch("events", self.monitor.partition, "e", first, last + 1, records)
        found = self.monitor.observe(batch).alerts
        self.alerts += [alert for alert in found if alert.kind != "coverage"]

    def reasons(self, model: str = MODEL) -> dict[str, int]:
        coverage = self.monitor.models[model].coverage
        rows = coverage.last_hour(self.monitor.counters.append_clock_ms)
        return dict(Counter({row.key.reason: row.total for row in rows if is_event(row.key)}))


def events(
    n: int, *, mean: float = 40.0, model: str = MODEL, seed: int = 1
) -> Iterator[InferenceEvent]:
    rng = random.Random(seed)  # noqa: S311
    for i in range(n):
        yield inference_event(
            f"{model}-{seed}-{i}", {"amount": rng.gauss(mean, 10)}, 0.3, model=model
        )


def update(origin: Origin = "training", **changes: str | int) -> ModelUpdate:
    rng = random.Random(0)  # noqa: S311
    amounts = [rng.gauss(40, 10) for _ in range(2_000)]
    made = fit_profile(
        MODEL, "1", {"amount": amounts}, predictions=[0.3] * 2_000, task="binary", origin=origin
    )
    named: dict[str, str | int] = {"id": "u1", "model": MODEL, "version": "1", "time_ms": 0}
    fields = named | changes
    return ModelUpdate(**fields, profile=profile_to_data(made))  # type: ignore[arg-type]


def test_the_model_of_these_tests_moves() -> None:
    assert [partition_of(MODEL, n) for n in (2, 4)] == [0, 2]


def test_drift_that_moves_with_a_model_is_found_where_it_moves_to() -> None:
    new = Partition(2)
    new.write(GROWN, update(id="moved", moved_from=0), *events(400, mean=80.0))

    assert new.reasons() == {"watched": 400}
    assert [(a.series, a.phase, a.reference) for a in new.alerts][:1] == [
        ("feature/amount", "started", "training")
    ]
    assert new.alerts[0].detected_offset < 60


def test_events_wait_for_the_reference_and_are_no_reference_themselves() -> None:
    new = Partition(2)
    new.write(GROWN, *events(30, mean=80.0))
    new.write(update(id="moved", moved_from=0))
    new.write(*events(400, mean=80.0, seed=2))

    assert new.reasons() == {"no_profile": 30, "watched": 400}
    assert new.alerts


def test_a_version_without_any_reference_warms_up_after_a_minute() -> None:
    new = Partition(2)
    new.write(GROWN, *events(1_000))

    waited = REFERENCE_TIMEOUT_MS // SECOND_MS - 1
    assert new.reasons() == {
        "no_profile": waited,
        "warming_up": 500,
        "watched": 1_000 - waited - 500,
    }


def test_a_reference_of_drifted_traffic_is_replaced_once() -> None:
    """Events came before the record: the partition did not know that they had moved."""
    new = Partition(2)
    new.write(*events(600, mean=80.0))
    assert new.monitor.models[MODEL].versions["1"].profile.origin == "warm_up"
    new.write(GROWN, update(id="moved", moved_from=0))
    new.write(*events(400, mean=80.0, seed=2))

    assert [a.series for a in new.alerts if a.phase == "started"][:1] == ["feature/amount"]
    assert {a.reference for a in new.alerts} == {"training"}
    before = new.monitor.counters.duplicate
    new.write(update("warm_up", id="another", moved_from=1))
    assert new.monitor.counters.duplicate == before + 1


def test_a_reference_that_was_announced_is_kept() -> None:
    new = Partition(2)
    new.write(update(), GROWN, update("warm_up", id="moved", moved_from=0))

    assert new.monitor.models[MODEL].versions["1"].profile.origin == "training"
    assert new.monitor.counters.duplicate == 1


def test_events_of_stale_metadata_are_watched_by_the_reference_that_is_left() -> None:
    old = Partition(0)
    old.write(update(), *events(100), GROWN, *events(50, seed=2))

    assert old.reasons() == {"watched": 150}


def test_events_of_stale_metadata_without_a_reference_are_counted_as_such() -> None:
    old = Partition(0)
    old.write(GROWN, *events(700))

    assert old.reasons() == {"routed_by_stale_metadata": 700}
    assert old.monitor.counters.not_watched == 700


def test_a_model_that_has_left_is_not_missed() -> None:
    stays, leaves = Partition(0), Partition(0)
    for old, topology in ((stays, ()), (leaves, (GROWN,))):
        old.write(update(), *events(500), *topology)
        old.write(*[Tick(time_ms=0)] * 100, every_ms=5_000)

    assert "silence" in {alert.channel for alert in stays.alerts}
    assert not leaves.alerts


def test_labels_of_a_prediction_in_the_old_partition_have_a_reason_of_their_own() -> None:
    new = Partition(2)
    first, *rest = events(20)
    labels = [Label(id=event.id, model=MODEL, label=1, time_ms=0) for event in (first, *rest)]
    new.write(GROWN, update(id="moved", moved_from=0), first, *labels)

    rows = new.monitor.models[MODEL].coverage.last_hour(new.now_ms)
    elsewhere = {r.key.reason: r.total for r in rows}["label_prediction_elsewhere"]
    assert elsewhere == 19
    assert new.monitor.counters.joined == 1


def test_only_a_higher_generation_is_news() -> None:
    placement = Placement(1)
    assert placement.take(GROWN, 5, 70)
    assert not placement.take(GROWN, 6, 80)
    assert not placement.take(Topology(id="t1", time_ms=0, generation=1, partitions=2), 7, 90)
    same = Topology(id="t3", time_ms=0, generation=3, partitions=4)
    assert not placement.take(same, 8, 90)
    assert (placement.generation, placement.since_ms) == (3, 70)
    assert placement.latest is not None
    assert placement.latest.before == (2, {})


def test_an_impossible_topology_is_a_dead_letter() -> None:
    new = Partition(2)
    new.write(Topology(id="t", time_ms=0, generation=1, partitions=2))

    assert new.monitor.counters.dead_lettered == 1
    assert new.monitor.placement.latest is None


def test_more_shards_place_a_model_in_more_partitions_and_where_it_was() -> None:
    placement = Placement(0)
    placement.take(Topology(id="t", time_ms=0, generation=1, partitions=4), 0, 0)
    assert placement.partitions_of(MODEL) == (2,)
    sharded = Topology(id="t", time_ms=0, generation=2, partitions=4, shards={MODEL: 8})
    placement.take(sharded, 1, 0)

    homes = {partition_of(f"{MODEL}/{k}", 4) for k in range(8)}
    assert placement.partitions_of(MODEL) == tuple(sorted({2, *homes}))
    assert placement.moved(MODEL)
    assert not placement.moved("credit")


@pytest.mark.parametrize(
    "wrong",
    [
        {"generation": 0},
        {"partitions": 0},
        {"partitions": 1 << 40},
        {"shards": {MODEL: 0}},
        {"shards": {MODEL: 1 << 40}},
        {"shards": {"": 1}},
        {"before": (0, {})},
        {"id": ""},
    ],
)
def test_a_topology_out_of_bounds_is_a_dead_letter(wrong: dict[str, object]) -> None:
    fields: dict[str, object] = {"id": "t", "time_ms": 0, "generation": 1, "partitions": 4}
    new = Partition(2)
    new.write(Topology(**(fields | wrong)))  # type: ignore[arg-type]

    assert new.monitor.counters.dead_lettered == 1


def test_a_drill_is_placed_where_it_writes() -> None:
    shadow = synthetic_name(MODEL, "0123456789ab")
    old = Partition(0)
    old.write(GROWN, *events(600, model=shadow))

    assert old.reasons(shadow) == {"warming_up": 500, "watched": 100}
