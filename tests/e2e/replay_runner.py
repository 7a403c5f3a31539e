"""`driftline` as a person runs it on files, and a year of minutes to run it on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from driftline.cli.app import app

N = 12_000
SUMMARY = {
    "events",
    "features",
    "reference_events",
    "episodes",
    "incidents",
    "alerts_per_million",
    "seconds",
}
EPISODE = {
    "feature",
    "kind",
    "detector",
    "severity",
    "started_at",
    "ended_at",
    "onset_event",
    "detected_event",
    "explanation",
}


def run(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def lines(*arguments: str | Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    *episodes, summary = [json.loads(x) for x in run("replay", *arguments, "--json").splitlines()]
    assert summary.keys() >= SUMMARY
    assert all(episode.keys() >= EPISODE for episode in episodes)
    assert summary["episodes"] == len(episodes)
    return episodes, summary


def traffic() -> pd.DataFrame:
    """Twelve thousand minutes, in columns of all kinds."""
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "at": pd.date_range("2024-01-01", periods=N, freq="min").strftime("%Y-%m-%dT%H:%M:%SZ"),
            "row": range(N),
            "tiny temp (°C)": rng.normal(0, 1e-3, N),
            "big": rng.lognormal(3, 1, N) * 1e4,
            "count": rng.poisson(2, N),
            "plan": rng.choice(["free", "pro", "team"], N, p=[0.6, 0.3, 0.1]),
            "active": rng.random(N) < 0.2,
            "constant": 1,
            "nothing": np.nan,
            "user": [f"user-{i}" for i in range(N)],
            "score": rng.beta(2, 5, N),
            "late": (rng.random(N) < 0.3).astype(int),
        }
    )
