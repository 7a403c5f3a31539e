"""Runs: a fault, the recovery from it, and what it left behind."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from producer.failpoint import EXIT_CODE
from tests.chaos.faults import FAULTS, TIMES
from tests.chaos.findings import Findings
from tests.chaos.scene import Scene
from tests.chaos.servers import Servers

RUNS_A_LOG: Final = 12
"""Then a fresh one: every run reads its log from the beginning."""


class Run(NamedTuple):
    """One fault.  ``failure`` says what did not come to an end.

    A recovery lasts from the end of the fault (the process is dead, the server is back, the line
    is open) until a record written after it is committed, on every partition.
    """

    fault: str
    kills: int
    recoveries_s: Sequence[float]
    findings: Findings
    failure: str = ""


def run_fault(scene: Scene, fault: str, times: int = 1) -> Run:
    """Inject a fault while records come, each time recover from it, and compare at the end."""
    kills, recoveries = 0, []
    try:
        for _ in range(times):
            kills += FAULTS[fault](scene)
            recoveries.append(scene.recovered())
        findings = scene.settle()
    except AssertionError as error:
        behind = sum(scene.ends()) - sum(scene.committed())
        return Run(fault, kills, recoveries, Findings(events_lost=max(1, behind)), str(error))
    return Run(fault, kills, recoveries, findings)


def campaign(
    servers: Servers, faults: Sequence[str], seed: int, until_s: float, say: Callable[[str], None]
) -> Iterator[Run]:
    """Every fault once in an order by chance, then again, until the time (monotonic) is over."""
    chance = random.Random(seed)  # noqa: S311 - a repeatable schedule
    waiting: list[str] = []
    while time.monotonic() < until_s:
        with Scene(servers, chance.getrandbits(32)) as scene:
            for _ in range(RUNS_A_LOG):
                if time.monotonic() >= until_s:
                    break
                waiting = waiting or chance.sample(list(faults), len(faults))
                fault = waiting.pop()
                run = run_fault(scene, fault, TIMES.get(fault, 1))
                yield run
                if run.findings.wrong:
                    break  # what is wrong stays wrong: count it once
            failed = {code: n for code, n in scene.crew.exits.items() if code > 0}
            failed.pop(EXIT_CODE, None)
            if failed:
                say(f"workers ended by themselves, by exit code: {failed}")
