"""Does the budget hold, and how soon is a change found: the product against River and the bound.

    python -m tests.benchmarks.detection --quick --plot detection.png

Prints tables, and one JSON object as the last line.  Seeds are fixed: a run repeats exactly.
There is no F1 here: a detector that always fires has a fine one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from tests.benchmarks.detection.measure import Delays, FalseAlerts, delays, false_alerts
from tests.benchmarks.detection.plan import Plan, full, quick
from tests.benchmarks.detection.plot import draw
from tests.benchmarks.detection.report import delay_lines, false_alert_lines, summary


def run(plan: Plan) -> tuple[list[FalseAlerts], list[Delays]]:
    """Measure everything in ``plan``; progress goes to standard error."""
    quiet = []
    for i, stream in enumerate(plan.stationary):
        _progress(f"{stream.name}, {stream.dependence}: nothing happens")
        quiet.append(false_alerts(stream, plan.n_references, plan.n_events, plan.n_rival_events, i))
    found = []
    for i, cell in enumerate(plan.cells):
        stream = cell.stream
        _progress(f"{stream.name}, {stream.dependence}: {cell.change.name}")
        found.append(
            delays(stream, cell.change, plan.n_runs, plan.n_rival_runs, cell.cap, 1000 + i)
        )
    return quiet, found


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Read the options, measure, tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute's worth")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it, as PNG")
    options = parser.parse_args()

    began = time.perf_counter()
    quiet, found = run(quick() if options.quick else full())
    _progress("")
    print("False alerts per million events; ! is beyond the budget's Poisson 95 % bound")
    print("\n".join(false_alert_lines(quiet)))
    print("\nEvents from a change to the signal, and to the episode; ! is beyond 1.3 bound + 8")
    print("\n".join(delay_lines(found)))
    if options.plot is not None:
        draw(quiet, found, options.plot)
    print(json.dumps(summary(quiet, found, time.perf_counter() - began)))


if __name__ == "__main__":
    main()
