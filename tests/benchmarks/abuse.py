"""The effect of hostile traffic on the loop: seeded campaigns against each guard.

    python -m tests.benchmarks.abuse [--seeds 20]

A fifth of the traffic has a shifted feature and flipped labels.  The backtest runs the monitor's
core and the trainer's decisions over it in mode ``auto``, so each promotion here is a proposal in
mode ``manual``.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

from driftline.offline.backtest.backtest import PolicyResult, run_policies
from driftline.offline.backtest.labelled_stream import LabelledStream
from driftline.offline.backtest.plain_policies import parse_policies
from stream_monitor.settings import Settings as MonitorSettings
from trainer.fitting.model_fit import LABEL, TIME
from trainer.service.context import TrainerContext, context_from_settings
from trainer.settings import Settings

N_TRAINING: Final = 4_000
N_CALM: Final = 1_500
N_EVENTS: Final = 7_800
"""Fewer labelled events than doubles of the training rows: no retrain starts from growth."""
DELAY: Final = 100
SHARE: Final = 0.2
PRODUCERS: Final = 5
FEATURES: Final = ["x0", "x1", "x2", "x3"]
BURST: Final = 150


class Campaign(NamedTuple):
    """Changed traffic from row ``N_TRAINING + N_CALM`` on.

    ``producer`` names the producer of a changed row (None: any of the honest ones).  ``n_rows`` is
    the length of the attack.  ``missing``: the feature is missing instead of shifted.
    """

    name: str
    producer: Callable[[int], str] | None
    n_rows: int = N_EVENTS
    missing: bool = False


class Guards(NamedTuple):
    """The guards that are on."""

    name: str
    sources: bool
    golden: bool


HONEST: Final = Campaign("an honest drift of all producers", None)
ONE_PRODUCER: Final = Campaign("one of five producers turns hostile", lambda _row: "/pod-4")
CAMPAIGNS: Final = (
    HONEST,
    ONE_PRODUCER,
    Campaign("a hostile client with a new name for each event", lambda row: f"/{row}"),
    Campaign(f"one producer, for {BURST} events", lambda _row: "/pod-4", n_rows=BURST),
    Campaign("one producer, feature missing", lambda _row: "/pod-4", missing=True),
)
NONE: Final = Guards("gate alone", sources=False, golden=False)
ALL: Final = Guards("all", sources=True, golden=True)
GUARDS: Final = (
    NONE,
    Guards("producers compared", sources=True, golden=False),
    Guards("golden set", sources=False, golden=True),
    ALL,
)


def rows_of(seed: int, n: int) -> pd.DataFrame:
    """Rows of the honest world; ``x0`` and ``x1`` decide, a tenth of the labels is noise."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(draw.normal(size=(n, len(FEATURES))), columns=FEATURES)
    truth = frame["x0"] + 0.7 * frame["x1"] * frame["x1"] > 0.6
    return frame.assign(**{LABEL: (truth ^ (draw.random(n) < 0.1)).astype(int)})


def stream_of_campaign(campaign: Campaign, seed: int) -> tuple[LabelledStream, Any]:
    """Return the stream of a campaign, and which of its rows (n,) are changed."""
    frame = rows_of(seed, N_EVENTS)
    draw = np.random.default_rng([seed, 1])
    producers = [f"/pod-{i}" for i in draw.integers(PRODUCERS, size=N_EVENTS)]
    start = N_TRAINING + N_CALM
    row = np.arange(N_EVENTS)
    changed = draw.random(N_EVENTS) < SHARE
    if campaign.producer is not None and campaign.producer(0) == "/pod-4":
        changed = np.array(producers) == "/pod-4"
    changed &= (row >= start) & (row < start + campaign.n_rows)
    if campaign.producer is not None:
        producers = [
            campaign.producer(i) if changed[i] else name for i, name in enumerate(producers)
        ]
    if campaign.missing:
        frame.loc[changed, "x0"] = np.nan
    else:
        frame.loc[changed, "x0"] += 2.0
        frame.loc[changed, LABEL] = 1 - frame.loc[changed, LABEL]
    times = 1_000 * np.arange(1, N_EVENTS + 1, dtype=np.int64)
    known_at = np.arange(N_EVENTS, dtype=np.int64) + DELAY
    known_at[:N_TRAINING] = -1
    values = {
        name: [None if v != v else v for v in frame[name].tolist()]  # noqa: PLR0124 - NaN
        for name in FEATURES
    }
    stream = LabelledStream(
        frame.assign(**{TIME: times}),
        FEATURES,
        values,
        frame[LABEL].tolist(),
        times,
        known_at,
        N_TRAINING,
        "binary",
        1,
        timed=True,
        sources=producers,
    )
    return stream, changed


def model() -> Any:
    """A model that can learn a special case without forgetting the rest."""
    return DecisionTreeClassifier(max_depth=6, min_samples_leaf=50, random_state=0)


def run(campaign: Campaign, guards: Guards, seed: int, *policies: str) -> list[PolicyResult]:
    """Run policies over the stream of a campaign."""
    stream, _ = stream_of_campaign(campaign, seed)
    with tempfile.TemporaryDirectory() as folder:
        golden = Path(folder) / "golden.parquet"
        rows_of(seed + 1_000_000, 1_000).to_parquet(golden)

        def context_in(data_dir: Path) -> TrainerContext:
            trainer: dict[str, Any] = {
                "data_dir": data_dir,
                "mode": "auto",
                "factories": {"backtest": "abuse:model"},
                "policy": {} if guards.sources else {"max_excluded_source_share": 0},
                "gate": {"golden": str(golden)} if guards.golden else {},
            }
            return context_from_settings(Settings(trainer=trainer))  # type: ignore[arg-type]

        spec = MonitorSettings().monitor_spec()
        names = parse_policies(",".join(policies))
        return run_policies(stream, model, names, context_in, spec)


def promotions(result: PolicyResult) -> int:
    """Count the promotions and swaps after the change."""
    start = N_TRAINING + N_CALM
    return sum(c.kind in ("fit", "swap") and c.row > start for c in result.changes)


def main() -> int:
    """Run the campaigns; the exit code is 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    table: dict[str, dict[str, dict[str, float]]] = {}
    for campaign in CAMPAIGNS:
        table[campaign.name] = {}
        for guards in GUARDS if campaign is ONE_PRODUCER else (NONE, ALL):
            found = [run(campaign, guards, seed, "driftline")[0] for seed in range(seeds)]
            promoted = sum(promotions(one) > 0 for one in found)
            table[campaign.name][guards.name] = {
                "runs_with_a_promotion": promoted,
                "error": round(float(np.mean([one.error for one in found])), 4),
            }
            print(f"{campaign.name:<50} {guards.name:<20} {promoted:>3} of {seeds}", flush=True)
    hostile = table[ONE_PRODUCER.name][ALL.name]["runs_with_a_promotion"]
    honest = table[HONEST.name][ALL.name]["runs_with_a_promotion"]
    holds = hostile == 0 and honest >= 0.9 * seeds
    print(json.dumps({"seeds": seeds, "holds": holds, "campaigns": table}))
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
