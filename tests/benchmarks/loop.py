"""Is the loop worth having: ``driftline backtest`` over flights, synthetic and real streams.

    python -m tests.benchmarks.loop [--quick] [--only flights,abrupt] [--policies …]

Each stream runs with the default settings; the labels arrive 500 events late.  ``--quick`` runs
two of the schedules.  The last line is JSON: for each stream the error and the fits of each policy,
and whether the rules below hold.

Errors of numbers are compared in twice the mean absolute deviation of the labels: a constant has
the error 0.5 then, as a coin has for two classes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import pandas as pd

from tests.benchmarks.loop_streams import STREAMS, Stream

SCHEDULES: Final = tuple(
    f"schedule:{period}:{window}"
    for period in (1_000, 3_000, 6_000)
    for window in ("expanding", "5000")
)
OTHERS: Final = ("adwin", "driftline", "driftline:pool")
POLICIES: Final = ",".join(("never", *SCHEDULES, *OTHERS))
QUICK_POLICIES: Final = "never,schedule:3000:expanding,schedule:3000:5000,driftline"
DELAY: Final = "500events"
ABOVE_SCHEDULE: Final = 0.002
WORST_ABOVE_SCHEDULE: Final = 0.008
ABOVE_NEVER: Final = 0.002
MOST_SWAPS_WITHOUT_CHANGE: Final = 1


def measure(stream: Stream, rows: pd.DataFrame, policies: str, folder: Path) -> dict[str, Any]:
    """Run ``driftline backtest`` on the stream; return its last line."""
    file = folder / f"{stream.name}.csv"
    rows.to_csv(file, index=False)
    command = [
        sys.executable,
        "-m",
        "driftline",
        "backtest",
        str(file),
        "--label",
        stream.label,
        "--factory",
        stream.factory,
        "--train",
        stream.training,
        "--label-delay",
        DELAY,
        "--policies",
        policies,
        "--json",
    ]
    command += ["--time", stream.time] if stream.time else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def scale_of(labels: pd.Series[Any], task: str) -> float:
    """The unit of differences between errors: 1 for classes."""
    if task != "regression":
        return 1.0
    return 2 * float((labels - labels.median()).abs().mean())


def rules_of(stream: Stream, policies: dict[str, Any], scale: float) -> dict[str, bool]:
    """Whether driftline holds what it promises on the stream."""
    ours, never = policies["driftline"], policies["never"]
    schedules = [one for name, one in policies.items() if name.startswith("schedule")]
    rules = {"not worse than never": ours["error"] <= never["error"] + ABOVE_NEVER * scale}
    if not stream.changes:
        return {**rules, "at most one swap": ours["swaps"] <= MOST_SWAPS_WITHOUT_CHANGE}
    if schedules:
        best = min(schedules, key=lambda one: one["error"])
        above = (ours["error"] - best["error"]) / scale
        within = above <= ABOVE_SCHEDULE
        rules["best schedule, half its fits"] = within and 2 * ours["fits"] <= best["fits"]
        rules["near the best schedule"] = above <= WORST_ABOVE_SCHEDULE
    return rules


def main() -> None:
    """Measure the streams and print a table and a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default=",".join(stream.name for stream in STREAMS))
    parser.add_argument("--policies")
    parser.add_argument("--quick", action="store_true", help="two schedules only")
    options = parser.parse_args()
    policies = options.policies or (QUICK_POLICIES if options.quick else POLICIES)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for stream in STREAMS:
            if stream.name not in options.only.split(","):
                continue
            rows = stream.rows()
            found = measure(stream, rows, policies, Path(folder))
            scale = scale_of(rows[stream.label], found["task"])
            rules = rules_of(stream, found["policies"], scale)
            results[stream.name] = {
                "rules": rules,
                "scale": round(scale, 6),
                "policies": {
                    name: {key: one[key] for key in ("error", "fits", "swaps", "trial_fits")}
                    for name, one in found["policies"].items()
                },
            }
            print(f"\n{stream.name}: {rules}")
            for name, one in results[stream.name]["policies"].items():
                print(
                    f"  {name:26} {one['error']:.4f}  {one['fits']:3} fits  {one['swaps']:3} swaps"
                )
            sys.stdout.flush()
    changing = [result["rules"] for result in results.values() if len(result["rules"]) == 3]
    held = sum(rules["best schedule, half its fits"] for rules in changing)
    print(f"\nbest schedule with half its fits: {held} of {len(changing)} streams that change")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
