"""Histories of partitions and shards that are added, restarts, and writers that know it or do not.

Whatever happens in whichever order: each event is watched or counted under a reason, and a version
that was announced is compared with what was announced, wherever its events come.
"""

from __future__ import annotations

import random
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from producer.events import InferenceEvent, ModelUpdate
from producer.routing import key_of, partition_of
from stream_monitor.core.coverage import is_event
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import profile_to_data
from stream_monitor.state.partition_state import PartitionStateFactory
from tests.builders import inference_event
from tests.hypothesis_profiles import examples
from tests.memory_store import InMemoryStateStore
from tests.unit.test_placement import SPEC
from tests.unit.test_topology_moves import Log, Worker

MODELS: Final = ("fraud", "credit", "hot", "a")
ANNOUNCED: Final = MODELS[:3]
_RNG: Final = random.Random(0)  # noqa: S311
_AMOUNTS: Final = [_RNG.gauss(40, 10) for _ in range(1_000)]
PROFILES: Final = {
    model: profile_to_data(
        fit_profile(model, "1", {"amount": _AMOUNTS}, task="binary", origin="training")
    )
    for model in ANNOUNCED
}

STEPS: Final = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(MODELS), st.booleans()),
    st.tuples(st.just("write"), st.sampled_from(MODELS), st.just(value=False)),
    st.tuples(st.just("grow"), st.integers(1, 3), st.just(value=True)),
    st.tuples(st.just("shard"), st.integers(2, 5), st.just(value=True)),
    st.tuples(st.just("look"), st.none(), st.just(value=True)),
    st.tuples(st.just("restart"), st.none(), st.just(value=True)),
)


class History:
    """A topic, the worker that owns all of it, and servers whose metadata may be stale."""

    def __init__(self) -> None:
        self.log = Log(2)
        self.store = InMemoryStateStore()
        self.worker = Worker(self.log, self.store, 0, 1)
        self.shards = 1
        self.known = (2, 1)
        self.n_events = 0
        self.rng = random.Random(1)  # noqa: S311
        self.worker.look()
        for model in ANNOUNCED:
            self.append(
                key_of(model, "", 1),
                ModelUpdate(
                    id=f"u-{model}", model=model, version="1", time_ms=0, profile=PROFILES[model]
                ),
            )
        self.worker.look()

    def append(self, key: str, event: InferenceEvent | ModelUpdate, partitions: int = 0) -> None:
        partition = partition_of(key, partitions or self.log.n_partitions)
        self.log.part(partition).write(event)
        record = ConsumerRecord(0, 0, None, b"", key.encode())
        self.worker.watch.observe_keys(RecordBatch("events", partition, "e", 0, 1, [record]))

    def write(self, model: str, *, stale: bool) -> None:
        """Some events, drifted ones, by a server that knows of the last change or does not."""
        partitions, shards = self.known if stale else (self.log.n_partitions, self.shards)
        for _ in range(30):
            self.n_events += 1
            name = f"e{self.n_events}"
            event = inference_event(name, {"amount": self.rng.gauss(80, 10)}, 0.3, model=model)
            self.append(key_of(model, name, shards if model == "hot" else 1), event, partitions)

    def look(self) -> None:
        """The worker owns what there is, and asks until nothing is left to do."""
        for _ in range(4):
            for partition in range(self.log.n_partitions):
                if self.worker.partitions.get(partition) is None:
                    self.worker.own(partition)
            self.worker.look()

    def restart(self) -> None:
        """Another worker takes over, from what is stored."""
        self.worker.look()
        folds = PartitionStateFactory(SPEC, "d")
        for owned in self.worker.partitions:
            part = self.log.part(owned.partition)
            stored = self.store.hashes[owned.key].items()
            fields = {name: blob for name, blob in stored if name.startswith("s:")}
            part.monitor = folds.restore("events", owned.partition, fields).monitor
        ours = [owned.partition for owned in self.worker.partitions]
        self.worker = Worker(self.log, self.store, *ours)

    def run(self, what: str, how: object, *, fresh: bool) -> None:
        if what == "write":
            self.write(str(how), stale=not fresh)
        elif what == "look":
            self.look()
        elif what == "restart":
            self.restart()
        else:
            self.known = (self.log.n_partitions, self.shards)
            if what == "grow" and isinstance(how, int):
                self.log.n_partitions = min(12, self.log.n_partitions + how)
            elif isinstance(how, int):
                self.shards = max(self.shards, how)


def counted(monitor: PartitionMonitor) -> int:
    """Events of all models here, watched or under a reason."""
    clock_ms = monitor.counters.append_clock_ms
    return sum(
        row.total
        for model in monitor.models.values()
        for row in model.coverage.last_hour(clock_ms)
        if is_event(row.key)
    )


@settings(max_examples=examples(6))
@given(steps=st.lists(STEPS, min_size=3, max_size=12))
@example(  # a partition that a model is placed in and leaves before a worker owns it
    steps=[
        ("write", "fraud", False),
        ("grow", 2, True),
        ("restart", None, True),
        ("grow", 3, True),
        ("restart", None, True),
        ("grow", 3, True),
    ]
)
def test_no_event_is_unaccounted_for_and_no_drift_becomes_a_reference(
    steps: list[tuple[str, object, bool]],
) -> None:
    history = History()
    for what, how, fresh in steps:
        history.run(what, how, fresh=fresh)
    for _ in range(2):  # the keys of shards are seen when they come, and not before
        for name in MODELS:
            history.write(name, stale=False)
        history.look()

    monitors = [part.monitor for part in history.log.parts.values()]
    assert sum(map(counted, monitors)) == history.n_events
    for monitor in monitors:
        for name in set(ANNOUNCED) & set(monitor.models):
            watched = monitor.models[name].versions.get("1")
            assert watched is None or watched.profile.origin == "training"
            came = "1" in monitor.models[name].retention.events_ms
            if came and monitor.partition in monitor.placement.partitions_of(name):
                assert watched is not None
