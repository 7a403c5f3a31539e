"""``make chaos``: faults by seed on real processes, until the time is over."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime

from driftline.stack.process import clean_up_on_sigterm
from tests.chaos.campaign import Run, campaign
from tests.chaos.faults import FAULTS
from tests.chaos.servers import Servers
from tests.chaos.table import summary, table, total


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--only", default="", help="faults that begin with this, comma-separated")
    given = parser.parse_args()
    starts = tuple(part for part in given.only.split(",") if part) or ("",)
    given.faults = [name for name in FAULTS if name.startswith(starts)]
    if not given.faults:
        parser.error(f"no fault begins with {given.only!r}; there are {', '.join(FAULTS)}")
    return given


def say(text: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")


def main() -> int:
    given = arguments()
    runs: list[Run] = []
    with clean_up_on_sigterm(), Servers() as servers:
        say(f"{servers.kafka.description}, {servers.valkey.description}, seed {given.seed}")
        until_s = time.monotonic() + 60 * given.minutes
        for run in campaign(servers, given.faults, given.seed, until_s, say):
            runs.append(run)
            recovered = " ".join(f"{s:.1f}" for s in run.recoveries_s)
            wrong = "" if not run.findings.wrong else f" WRONG {run.findings} {run.failure}"
            say(
                f"{run.fault}: recovered in {recovered} s, {run.findings.events} records, "
                f"{run.findings.alerts} alerts, {run.findings.repeats} repeats{wrong}"
            )
    found = total(runs)
    sys.stdout.write(
        f"Seed {given.seed}, {datetime.now(UTC):%Y-%m-%d}, {given.minutes:g} minutes: "
        f"{found.events} records, {found.alerts} alerts, {found.repeats} of them twice.\n\n"
        f"{table(runs)}\n{summary(runs)}\n"
    )
    return 1 if total(runs).wrong or not runs else 0


if __name__ == "__main__":
    sys.exit(main())
