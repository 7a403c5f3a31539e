"""Two files in a pipeline: which level fails on what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.e2e.replay_runner import N, run


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "at": pd.date_range("2024-01-01", periods=N, freq="min").strftime("%Y-%m-%dT%H:%M:%SZ"),
            "big": rng.lognormal(3, 1, N) * 1e4,
            "plan": rng.choice(["free", "pro", "team"], N, p=[0.6, 0.3, 0.1]),
            "active": rng.random(N) < 0.2,
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "change", "printed"),
    [
        ("big", None, "the column is gone"),
        ("at", None, "the column is gone"),
        ("big", lambda x: x.where(x.isna()), "0.0% → 100.0%"),
        ("big", lambda x: x.where(x.index % 5 < 2), "→ 60."),
        ("big", lambda x: x.map("{:.2f}".format).str.replace(".", ","), "the decimal mark was '.'"),
        ("plan", lambda x: x + " (new)", "100.0%, for example '"),
        ("active", lambda x: x.map({True: "ja", False: "nein"}), "100.0%, for example 'ja'"),
        ("big", lambda x: (3 * x).where(x.index % 20 != 0), "; mean"),
    ],
)
def test_a_pipeline_that_fails_on_drift_fails_where_the_data_is_gone(
    frame: pd.DataFrame, tmp_path: Path, column: str, change: Any, printed: str
) -> None:
    before, now = tmp_path / "before.csv", tmp_path / "now.csv"
    frame.iloc[:8_000].to_csv(before, index=False)
    rest = frame.iloc[8_000:].reset_index(drop=True)
    if change is None:
        rest.drop(columns=column).to_csv(now, index=False)
    else:
        rest.assign(**{column: change(rest[column])}).to_csv(now, index=False)
    for level in ("drift", "quality", "any"):
        output = run("check", before, now, "--time", "at", "--fail-on", level, code=3)
        (line,) = [line for line in output.splitlines() if line.startswith(f"  {column} ")]
        assert printed in line


@pytest.mark.slow
def test_few_more_gaps_and_new_columns_are_quality_and_no_drift(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    before, now = tmp_path / "before.csv", tmp_path / "now.csv"
    frame.iloc[:8_000].to_csv(before, index=False)
    rest = frame.iloc[8_000:].assign(extra=1)
    rest.assign(big=rest["big"].where(rest.index % 20 != 0)).to_csv(now, index=False)
    run("check", before, now, "--time", "at", "--fail-on", "drift")
    run("check", before, now, "--time", "at", "--fail-on", "quality", code=3)
    rest[["extra"]].to_csv(now, index=False)
    run("check", before, now, "--fail-on", "drift", code=3)
