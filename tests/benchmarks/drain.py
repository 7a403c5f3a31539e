"""The speed at which programs drain a written topic: events/s, CPU an event, peak memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import redis

from driftline.monitor_state.partition_state import read_partition
from driftline.stack import LocalStack
from producer.routing import topic_names
from tests.benchmarks.programs.environments import python_for
from tests.benchmarks.workload import PARTITION

ROOT: Final = Path(__file__).resolve().parents[2]
MAX_DRAIN_S: Final = 180.0
POLL_S: Final = 0.02
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Drained(NamedTuple):
    """What a program needed, from its first event to its last."""

    events_per_s: float
    cpu_us: float
    """CPU of the process, with all of its threads, in microseconds an event."""
    peak_memory_bytes: int


class Usage(NamedTuple):
    """CPU time and peak memory of running processes."""

    cpu_s: float
    peak_memory_bytes: int

    @classmethod
    def of(cls, pids: Sequence[int]) -> Usage:
        """Read both from the kernel."""
        cpu_s, peak_bytes = 0.0, 0
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu_s += (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
            status = Path(f"/proc/{pid}/status").read_text()
            peak_bytes += int(status.partition("VmHWM:")[2].split()[0]) * 1024
        return cls(cpu_s, peak_bytes)


def monitor_command(stack: LocalStack, prefix: str) -> list[str]:
    """The command of a worker, as in production."""
    return [
        *(sys.executable, "-m", "driftline", "monitor", "--prefix", prefix, "--web-port", "0"),
        *("--bootstrap-servers", stack.bootstrap_servers, "--redis-url", stack.redis_url),
    ]


@contextlib.contextmanager
def monitors(stack: LocalStack, prefix: str, n: int = 1) -> Iterator[list[int]]:
    """Run ``n`` workers of the monitor, as in production; their process ids."""
    command = monitor_command(stack, prefix)
    with contextlib.ExitStack() as processes:
        running = [
            processes.enter_context(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL))
            for _ in range(n)
        ]
        try:
            yield [process.pid for process in running]
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(30)


def drain_with_driftline(
    stack: LocalStack, prefix: str, partitions: Sequence[int], n_events: int, n_workers: int = 1
) -> Drained:
    """Start workers on an empty Redis, and wait until ``n_events`` are counted and committed.

    Redis reports the progress, not the workers.

    Raises:
        RuntimeError: the workers stopped, or not all events were counted as valid.
    """
    topic = topic_names(prefix).events
    with (
        contextlib.closing(redis.Redis.from_url(stack.redis_url)) as store,
        monitors(stack, prefix, n_workers) as pids,
    ):
        store.flushall()
        deadline_s = time.monotonic() + MAX_DRAIN_S
        first: tuple[int, float, Usage] | None = None
        while True:
            counted = [read_partition(store, topic, p).counters.valid for p in partitions]
            done, now_s = sum(counted), time.perf_counter()
            if first is None and all(counted):
                first = done, now_s, Usage.of(pids)
            if done >= n_events and first is not None:
                break
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"the monitor counted {done} of {n_events} events, then no more")
            time.sleep(POLL_S)
        used = Usage.of(pids)
    if done != n_events:
        raise RuntimeError(f"{done} of {n_events} events counted as valid")
    began_at, began_s, began = first
    n = done - began_at
    return Drained(
        n / (now_s - began_s), (used.cpu_s - began.cpu_s) / n * 1e6, used.peak_memory_bytes
    )


def drain_with_program(program: str, stack: LocalStack, prefix: str, n_events: int) -> Drained:
    """Run one of `tests.benchmarks.programs` over the first events of the topic.

    Raises:
        EnvironmentUnavailableError: its packages cannot be installed.
        subprocess.SubprocessError: it failed, or did not end in time.
    """
    answer = subprocess.run(
        [
            python_for(program),
            *("-m", f"tests.benchmarks.programs.{program}", stack.bootstrap_servers),
            *(topic_names(prefix).events, str(PARTITION), str(n_events)),
        ],
        cwd=ROOT,
        capture_output=True,
        timeout=MAX_DRAIN_S,
        check=True,
    )
    reported = json.loads(
        next(line for line in answer.stdout.splitlines() if line.startswith(b"{"))
    )
    n = reported["events"]
    return Drained(
        n / reported["seconds"],
        reported["cpu_seconds"] / n * 1e6,
        int(reported["peak_memory_bytes"]),
    )
