"""The rule: every accepted event is watched, or counted under a reason that is soon reported."""

from __future__ import annotations

import random
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from producer.events import CE_TYPE_OF, Event, InferenceEvent, ModelUpdate, Tick, Topology
from stream_monitor.contracts import COVERAGE_UNITS, DriftAlert
from stream_monitor.core.coverage import WATCHED, is_event
from stream_monitor.core.coverage_episodes import OF_THE_MODEL
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.labels.join import LabelSpec
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import profile_to_data
from stream_monitor.reference.values import Column
from tests.builders import inference_event, record_of
from tests.hypothesis_profiles import examples

TICK_MS = 5_000
MINUTE_MS = 60_000
SPEC = MonitorSpec(
    warm_up_events=300, max_models=2, max_versions=2, labels=LabelSpec(chunk_events=256)
)
MODELS, VERSIONS = ("m", "n", "o"), ("1", "2", "3", "4")
PARTITIONS = (0, 1)


class Step(NamedTuple):
    """What is written next; events come half a second apart, nothing where ticks do."""

    what: str
    model: str
    version: str
    partition: int
    n: int


steps = st.lists(
    st.builds(
        Step,
        what=st.sampled_from(["events"] * 6 + ["announce", "profile", "ticks", "hours", "move"]),
        model=st.sampled_from(["m", "m", "m", "n", "o"]),
        version=st.sampled_from(VERSIONS),
        partition=st.sampled_from([0, 0, 1]),
        n=st.integers(1, 350),
    ),
    min_size=3,
    max_size=14,
)


@lru_cache
def profile(model: str, version: str) -> dict[str, Any]:
    rng = random.Random(version)  # noqa: S311
    columns: dict[str, Column] = {
        "age": [rng.gauss(40, 10) for _ in range(400)],
        "rare": [None] * 400,
    }
    made = fit_profile(
        model,
        version,
        columns,
        predictions=[rng.random() for _ in range(400)],
        task="binary",
        origin="training",
    )
    return profile_to_data(made)


class Log:
    """Both partitions, written side by side: while one has events, the other has ticks."""

    def __init__(self) -> None:
        self.records: dict[int, list[ConsumerRecord]] = {p: [] for p in PARTITIONS}
        self.now_ms = 0
        self._rng = random.Random(7)  # noqa: S311
        self._n = self._generation = 0

    def write(self, partition: int, event: Event) -> None:
        records = self.records[partition]
        records.append(record_of(len(records), event, self.now_ms))

    def tick(self) -> None:
        self.now_ms += TICK_MS
        for partition in PARTITIONS:
            self.write(partition, Tick(time_ms=self.now_ms))

    def take(self, step: Step) -> None:
        self._n += 1
        if step.what == "events":
            for i in range(step.n):
                self.now_ms += 500
                event = inference_event(
                    f"e{self._n}-{i}",
                    {"age": self._rng.gauss(40, 10), "other": 1.0},
                    self._rng.random(),
                    model=step.model,
                    version=step.version,
                    time_ms=self.now_ms,
                )
                self.write(step.partition, event)
                if i % 50 == 0:
                    self.write(step.partition, event)  # a repeat
                if i % 10 == 0:
                    self.write(1 - step.partition, Tick(time_ms=self.now_ms))
        elif step.what in ("announce", "profile"):
            made = profile(step.model, step.version) if step.what == "profile" else None
            update = ModelUpdate(
                id=f"u{self._n}",
                model=step.model,
                version=step.version,
                time_ms=self.now_ms,
                profile=made,
            )
            self.write(step.partition, update)
        elif step.what == "move":
            self._generation += 1
            topology = Topology(
                id=f"t{self._n}",
                time_ms=self.now_ms,
                generation=self._generation,
                partitions=2,
                shards={step.model: 1 + step.n % 4},
                before=(1, {}),
            )
            for partition in PARTITIONS:
                self.write(partition, topology)
        else:
            for _ in range(20 if step.what == "ticks" else 800):
                self.tick()


def log_of(history: list[Step]) -> Log:
    log = Log()
    for step in history:
        log.take(step)
    for _ in range(MINUTE_MS // TICK_MS + 1):
        log.tick()
    return log


def fold(
    records: list[ConsumerRecord], partition: int, cuts: list[int], *, restart: bool = False
) -> tuple[PartitionMonitor, list[DriftAlert]]:
    monitor, parts = PartitionMonitor("log", partition, SPEC), dict[str, bytes]()
    alerts: list[DriftAlert] = []
    for start, end in pairwise(sorted({0, len(records), *(c % len(records) for c in cuts)})):
        batch = RecordBatch("log", partition, "e", start, end, records[start:end])
        alerts += monitor.observe(batch).alerts
        if restart:
            parts |= monitor.take_changes()
            parts = {name: part for name, part in parts.items() if part}
            monitor = PartitionMonitor.restore("log", partition, SPEC, parts)
    return monitor, alerts


@settings(max_examples=examples(20), phases=[Phase.explicit, Phase.generate])
@example(  # nothing is announced, and a version is idle where a new process takes over
    history=[
        Step("events", "m", "4", 0, 342),
        Step("hours", "m", "3", 0, 96),
        Step("events", "m", "1", 0, 178),
        Step("events", "m", "4", 0, 172),
    ],
    cuts=[506, 126, 308, 1300],
)
@given(history=steps, cuts=st.lists(st.integers(0, 5_000), max_size=6))
def test_every_accepted_event_is_watched_or_has_a_reason_that_is_reported(
    history: list[Step], cuts: list[int]
) -> None:
    log = log_of(history)
    for partition, records in log.records.items():
        monitor, alerts = fold(records, partition, [])
        rows = [row for of_model in monitor.coverage().values() for row in of_model]
        events = [r.value for r in records if r.kind == CE_TYPE_OF[InferenceEvent]]

        accepted = len(set(events))  # none breaks a rule; repeats are not accepted
        assert sum(row.total for row in rows if is_event(row.key)) == accepted
        check_reported(monitor, alerts, records)

        again, repeated = fold(records, partition, cuts, restart=True)
        assert again.coverage() == monitor.coverage()
        assert repeated == alerts


def check_reported(
    monitor: PartitionMonitor, alerts: list[DriftAlert], records: list[ConsumerRecord]
) -> None:
    """Each reason with events has an episode, opened within a minute of the first of them."""
    started = [a for a in alerts if a.kind == "coverage" and a.phase == "started"]
    for alert in started:
        since, at = records[alert.onset_offset], records[alert.decided_offset]
        assert at.timestamp_ms - since.timestamp_ms <= MINUTE_MS
    reported = {(a.model, a.version, a.cause) for a in started}
    over_limit = any(cause == "model_over_limit" for _, _, cause in reported)
    for model, rows in monitor.coverage().items():
        for key in (row.key for row in rows if row.total):
            if key.reason == WATCHED:
                continue
            version = "" if key.reason in OF_THE_MODEL else key.version
            one_for_all = key.reason == "model_over_limit" and over_limit
            forgotten = not model and any(cause == key.reason for *_, cause in reported)
            assert one_for_all or forgotten or (model, version, key.reason) in reported


def test_the_histories_reach_the_reasons_that_records_alone_can_give() -> None:
    """A law about nothing would prove nothing."""
    every = [
        Step("events", "m", "1", 0, 310),
        Step("profile", "m", "2", 0, 1),
        Step("events", "m", "1", 0, 20),
        Step("events", "m", "2", 0, 200),
        Step("profile", "m", "2", 0, 1),
        Step("announce", "m", "3", 0, 1),
        Step("events", "n", "1", 0, 5),
        Step("events", "o", "1", 0, 5),
        Step("events", "n", "2", 0, 5),
        Step("events", "n", "3", 0, 5),
        Step("move", "m", "1", 0, 1),
        Step("events", "m", "1", 1, 5),
    ]
    log, reasons = log_of(every), set[str]()
    for partition, records in log.records.items():
        monitor, _ = fold(records, partition, [])
        reasons |= {row.key.reason for rows in monitor.coverage().values() for row in rows}

    assert reasons <= {WATCHED, *COVERAGE_UNITS}
    assert reasons >= {
        WATCHED,
        "warming_up",
        "version_over_limit",
        "model_over_limit",
        "series_too_short",
        "feature_not_comparable",
    }
