"""Half load for a long time with a fault every minute: no resource may grow.

Faults kill and freeze worker 0 only.  The other workers live through the run; their memory,
descriptors, threads and tasks must stay flat.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from tests.chaos.chaos_harness import ChaosCluster
from tests.chaos.faults import FAULTS
from tests.chaos.instrumented_worker import ENVIRONMENT_VARIABLE
from tests.chaos.oracle_comparison import OracleComparison
from tests.chaos.resource_sampling import Growth, Sampler, growths
from tests.chaos.servers import Servers
from tests.chaos.worker_group import Kills

PROBE: Final = 60_000
"""Records that are written and read as fast as can be, to know what half is."""
FAULT_EVERY_S: Final = 60.0
SHARED: Final = (
    "redis_killed",
    "redis_paused",
    "redis_full",
    "redis_unreachable",
    "replies_lost",
    "broker_killed",
    "broker_frozen",
    "broker_unreachable",
)
"""Faults that all workers live through."""
AS_SHIPPED: Final = {
    "DRIFTLINE_KAFKA__MAX_BATCH_RECORDS": "4000",
    "DRIFTLINE_COMMIT__INTERVAL_S": "0.25",
    "DRIFTLINE_KAFKA__TICK_AFTER_S": "7200",  # comparing so much may take long
}
SETTLE_S: Final = 600.0


def first_killed(cluster: ChaosCluster) -> Kills:
    """`kill -9` of worker 0."""
    cluster.worker_group.kill(0)
    return Kills(1)


def first_frozen(cluster: ChaosCluster) -> Kills:
    """SIGSTOP of worker 0 for longer than a session."""
    cluster.worker_group.signal(0, signal.SIGSTOP)
    cluster.pause(2.5, 5.0)
    cluster.worker_group.signal(0, signal.SIGCONT)
    return Kills()


def play(servers: Servers, seed: int, minutes: float, write_line: Callable[[str], None]) -> int:
    """Run a soak and report it; returns the exit code."""
    tasks = servers.folder / "tasks"
    environment = {**AS_SHIPPED, ENVIRONMENT_VARIABLE: str(tasks)}
    program = ("-m", "tests.chaos.instrumented_worker", "monitor")
    with ChaosCluster(
        servers, seed, per_s=200.0, environment=environment, program=program
    ) as cluster:
        capacity = probe(cluster)
        cluster.traffic.per_s = capacity / 2
        write_line(
            f"{capacity:.0f} records a second are what can be had; half of it, {minutes:g} minutes"
        )
        sampler = Sampler(
            lambda: [cluster.worker_group.pid(n) for n in range(len(cluster.worker_group))], tasks
        )
        sampler.start()
        began_s = time.monotonic()
        cluster.traffic.resume()
        n_faults = disturb(cluster, began_s + 60 * minutes, write_line)
        sampler.stop()
        lives = [cluster.worker_group.pid(number) for number in range(1, len(cluster.worker_group))]
        cluster.timeout_s = SETTLE_S
        write_line("comparing")
        findings = cluster.settle()
    found = [one for process in lives for one in growths(process, sampler.lives[process])]
    survived = min(sampler.lives[p][-1].at_s - sampler.lives[p][0].at_s for p in lives)
    lived = survived >= 0.8 * 60 * minutes
    sys.stdout.write(report(seed, minutes, capacity / 2, n_faults, findings, found))
    if not lived:
        write_line(f"a worker that was to live through all of it lived for {survived:.0f} s")
    return 0 if lived and not findings.wrong and all(one.flat for one in found) else 1


def probe(cluster: ChaosCluster) -> float:
    """Records a second from the first write to the last commit, with all that runs here."""
    cluster.traffic.pause()
    cluster.caught_up(cluster.ends())
    began_s = time.monotonic()
    cluster.traffic.prelude(PROBE)
    cluster.caught_up(cluster.ends())
    return PROBE / (time.monotonic() - began_s)


def disturb(cluster: ChaosCluster, end_s: float, write_line: Callable[[str], None]) -> int:
    """A fault a minute, each recovered from; answers how many there were."""
    faults = {name: FAULTS[name] for name in SHARED} | {
        "first_killed": first_killed,
        "first_frozen": first_frozen,
    }
    waiting: list[str] = []
    n_faults = 0
    while time.monotonic() < end_s:
        next_s = time.monotonic() + FAULT_EVERY_S
        waiting = waiting or cluster.chance.sample(sorted(faults), len(faults))
        fault = waiting.pop()
        faults[fault](cluster)
        write_line(f"{fault}: recovered in {cluster.recovered():.1f} s")
        n_faults += 1
        time.sleep(max(0.0, min(next_s, end_s) - time.monotonic()))
    return n_faults


def report(
    seed: int,
    minutes: float,
    per_s: float,
    n_faults: int,
    findings: OracleComparison,
    found: list[Growth],
) -> str:
    """A table of what grew, and a line for machines."""
    what = f"{n_faults} faults: {findings.events} records, {findings.alerts} alerts."
    lines = [
        f"Seed {seed}, {datetime.now(UTC):%Y-%m-%d}, {minutes:g} minutes at {per_s:.0f}/s, {what}",
        "",
        "| worker | resource | median | growth after the warm-up | over minutes | flat |",
        "|---|---|---:|---:|---:|---|",
    ]
    lines += [
        f"| {one.process} | {one.resource} | {one.median:.1f} | {one.grown:+.2f} | "
        f"{one.minutes:.1f} | {'yes' if one.flat else 'NO'} |"
        for one in found
    ]
    reported = {
        "minutes": minutes,
        "per_second": round(per_s),
        "faults": n_faults,
        **{name: value for name, value in findings._asdict().items() if name != "repeats"},
        "not_flat": sum(not one.flat for one in found),
    }
    return "\n".join([*lines, json.dumps(reported), ""])
