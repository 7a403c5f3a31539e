"""Throughput, latency and cost of driftline, compared with programs that people write instead.

    python -m tests.benchmarks.throughput [--quick] [--plot FILE]

Real Apache Kafka and a real Valkey, started here.  The events are written once.  The programs drain
the topic one after another, in three rounds or more; ratios are of the same round, and their spread
is the smallest and the largest.  driftline runs as in production: everything on, everything
committed.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

from driftline.stack import LocalStack
from driftline.topics import topic_registry
from producer.routing import partition_of
from tests.benchmarks import alert_latency, core_costs, workload
from tests.benchmarks.drain import Drained, drain_with_driftline, drain_with_program
from tests.benchmarks.programs.environments import EnvironmentUnavailableError, python_for
from trainer.service.announce import announce

SHARES: Final = {
    "handwritten_loop": 1,
    "textbook_faust": 10,
    "quix_streams": 10,
    "bytewax_dataflow": 5,
}
"""The programs, each with the share of the events that it gets: the slow ones take as long."""
TITLES: Final = {
    "driftline": "driftline",
    "driftline_batches": "driftline, Arrow batches",
    "handwritten_loop": "best loop by hand",
    "textbook_faust": "textbook Faust + River",
    "quix_streams": "Quix Streams + River",
    "bytewax_dataflow": "Bytewax + River",
}
PREFIX: Final = "singles"
BATCH_PREFIX: Final = "batches"
BATCHED_PER_SINGLE: Final = 5
"""Events in batches are drained within a few commits otherwise, and their interval is measured."""
PAIR_PREFIX: Final = "pair"


def compared(stack: LocalStack, n_events: int, n_rounds: int) -> dict[str, list[Drained]]:
    """The runs of all programs, by name; a program that cannot be installed has none."""
    announce(stack.bootstrap_servers, workload.profile(), topic_prefix=PREFIX)
    workload.write(stack.bootstrap_servers, PREFIX, n_events)
    announce(stack.bootstrap_servers, workload.profile(), topic_prefix=BATCH_PREFIX)
    n_batched = BATCHED_PER_SINGLE * n_events
    workload.write_batches(stack.bootstrap_servers, BATCH_PREFIX, n_batched)
    place = [workload.PARTITION]
    runners: dict[str, Callable[[], Drained]] = {
        "driftline": lambda: drain_with_driftline(stack, PREFIX, place, n_events),
        "driftline_batches": lambda: drain_with_driftline(stack, BATCH_PREFIX, place, n_batched),
    }
    for program, share in SHARES.items():
        try:
            python_for(program)
        except EnvironmentUnavailableError as error:
            print(f"{TITLES[program]} is left out, its packages cannot be installed: {error}")
            continue
        runners[program] = lambda name=program, n=n_events // share: drain_with_program(  # type: ignore[misc]
            name, stack, PREFIX, n
        )
    runs: dict[str, list[Drained]] = {name: [] for name in runners}
    for turn in range(1, n_rounds + 1):
        for name, run in runners.items():
            runs[name].append(run())
            done = runs[name][-1]
            print(
                f"round {turn}  {TITLES[name]:<24} {done.events_per_s:9,.0f} events/s  "
                f"{done.cpu_us:6.1f} us CPU an event  {done.peak_memory_bytes / 1e6:5.0f} MB",
                flush=True,
            )
    return runs


def two_workers(stack: LocalStack, n_events: int) -> dict[str, float]:
    """Two models on two partitions: the CPU an event of two workers, as a ratio to that of one."""
    first = workload.MODEL
    second = next(
        name
        for name in (f"{first}-{i}" for i in range(100))
        if partition_of(name, workload.N_PARTITIONS) != workload.PARTITION
    )
    for model in (first, second):
        announce(stack.bootstrap_servers, workload.profile(model), topic_prefix=PAIR_PREFIX)
    workload.write(stack.bootstrap_servers, PAIR_PREFIX, n_events, (first, second))
    places = [partition_of(model, workload.N_PARTITIONS) for model in (first, second)]
    one, two = (drain_with_driftline(stack, PAIR_PREFIX, places, n_events, n) for n in (1, 2))
    return {
        "cpu_ratio": round(two.cpu_us / one.cpu_us, 2),
        "rate_ratio": round(two.events_per_s / one.events_per_s, 2),
    }


def summary_of(runs: dict[str, list[Drained]]) -> dict[str, Any]:
    """The medians of each program, and the ratios of driftline to each, with their spread.

    A ratio is a list of the smallest, the median and the largest of the rounds.
    """
    found: dict[str, Any] = {}
    ours = {name: drained for name, drained in runs.items() if name.startswith("driftline")}
    for name, drained in runs.items():
        found[name] = {
            "events_per_s": round(median(run.events_per_s for run in drained)),
            "cpu_us_per_event": round(median(run.cpu_us for run in drained), 1),
            "peak_memory_mb": round(median(run.peak_memory_bytes for run in drained) / 1e6),
        }
        if name in ours:
            continue
        for own, own_runs in ours.items():
            ratios = [
                mine.events_per_s / theirs.events_per_s
                for mine, theirs in zip(own_runs, drained, strict=True)
            ]
            spread = min(ratios), median(ratios), max(ratios)
            found[name][f"{own}_ratio"] = [round(ratio, 2) for ratio in spread]
    return found


def logger_costs() -> list[str]:
    """What the logger's benchmark prints, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("logger_cost.py"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    return done.stdout.splitlines()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, help="events of the drained topic")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="in about three minutes")
    parser.add_argument("--plot", type=Path, help="write a picture (PNG) to this file")
    chosen = parser.parse_args()
    n_events = chosen.events or (120_000 if chosen.quick else 300_000)
    results: dict[str, Any] = {}
    with LocalStack.start() as stack:
        print("\n".join(stack.describe()), flush=True)
        if not stack.broker.startswith("Apache Kafka"):
            raise SystemExit(
                "this benchmark needs Apache Kafka: install Java 17 or later and Maven, and run "
                "`make test` once, which fetches Kafka"
            )
        client = {"bootstrap.servers": stack.bootstrap_servers}
        for prefix in (PREFIX, BATCH_PREFIX, PAIR_PREFIX):
            topic_registry.create_topics(client, topic_registry.load_registry(prefix))
        results["drain"] = summary_of(compared(stack, n_events, chosen.rounds))
        results["two_workers"] = two_workers(stack, n_events)
        print(f"two workers: {results['two_workers']}", flush=True)
        half = results["drain"]["driftline"]["events_per_s"] / 2
        latency = alert_latency.measure(stack, half)
        results["alert_latency"] = latency._asdict()
        print(
            f"from event to alert at {half:,.0f} events/s: p50 {latency.p50_ms:.0f} ms, p99 "
            f"{latency.p99_ms:.0f} ms ({latency.n_alerts} alerts; CPU an event: worker "
            f"{latency.worker_cpu_us:.0f} us, generator {latency.generator_cpu_us:.0f} us)",
            flush=True,
        )
    results["core_us_per_event"] = []
    for load, cost in core_costs.all_costs(quick=chosen.quick):
        results["core_us_per_event"].append([*load, round(cost, 1)])
        print(f"core: {load}: {cost:.1f} us an event", flush=True)
    if not chosen.quick:
        print("\n".join(logger_costs()), flush=True)
    if chosen.plot is not None:
        from tests.benchmarks.throughput_picture import draw  # noqa: PLC0415 - matplotlib is slow

        draw(results, TITLES, chosen.plot)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
