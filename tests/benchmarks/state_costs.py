"""The cost of the state of many watched features: memory, Redis, commits, pauses and a restart.

    python -m tests.benchmarks.state_costs

One partition with some models, committed by the worker's own committer to a Valkey on loopback;
without Kafka.  The values of references have the six decimals of those of events, or all that a
float has.  Another process then restarts from this state.  JSON is the last line.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import tempfile
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

import redis.asyncio
import structlog

from driftline.stack.valkey import Valkey
from producer.codec import encode
from producer.events import CE_TYPE_OF, InferenceEvent, ModelUpdate
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.metrics import Metrics
from stream_monitor.reference.profile import profile_to_data
from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.outbox import OutboxRelay
from stream_monitor.runtime.ownership import PartitionRecovery, RecoveredPartition
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.runtime.processor import BatchProcessor
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.runtime.reader import EventTopicReader
from stream_monitor.settings import CommitSettings, DeadLetterSettings
from stream_monitor.state.partition_state import PartitionStateFactory
from stream_monitor.state.redis_store import RedisStateStore
from tests.benchmarks import workload


class Load(NamedTuple):
    """Models, the features of each, the events of all, and the decimals of the references.

    ``fetch_events`` are processed at once: as many as a worker with a backlog reads.
    """

    models: int
    features: int
    events: int
    decimals: int | None = 6
    fetch_events: int = 4_000


LOADS: Final = (
    Load(1, 10, 24_000),
    Load(100, 10, 24_000),
    Load(200, 10, 144_000, fetch_events=48_000),
    Load(5, 200, 24_000),
    Load(100, 100, 60_000),
    Load(100, 100, 60_000, None),
)
COMMIT_EVENTS: Final = 8_000
"""Events between two commits: those of a quarter of a second, at full speed."""
TOPIC: Final = "costs"


class StateCosts(NamedTuple):
    """Costs of one partition; ``share`` is that of commits in the CPU time of the run.

    ``pause_ms`` is the longest time for which no other task of the event loop ran.  ``redis_kib``
    is for each watched feature, as is ``process_kib`` of a process that read the state;
    ``restart_cpu_s`` is the CPU time of reading and decoding it.
    """

    watched: int
    decimals: int | None
    redis_kib: float
    commit_ms: float
    commit_kib: float
    commands: float
    share: float
    pause_ms: float
    restart_cpu_s: float = 0.0
    process_kib: float = 0.0


class _NoLog:
    """The reader of a partition that is not read."""

    async def earliest(self, _partition: int) -> int:
        return 0

    async def committed(self, _partition: int) -> None:
        return None


class _Worker:
    """Recovery and commits of a worker."""

    def __init__(self, url: str, n_models: int) -> None:
        self.store = RedisStateStore(url, owner_timeout_ms=0)
        spec = MonitorSpec(max_models=max(n_models, MonitorSpec().max_models))
        self.partitions = OwnedPartitions()
        metrics = Metrics()
        relay = OutboxRelay(
            self.store, cast("Publisher", None), metrics, topic="alerts", window_ttl_ms=1
        )
        self.committer = Committer(
            self.store,
            self.partitions,
            relay,
            metrics,
            settings=CommitSettings(interval_s=1e9),
            on_rejected=_rejected,
        )
        self.processor = BatchProcessor(
            self.partitions,
            self.committer,
            cast("Publisher", None),  # no record is rejected
            metrics,
            dead_letters="dead",
            limit=DeadLetterSettings(),
            on_limit=_stopped,
        )
        self.recovery = PartitionRecovery(
            topic=TOPIC,
            member="w",
            store=self.store,
            state_factory=PartitionStateFactory(spec, "costs"),
            reader=cast("EventTopicReader", _NoLog()),
            on_state_loss="rebuild",
        )

    async def take(self) -> OwnedPartition:
        taken = await self.recovery.take(0, 1)
        assert isinstance(taken, RecoveredPartition)
        self.partitions.add(taken.owned)
        return taken.owned


def _rejected(_owned: OwnedPartition, outcome: object) -> None:
    raise AssertionError(outcome)


async def _stopped(_owned: OwnedPartition, why: str) -> None:
    raise AssertionError(why)


class LongestPause:
    """The longest time for which no other task of the event loop ran."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def __aenter__(self) -> None:
        self._watching = asyncio.ensure_future(self._watch())
        await asyncio.sleep(0)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)
        self._watching.cancel()

    async def _watch(self) -> None:
        while True:
            since_s = time.monotonic()
            await asyncio.sleep(0.001)
            self.longest_s = max(self.longest_s, time.monotonic() - since_s - 0.001)


async def observe(worker: _Worker, owned: OwnedPartition, records: list[tuple[str, bytes]]) -> None:
    """Apply records behind the position."""
    first = owned.position
    found = [
        ConsumerRecord(first + i, workload.START_MS + 10 * (first + i), kind, value)
        for i, (kind, value) in enumerate(records)
    ]
    upto = first + len(records)
    generation = owned.fetch_generation
    batch = RecordBatch(TOPIC, 0, generation, first, upto, found)
    assert await worker.processor.on_batch(batch) is None


def memory_kib() -> int:
    """The resident memory of this process."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def restart(url: str, load: Load) -> tuple[float, float]:
    """Read the stored state; the CPU time in seconds, and KiB for each watched feature."""
    worker = _Worker(url, load.models)
    before = memory_kib()
    began = time.process_time()
    await worker.take()
    cpu_s = time.process_time() - began
    kib = (memory_kib() - before) / (load.models * load.features)
    await worker.store.close()
    return cpu_s, kib


async def measure(url: str, load: Load) -> StateCosts:
    """Run one partition."""
    client: Any = redis.asyncio.Redis.from_url(url)
    worker = _Worker(url, load.models)
    owned = await worker.take()
    names = [f"model-{i}" for i in range(load.models)]
    redis_before = (await client.info("memory"))["used_memory"]
    profile = profile_to_data(workload.profile("model", load.features, load.decimals))
    for name in names:
        mine = dict(profile, model=name)
        update = ModelUpdate(id=name, model=name, version=workload.VERSION, time_ms=0, profile=mine)
        await observe(worker, owned, [(CE_TYPE_OF[ModelUpdate], encode(update))])
    assert await worker.committer.commit(owned)
    kind = CE_TYPE_OF[InferenceEvent]
    events = workload.inference_events(load.events, names, load.features)
    commits: list[float] = []
    written = commands = 0
    cpu_s = commit_cpu_s = 0.0
    n_events, pause = 0, LongestPause()
    while batch := [
        (kind, encode(event)) for _, event in zip(range(load.fetch_events), events, strict=False)
    ]:
        n_events += len(batch)
        began = time.process_time()
        async with pause:
            await observe(worker, owned, batch)
        cpu_s += time.process_time() - began
        if n_events % COMMIT_EVENTS:
            continue
        stats = await client.info()
        began, began_cpu = time.perf_counter(), time.process_time()
        async with pause:
            assert await worker.committer.commit(owned)
        commits.append(time.perf_counter() - began)
        commit_cpu_s += time.process_time() - began_cpu
        after = await client.info()
        written += after["total_net_input_bytes"] - stats["total_net_input_bytes"]
        commands += after["total_commands_processed"] - stats["total_commands_processed"] - 1
    assert await worker.committer.commit(owned)
    in_redis = (await client.info("memory"))["used_memory"] - redis_before
    await worker.store.close()
    await client.aclose()
    watched, n = load.models * load.features, max(1, len(commits))
    return StateCosts(
        watched,
        load.decimals,
        in_redis / 1024 / watched,
        1e3 * sum(commits) / n,
        written / 1024 / n,
        commands / n,
        commit_cpu_s / (cpu_s + commit_cpu_s),
        1e3 * pause.longest_s,
    )


T = TypeVar("T")


def _alone(run: Callable[[str, Load], Coroutine[Any, Any, T]], url: str, load: Load) -> T:
    """Run in this process, with the garbage collection of a worker."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    gc.set_threshold(50_000, 20, 100)
    gc.freeze()
    return asyncio.run(run(url, load))


def of_load(load: Load) -> StateCosts:
    """Measure a load, and then a restart; each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = Valkey(Path(folder))
        server.start()
        try:
            with ProcessPoolExecutor(1, get_context("spawn")) as first:
                costs = first.submit(_alone, measure, server.url, load).result()
            with ProcessPoolExecutor(1, get_context("spawn")) as second:
                cpu_s, kib = second.submit(_alone, restart, server.url, load).result()
        finally:
            server.stop()
    return costs._replace(restart_cpu_s=cpu_s, process_kib=kib)


def main() -> None:
    """The command line."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = []
    for load in LOADS:
        costs = of_load(load)
        found.append(costs._asdict())
        print(
            f"{load.models} models, {costs.watched:6,} features of {load.decimals or 17} digits: "
            f"{costs.process_kib:.1f} KiB each in the process, "
            f"{costs.redis_kib:.1f} in Redis; restart {costs.restart_cpu_s:.1f} s of CPU; a commit "
            f"{costs.commit_ms:.0f} ms, {costs.commit_kib:.0f} KiB, {costs.commands:.1f} commands; "
            f"commits {costs.share:.1%} of the CPU; longest pause {costs.pause_ms:.0f} ms",
            flush=True,
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
