"""Unusual columns: each is replayed without alerts, and its kind is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from driftline.cli.app import app

N = 4_000
RNG = np.random.default_rng(1)
WORDS = {
    "still": [5] * N,
    "nothing": [None] * N,
    "words": RNG.choice(["True", "False"], N),
    "yes or no": RNG.choice(["yes", "no"], N),
    "bits": RNG.integers(0, 2, N),
    "many": RNG.choice([f"k{i}" for i in range(200)], N),
    "infinite": np.where(RNG.random(N) < 0.05, np.inf, RNG.normal(size=N)),
    "huge": RNG.normal(1e11, 1e10, N),
    "day": pd.date_range("2001-01-01", periods=N).strftime("%d/%m/%Y"),
    "at": pd.date_range("2024-01-01", periods=N, freq="h"),
    "counter": np.cumsum(RNG.integers(0, 9, N)),
    **{name: RNG.normal(size=N) for name in ("id", "features", "prediction", "label", "loss")},
    "model": RNG.choice(["a", "b"], N),
    "version": ["3"] * N,
}


def replayed(path: Path, *options: str) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    arguments = ["replay", str(path), "--reference", "first:50%", *options, "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    *episodes, summary = [json.loads(line) for line in done.stdout.splitlines()]
    return episodes, summary, done.stderr


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_every_unusual_column_is_watched_without_alerts_or_left_out_with_a_reason(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"awkward.{ending}"
    frame = pd.DataFrame(WORDS)
    if ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "parquet":
        frame.to_parquet(path)
    else:
        rows = frame.assign(at=frame["at"].astype(str)).to_dict("records")
        path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    episodes, summary, printed = replayed(path)
    assert episodes == []
    assert summary["features"] == len(WORDS) - 4
    for column in ("nothing", "day", "at", "counter"):
        assert f"not watched: {column} " in printed


def test_texts_among_numbers_are_invalid_values_and_found(tmp_path: Path) -> None:
    amounts = [str(i) for i in RNG.integers(0, 5_000, N)]
    amounts[3_000:3_400] = ["oops"] * 400
    pd.DataFrame({"amount": amounts}).to_csv(tmp_path / "a.csv", index=False)
    (episode,), _, _ = replayed(tmp_path / "a.csv")
    assert (episode["feature"], episode["kind"]) == ("amount", "quality")
    assert 3_000 <= episode["alerted_event"] < 3_400


def test_a_season_is_no_drift_where_the_file_has_times(tmp_path: Path) -> None:
    at = pd.date_range("2024-01-01", periods=24 * 6 * 40, freq="10min")
    daily = 3 * np.sin(2 * np.pi * np.asarray(at.hour) / 24) + RNG.normal(size=len(at))
    moved = daily + 1.0 * (np.arange(len(at)) >= 4_500)
    for name, values in (("daily", daily), ("moved", moved)):
        pd.DataFrame({"at": at, "load": values}).to_csv(tmp_path / f"{name}.csv", index=False)
    assert replayed(tmp_path / "daily.csv", "--time", "at")[0] == []
    (episode,), summary, _ = replayed(tmp_path / "moved.csv", "--time", "at")
    assert 4_500 <= episode["alerted_event"] < 4_700
    assert episode["started_at"].startswith("2024-02-01T")
    assert summary["alerts_per_week"] == pytest.approx(7 / 20, rel=0.01)


def test_rows_out_of_order_of_time_are_noted(tmp_path: Path) -> None:
    at = pd.date_range("2024-01-01", periods=N, freq="min").to_series().sample(frac=1)
    pd.DataFrame({"at": at, "x": RNG.normal(size=N)}).to_csv(tmp_path / "a.csv", index=False)
    episodes, _, printed = replayed(tmp_path / "a.csv", "--time", "at")
    assert episodes == []
    assert "are earlier than the row before" in printed
