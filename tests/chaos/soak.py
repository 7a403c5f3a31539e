"""Half of what the workers can take, a fault every minute: does anything grow?

Worker 0 is the one that is killed and frozen.  The others live through all of it, and it is their
memory, descriptors, threads and tasks that must be flat.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from tests.chaos.counted_worker import VARIABLE
from tests.chaos.crew import Kills
from tests.chaos.faults import FAULTS
from tests.chaos.findings import Findings
from tests.chaos.sampling import Growth, Sampler, growths
from tests.chaos.scene import Scene
from tests.chaos.servers import Servers

PROBE: Final = 60_000
"""Records that are written and read as fast as can be, to know what half is."""
FAULT_EVERY_S: Final = 60.0
SHARED: Final = (
    "redis_killed", "redis_paused", "redis_full", "redis_unreachable", "replies_lost",
    "broker_killed", "broker_frozen", "broker_unreachable",
)  # fmt: skip
"""Faults that all workers live through."""
AS_SHIPPED: Final = {
    "DRIFTLINE_KAFKA__MAX_BATCH_RECORDS": "4000",
    "DRIFTLINE_COMMIT__INTERVAL_S": "0.25",
    "DRIFTLINE_KAFKA__TICK_AFTER_S": "7200",  # comparing so much may take long
}
SETTLE_S: Final = 600.0


def first_killed(scene: Scene) -> Kills:
    """`kill -9` of worker 0."""
    scene.crew.kill(0)
    return Kills(1)


def first_frozen(scene: Scene) -> Kills:
    """SIGSTOP of worker 0 for longer than a session."""
    scene.crew.signal(0, signal.SIGSTOP)
    scene.pause(2.5, 5.0)
    scene.crew.signal(0, signal.SIGCONT)
    return Kills()


def play(servers: Servers, seed: int, minutes: float, say: Callable[[str], None]) -> int:
    """Run a soak and tell of it; answers the exit code."""
    tasks = servers.folder / "tasks"
    environment = {**AS_SHIPPED, VARIABLE: str(tasks)}
    program = ("-m", "tests.chaos.counted_worker", "monitor")
    with Scene(servers, seed, per_s=200.0, environment=environment, program=program) as scene:
        capacity = probe(scene)
        scene.traffic.per_s = capacity / 2
        say(f"{capacity:.0f} records a second are what can be had; half of it, {minutes:g} minutes")
        sampler = Sampler(lambda: [scene.crew.pid(n) for n in range(len(scene.crew))], tasks)
        sampler.start()
        began_s = time.monotonic()
        scene.traffic.resume()
        n_faults = disturb(scene, began_s + 60 * minutes, say)
        sampler.stop()
        lives = [scene.crew.pid(number) for number in range(1, len(scene.crew))]
        scene.patience_s = SETTLE_S
        say("comparing")
        findings = scene.settle()
    found = [one for process in lives for one in growths(process, sampler.lives[process])]
    survived = min(sampler.lives[p][-1].at_s - sampler.lives[p][0].at_s for p in lives)
    lived = survived >= 0.8 * 60 * minutes
    sys.stdout.write(report(seed, minutes, capacity / 2, n_faults, findings, found))
    if not lived:
        say(f"a worker that was to live through all of it lived for {survived:.0f} s")
    return 0 if lived and not findings.wrong and all(one.flat for one in found) else 1


def probe(scene: Scene) -> float:
    """Records a second from the first write to the last commit, with all that runs here."""
    scene.traffic.pause()
    scene.caught_up(scene.ends())
    began_s = time.monotonic()
    scene.traffic.prelude(PROBE)
    scene.caught_up(scene.ends())
    return PROBE / (time.monotonic() - began_s)


def disturb(scene: Scene, end_s: float, say: Callable[[str], None]) -> int:
    """A fault a minute, each recovered from; answers how many there were."""
    faults = {name: FAULTS[name] for name in SHARED} | {
        "first_killed": first_killed, "first_frozen": first_frozen,
    }  # fmt: skip
    waiting: list[str] = []
    n_faults = 0
    while time.monotonic() < end_s:
        next_s = time.monotonic() + FAULT_EVERY_S
        waiting = waiting or scene.chance.sample(sorted(faults), len(faults))
        fault = waiting.pop()
        faults[fault](scene)
        say(f"{fault}: recovered in {scene.recovered():.1f} s")
        n_faults += 1
        time.sleep(max(0.0, min(next_s, end_s) - time.monotonic()))
    return n_faults


def report(
    seed: int, minutes: float, per_s: float, n_faults: int, findings: Findings, found: list[Growth]
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
    told = {
        "minutes": minutes,
        "per_second": round(per_s),
        "faults": n_faults,
        **{name: value for name, value in findings._asdict().items() if name != "repeats"},
        "not_flat": sum(not one.flat for one in found),
    }
    return "\n".join([*lines, json.dumps(told), ""])
