"""Is the loop worth having: ``driftline backtest`` over the demo's flights and synthetic streams.

    python -m tests.benchmarks.loop [--only flights,abrupt] [--policies …]

Each stream runs with the default settings; the labels arrive 500 events late.  The last line is
JSON: for each stream the error and the fits of each policy, and whether the rules below hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from river.datasets import synth

from driftline.demo import flights

SCHEDULES: Final = tuple(
    f"schedule:{period}:{window}"
    for period in (1_000, 3_000, 6_000)
    for window in ("expanding", "5000")
)
POLICIES: Final = ",".join(("never", *SCHEDULES, "adwin", "driftline", "driftline:pool"))
N_EVENTS: Final = 60_000
N_TRAINING: Final = 6_000
DELAY: Final = "500events"
NOISE: Final = 0.1
ABOVE_SCHEDULE: Final = 0.002
WORST_ABOVE_SCHEDULE: Final = 0.008
ABOVE_NEVER: Final = 0.002


class Stream(NamedTuple):
    """A stream: its rows, its factory, and whether its concept or its inputs change."""

    name: str
    rows: Callable[[], pd.DataFrame]
    factory: str
    changes: bool
    time: str | None = None
    label: str = "y"
    training: str = f"first:{N_TRAINING}"


def _boundary(kind: str) -> Callable[[], pd.DataFrame]:
    """Two of five inputs decide by a boundary that moves as ``kind`` names; a tenth is noise."""

    def rows() -> pd.DataFrame:
        rng = np.random.default_rng(3)
        x, t = rng.random((N_EVENTS, 5)) * 10, np.arange(N_EVENTS)
        moves = {
            "none": lambda: np.full(N_EVENTS, 8.0),
            "abrupt": lambda: np.select([t < 20_000, t < 40_000], [8.0, 11.0], 6.5),
            "recurring": lambda: np.where((t // 12_000) % 2 == 0, 8.0, 12.0),
            "gradual": lambda: np.where(
                rng.random(N_EVENTS) < np.clip((t - 20_000) / 20_000, 0, 1), 12.0, 8.0
            ),
            "incremental": lambda: 8 + 4 * np.clip((t - 15_000) / 35_000, 0, 1),
        }
        label = (x[:, 0] + x[:, 1] <= moves[kind]()) ^ (rng.random(N_EVENTS) < NOISE)
        return pd.DataFrame(x, columns=list("abcde")).assign(y=label.astype(int))

    return rows


def _river(name: str) -> Callable[[], pd.DataFrame]:
    """A generator of River whose concept changes: one after another, or all the time."""

    def events() -> Iterator[tuple[dict[Any, Any], Any]]:
        if name == "hyperplane":
            yield from synth.Hyperplane(
                seed=7, n_features=8, n_drift_features=4, mag_change=0.0002, noise_percentage=0.05
            ).take(N_EVENTS)
            return
        for number, function in enumerate((0, 2, 1)):  # sine: one concept after another
            stream = synth.Sine(classification_function=function, seed=number, has_noise=True)
            yield from stream.take(N_EVENTS // 3)

    def rows() -> pd.DataFrame:
        pairs = list(islice(events(), N_EVENTS))
        frame = pd.DataFrame([{f"x{key}": value for key, value in x.items()} for x, _ in pairs])
        return frame.assign(y=[int(y) for _, y in pairs])

    return rows


def _flights() -> pd.DataFrame:
    return flights.with_incident(flights.load()).drop(columns=["id"])


_TREES: Final = "tests.benchmarks.loop:trees"
STREAMS: Final = (
    Stream(
        "flights",
        _flights,
        "driftline.demo.model:build",
        changes=True,
        time="time_ms",
        label="late",
        training="first:10%",
    ),
    *(
        Stream(kind, _boundary(kind), _TREES, changes=kind != "none")
        for kind in ("none", "abrupt", "recurring", "gradual", "incremental")
    ),
    *(Stream(name, _river(name), _TREES, changes=True) for name in ("sine", "hyperplane")),
)


def trees() -> Any:
    """Gradient boosting, as for a table of numbers."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - the factory

    return HistGradientBoostingClassifier(max_iter=60, random_state=0)


def measure(stream: Stream, policies: str, folder: Path) -> dict[str, Any]:
    """Run ``driftline backtest`` on the stream; return its last line."""
    file = folder / f"{stream.name}.csv"
    stream.rows().to_csv(file, index=False)
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


def rules_of(stream: Stream, found: dict[str, Any]) -> dict[str, bool]:
    """Whether driftline holds what it promises on the stream."""
    policies = found["policies"]
    ours, never = policies["driftline"], policies["never"]
    schedules = [policies[name] for name in SCHEDULES if name in policies]
    rules = {"not worse than never": ours["error"] <= never["error"] + ABOVE_NEVER}
    if not stream.changes:
        return {**rules, "at most one swap": ours["swaps"] <= 1}
    if schedules:
        best = min(schedules, key=lambda one: one["error"])
        within = ours["error"] <= best["error"] + ABOVE_SCHEDULE
        rules["best schedule, half its fits"] = within and 2 * ours["fits"] <= best["fits"]
        rules["near the best schedule"] = ours["error"] <= best["error"] + WORST_ABOVE_SCHEDULE
    return rules


def main() -> None:
    """Measure the streams and print a table and a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default=",".join(stream.name for stream in STREAMS))
    parser.add_argument("--policies", default=POLICIES)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for stream in STREAMS:
            if stream.name not in options.only.split(","):
                continue
            found = measure(stream, options.policies, Path(folder))
            rules = rules_of(stream, found)
            results[stream.name] = {
                "rules": rules,
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
    print(json.dumps(results))


if __name__ == "__main__":
    main()
