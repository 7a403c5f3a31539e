"""`make chaos`: seeded faults on real processes, for a time or a number of kills."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from driftline.stack.server_process import clean_up_on_sigterm
from tests.chaos import baseline_comparison as comparison
from tests.chaos import soak
from tests.chaos.campaign import Run, campaign, until
from tests.chaos.campaign_report import percentile, summary, table, total
from tests.chaos.faults import FAULTS, TIMES
from tests.chaos.kill_plan import (
    PRODUCTION,
    PRODUCTION_KILLS,
    PRODUCTION_P99_S,
    PRODUCTION_SESSION,
    by_kills,
)
from tests.chaos.servers import Servers


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument(
        "--only",
        default="",
        help="faults that begin with this, comma-separated; "
        f"{PRODUCTION_SESSION}: workers killed at the session timeout of production",
    )
    parser.add_argument(
        "--kills",
        type=int,
        help="not by the clock: so many kills of workers, a tenth each of Redis, broker, trainer",
    )
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="half load, a fault a minute")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="other programs under --kills, compared with driftline",
    )
    given = parser.parse_args()
    starts = tuple(part for part in given.only.split(",") if part) or ("",)
    given.faults = [name for name in FAULTS if name.startswith(starts)]
    if not given.faults and given.only != PRODUCTION_SESSION:
        parser.error(
            f"no fault begins with {given.only!r}; there are {', '.join(FAULTS)}, "
            f"{PRODUCTION_SESSION}"
        )
    return given


def write_line(text: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")


def play(servers: Servers, given: argparse.Namespace) -> int:
    """A campaign; answers the exit code."""
    environment: Mapping[str, str] = {}
    plan: Iterable[str]
    if given.only == PRODUCTION_SESSION:
        environment = PRODUCTION
        plan = ["worker_killed"] * (-(-(given.kills or PRODUCTION_KILLS) // TIMES["worker_killed"]))
    elif given.kills:
        plan = [fault for fault in by_kills(given.kills, given.seed) if fault in given.faults]
    else:
        plan = until(given.faults, given.seed, time.monotonic() + 60 * given.minutes)
    runs: list[Run] = []
    began = time.monotonic()
    for run in campaign(servers, plan, given.seed, environment):
        runs.append(run)
        recovered = " ".join(f"{s:.1f}" for s in run.recoveries_s)
        wrong = ""
        if run.wrong:
            wrong = f" WRONG {run.findings} {run.failure} ended by themselves: {run.unasked}"
        write_line(
            f"{run.fault}: recovered in {recovered} s, {run.findings.events} records, "
            f"{run.findings.alerts} alerts, {run.findings.repeats} repeats{wrong}"
        )
    found = total(runs)
    sys.stdout.write(
        f"Seed {given.seed}, {datetime.now(UTC):%Y-%m-%d}, "
        f"{(time.monotonic() - began) / 60:.1f} minutes: "
        f"{found.events} records, {found.alerts} alerts, {found.repeats} of them twice.\n\n"
        f"{table(runs)}\n{summary(runs)}\n"
    )
    slow = False
    if environment:
        p99_s = percentile([s for run in runs for s in run.recoveries_s], 0.99)
        slow = p99_s > PRODUCTION_P99_S
        write_line(f"recovery p99 {p99_s:.1f} s; {PRODUCTION_P99_S:g} s are allowed")
    return 1 if any(run.wrong for run in runs) or not runs or slow else 0


def main() -> int:
    given = arguments()
    with clean_up_on_sigterm(), Servers() as servers:
        write_line(f"{servers.kafka.description}, {servers.valkey.description}, seed {given.seed}")
        if given.soak:
            return soak.play(servers, given.seed, given.soak, write_line)
        if given.compare:
            return comparison.play(servers, given.seed, given.kills or 100, write_line)
        return play(servers, given)


if __name__ == "__main__":
    sys.exit(main())
