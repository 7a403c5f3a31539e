"""What the budget became, and what it can show, from a file of traffic."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from driftline.cli import app
from driftline.explain.power import smallest_shift_sd


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
    assert {channel["arl0_events"] for channel in channels} == {detectors / share}
    blocks = {c["series"]: c["block"] for c in channels if c["channel"] == "location"}
    assert blocks["drag"] > blocks["free"]


def test_what_depends_on_itself_shows_less_and_a_day_more_than_an_hour(source: Path) -> None:
    features = {one["series"]: one for one in told("power", source, "--rate", "900")["features"]}
    assert features["free"]["within_day"] < features["free"]["within_hour"]
    assert features["free"]["within_hour_sd"] < features["drag"]["within_hour_sd"]
    assert features["free"]["within_hour"] == pytest.approx(
        features["free"]["within_hour_sd"] * features["free"]["sd"], rel=0.01
    )
    assert features["still"]["within_day"] is None


def test_a_shift_shows_in_four_times_the_events_at_half_the_size() -> None:
    once, again = smallest_shift_sd(1_000, 1e6, 1.0), smallest_shift_sd(4_000, 1e6, 1.0)
    assert once is not None
    assert again is not None
    assert math.isclose(once, 2 * again)
    assert smallest_shift_sd(5, 1e6, 1.0) is None
