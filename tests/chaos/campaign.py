"""One run of a fault: the fault, the recovery, and the comparison with the oracle."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from tests.chaos.chaos_harness import ChaosCluster
from tests.chaos.faults import FAULTS, LAST, TIMES
from tests.chaos.oracle_comparison import OracleComparison
from tests.chaos.servers import Servers
from tests.chaos.worker_group import Kills

RUNS_A_LOG: Final = 12
"""Then a fresh one: every run reads its log from the beginning."""


class Run(NamedTuple):
    """One fault.  ``failure`` names what did not finish, ``unasked`` has the exit codes of
    workers that ended without a kill.

    A recovery lasts from the end of the fault (the process is dead, the server is back, the line
    is open) until a record written after it is committed, on every partition.
    """

    fault: str
    kills: Kills
    recoveries_s: Sequence[float]
    findings: OracleComparison
    failure: str = ""
    unasked: Sequence[int] = ()

    @property
    def wrong(self) -> int:
        """How much is wrong in all."""
        return self.findings.wrong + len(self.unasked)


def run_fault(cluster: ChaosCluster, fault: str, times: int = 1) -> Run:
    """Inject a fault while records come, each time recover from it, and compare at the end."""
    kills, recoveries = Kills(), []
    unasked = len(cluster.worker_group.unasked)
    try:
        for _ in range(times):
            kills = kills.plus(FAULTS[fault](cluster))
            recoveries.append(cluster.recovered())
        findings, failure = cluster.settle(), ""
    except AssertionError as error:
        behind = sum(cluster.ends()) - sum(cluster.committed())
        findings, failure = OracleComparison(events_lost=max(1, behind)), str(error)
    return Run(fault, kills, recoveries, findings, failure, cluster.worker_group.unasked[unasked:])


def until(faults: Sequence[str], seed: int, end_s: float) -> Iterator[str]:
    """Every fault once in an order by chance, then again, until the time (monotonic) is over."""
    chance = random.Random(seed)  # noqa: S311 - a repeatable schedule
    while True:
        for fault in chance.sample(list(faults), len(faults)):
            if time.monotonic() >= end_s:
                return
            yield fault


def campaign(
    servers: Servers, plan: Iterable[str], seed: int, environment: Mapping[str, str] | None = None
) -> Iterator[Run]:
    """Run a plan of faults, on a fresh log time and again."""
    seeds = random.Random(seed)  # noqa: S311 - a repeatable schedule
    waiting = iter(plan)
    fault = next(waiting, None)
    while fault is not None:
        with ChaosCluster(servers, seeds.getrandbits(32), environment=environment) as cluster:
            for _ in range(RUNS_A_LOG):
                run = run_fault(cluster, fault, TIMES.get(fault, 1))
                yield run
                fault = next(waiting, None)
                if fault is None or run.findings.wrong or run.fault in LAST:
                    break  # what is wrong stays wrong: count it once
