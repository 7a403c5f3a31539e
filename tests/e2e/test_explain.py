"""What the budget became, and what it can show, from a file of traffic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from driftline.cli import app


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    drag = np.zeros(6_000)
    for i, step in enumerate(rng.normal(size=6_000)):
        drag[i] = 0.9 * drag[i - 1] + step
    frame = pd.DataFrame({"free": rng.normal(50, 10, 6_000), "drag": drag, "still": 1.0})
    frame.to_csv(tmp_path / "traffic.csv", index=False)
    return tmp_path / "traffic.csv"


def told(*arguments: str | Path) -> Any:
    done = CliRunner().invoke(app, ["explain", *(str(a) for a in arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_budget_is_shared_by_all_detectors_of_the_model(source: Path) -> None:
    found = told("calibration", source)
    channels = found["channels"]
    share = found["false_alerts"] / found["per_events"]
    detectors = 2 * (len(channels) + 1)  # the loss, which labels will bring, has its share
    detectors += 4  # so have silence, volume, and labels that stop or come late
    assert {channel["arl0_events"] for channel in channels} == {detectors / share}
    blocks = {c["series"]: c["block"] for c in channels if c["channel"] == "location"}
    assert blocks["drag"] > blocks["free"]


def test_what_depends_on_itself_shows_less_and_a_day_more_than_an_hour(source: Path) -> None:
    features = {one["series"]: one for one in told("power", source, "--rate", "900")["features"]}
    hour, day = features["free"]["within_hour"], features["free"]["within_day"]
    assert 0 < day["sd"] < hour["sd"] < 1
    assert hour["units"] == pytest.approx(10 * hour["sd"], rel=0.1)
    assert features["drag"]["within_day"]["sd"] > 2 * day["sd"]
    assert features["free"]["missing_within_day"] < features["free"]["missing_within_hour"] < 0.1


def test_the_rate_is_that_of_the_file_where_it_has_times(source: Path) -> None:
    frame = pd.read_csv(source)
    frame["at"] = pd.date_range("2024-01-01", periods=len(frame), freq="10s")
    frame.to_csv(source, index=False)
    assert told("power", source, "--time", "at")["events_per_hour"] == pytest.approx(360, rel=0.01)
    assert told("power", source)["events_per_hour"] == 1_000


def test_people_are_told_what_programs_are(source: Path) -> None:
    for command in ("power", "calibration"):
        done = CliRunner().invoke(app, ["explain", command, str(source)])
        assert done.exit_code == 0
        assert {"free", "drag", "still"} <= set(done.stdout.split())
