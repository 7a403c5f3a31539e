"""How long partitions stand still while one of many workers ends and starts again.

    python -m tests.benchmarks.rebalance [--workers 20] [--partitions 40] [--static]

Each partition has a model with steady traffic.  One worker is killed, another one is stopped; both
start again at once, as a supervisor does it.  The pause of a partition is the longest time in which
its committed position does not move; without a rebalance it is about the interval of commits.  At
the end every event is counted once.  ``--static`` names the workers (static membership).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import redis

from driftline.monitor_state.partition_state import read_partition
from driftline.stack import LocalStack
from driftline.topics import topic_registry
from producer.codec import encode
from producer.kafka_client import producer_of
from producer.routing import partition_of, topic_names
from stream_monitor.state.redis_store import partition_key
from tests.benchmarks import workload
from tests.benchmarks.drain import ROOT, monitor_command
from trainer.service.announce import announce

PREFIX: Final = "rebalance"
EVENTS_PER_S: Final = 200.0
POLL_S: Final = 0.05
SETTLED_S: Final = 5.0
"""Every partition has moved within this time: the group is settled."""
OBSERVED_S: Final = 30.0
"""Time after a worker has ended: longer than the session timeout."""
READY_S: Final = 300.0
FLUSH_S: Final = 60.0


class Pauses(NamedTuple):
    """The longest pause of each partition, in seconds, over ``n_partitions`` partitions.

    ``n_moved`` of them had another owner afterwards.
    """

    median_s: float
    longest_s: float
    longest_unmoved_s: float
    n_moved: int
    n_partitions: int


class Positions:
    """Follows the committed positions of the partitions."""

    def __init__(self, store: redis.Redis, topic: str, n_partitions: int) -> None:
        self._store = store
        self._keys = [partition_key(topic, p) for p in range(n_partitions)]

    def read(self) -> list[tuple[int, bytes]]:
        """The position and the owner of each partition."""
        pipeline = self._store.pipeline(transaction=False)
        for key in self._keys:
            pipeline.hmget(key, ["_next", "_member"])
        return [(int(next_ or -1), member or b"") for next_, member in pipeline.execute()]

    def wait_until_settled(self) -> None:
        """Wait until all partitions have moved within `SETTLED_S`.

        Raises:
            RuntimeError: they have not after `READY_S`.
        """
        deadline_s = time.monotonic() + READY_S
        while time.monotonic() < deadline_s:
            before = self.read()
            time.sleep(SETTLED_S)
            if all(b[0] > a[0] >= 0 for a, b in zip(before, self.read(), strict=True)):
                return
        raise RuntimeError("the group did not settle")

    def pauses(self, seconds: float) -> Pauses:
        """Follow the positions for a time."""
        now_s = began_s = time.monotonic()
        first = last = self.read()
        moved_s = [now_s] * len(first)
        longest = [0.0] * len(first)
        while now_s < began_s + seconds:
            time.sleep(POLL_S)
            found, now_s = self.read(), time.monotonic()
            for p, (old, new) in enumerate(zip(last, found, strict=True)):
                longest[p] = max(longest[p], now_s - moved_s[p])
                if new[0] != old[0]:
                    moved_s[p] = now_s
            last = found
        moved = [a[1] != b[1] for a, b in zip(first, last, strict=True)]
        unmoved = [s for s, other in zip(longest, moved, strict=True) if not other]
        return Pauses(
            round(float(np.median(longest)), 2),
            round(max(longest), 2),
            round(max(unmoved, default=0.0), 2),
            sum(moved),
            len(longest),
        )


class Workers:
    """Worker processes of one group, by number."""

    def __init__(self, stack: LocalStack, n: int, *, static: bool) -> None:
        self._stack, self._static = stack, static
        self._running = [self._start(number) for number in range(n)]

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        name = {"DRIFTLINE_KAFKA__GROUP_INSTANCE_ID": f"worker-{number}"} if self._static else {}
        return subprocess.Popen(
            monitor_command(self._stack, PREFIX),
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **name},
        )

    def restart(self, number: int, how: signal.Signals) -> None:
        """End a worker with a signal, and start it again at once."""
        self._running[number].send_signal(how)
        self._running[number].wait(30)
        self._running[number] = self._start(number)

    def stop(self) -> None:
        """Stop all workers."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(30)


def _models(n_partitions: int) -> list[str]:
    """A model for each partition."""
    found: dict[int, str] = {}
    for number in itertools.count():
        model = f"model-{number}"
        found.setdefault(partition_of(model, n_partitions), model)
        if len(found) == n_partitions:
            return [found[p] for p in range(n_partitions)]
    raise AssertionError


class Traffic:
    """Sends events of the models in turns at a steady rate, in a thread, until it is stopped."""

    def __init__(self, bootstrap_servers: str, models: Sequence[str]) -> None:
        self._producer = producer_of({"bootstrap.servers": bootstrap_servers})
        self._models = models
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="traffic")
        self.n_sent = 0
        self._thread.start()

    def _send(self) -> None:
        topic, began_s = topic_names(PREFIX).events, time.monotonic()
        events = workload.inference_events(sys.maxsize, self._models)
        while not self._stop.wait(0.02):
            due = int((time.monotonic() - began_s) * EVENTS_PER_S) - self.n_sent
            for event in itertools.islice(events, due):
                partition = self.n_sent % len(self._models)
                self._producer.produce(topic, encode(event), key=event.model, partition=partition)
                self.n_sent += 1
            self._producer.poll(0)

    def stop(self) -> None:
        """Stop sending; all records are acknowledged.

        Raises:
            RuntimeError: some are not.
        """
        self._stop.set()
        self._thread.join()
        if self._producer.flush(FLUSH_S):
            raise RuntimeError("some events were not acknowledged")


def measure(
    stack: LocalStack, n_workers: int, n_partitions: int, *, static: bool
) -> Iterator[tuple[str, Pauses]]:
    """The pauses without a rebalance, and after the end of a worker.

    Raises:
        RuntimeError: an event was lost, or counted twice.
    """
    client = {"bootstrap.servers": stack.bootstrap_servers}
    registry = topic_registry.load_registry(PREFIX, event_partitions=n_partitions)
    topic_registry.create_topics(client, registry)
    models = _models(n_partitions)
    for model in models:
        announce(stack.bootstrap_servers, workload.profile(model), topic_prefix=PREFIX)
    topic = topic_names(PREFIX).events
    with contextlib.ExitStack() as cleanup:
        store = cleanup.enter_context(contextlib.closing(redis.Redis.from_url(stack.redis_url)))
        workers = Workers(stack, n_workers, static=static)
        cleanup.callback(workers.stop)
        traffic = Traffic(stack.bootstrap_servers, models)
        cleanup.callback(traffic.stop)
        positions = Positions(store, topic, n_partitions)
        positions.wait_until_settled()
        yield "no rebalance", positions.pauses(OBSERVED_S)
        for number, (what, how) in enumerate(
            (("a worker is killed", signal.SIGKILL), ("a worker is stopped", signal.SIGTERM))
        ):
            threading.Timer(1.0, workers.restart, (number, how)).start()
            yield what, positions.pauses(OBSERVED_S)
            positions.wait_until_settled()
        traffic.stop()
        _check_counted(store, topic, n_partitions, traffic.n_sent)


def _check_counted(store: redis.Redis, topic: str, n_partitions: int, n_sent: int) -> None:
    deadline_s = time.monotonic() + FLUSH_S
    while True:
        counted = sum(read_partition(store, topic, p).counters.valid for p in range(n_partitions))
        if counted == n_sent:
            return
        if counted > n_sent or time.monotonic() > deadline_s:
            raise RuntimeError(f"{counted} events were counted, {n_sent} were sent")
        time.sleep(POLL_S)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--partitions", type=int, default=40)
    parser.add_argument("--static", action="store_true")
    chosen = parser.parse_args()
    with LocalStack.start() as stack:
        found = measure(stack, chosen.workers, chosen.partitions, static=chosen.static)
        for what, pauses in found:
            print(what, json.dumps(pauses._asdict()), flush=True)
    print("every event was counted once")


if __name__ == "__main__":
    main()
