"""Commands report what a season explains and costs, and what is not watched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.offline.explain.reference_limits import not_watched_by_feature
from stream_monitor.reference.fit import fit_profile

N = 24 * 60 * 10


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten days, an event a minute."""
    rng = np.random.default_rng(3)
    at = pd.date_range("2024-01-01", periods=N, freq="min")
    noise, turn = rng.standard_normal((2, N)), 2 * np.pi * np.arange(N) / (24 * 60)
    mostly = np.zeros(N)
    mostly[rng.choice(N, 60, replace=False)] = rng.uniform(1, 9, 60)
    partly = np.where(rng.random(N) < 0.5, np.round(noise[1], 3), noise[1])
    frame = pd.DataFrame(
        {
            "at": at,
            "daily": 100 + 10 * (noise[0] + np.sin(turn)),
            "plain": rng.normal(5, 1, N),
            "mostly": mostly,
            "partly": partly,
        }
    )
    path = tmp_path_factory.mktemp("scope") / "traffic.csv"
    frame.to_csv(path, index=False)
    return path


def done(*arguments: str | Path) -> Any:
    found = CliRunner().invoke(app, [str(a) for a in arguments])
    assert found.exit_code == 0, found.output
    return found


def test_profile_build_and_explain_show_what_a_season_explains_and_costs(source: Path) -> None:
    made = source.with_suffix(".profile.json")
    printed = done(
        "profile", "build", source, "--time", "at", "--model", "m", "--version", "1", "-o", made
    ).stderr
    line = next(line for line in printed.splitlines() if "season by the hour" in line)
    assert line.startswith("daily: season by the hour of the day, from 10.0 days: ")
    assert line.endswith("makes the smallest detectable shift 5 % larger")

    for command in ("power", "calibration"):
        found = json.loads(done("explain", command, made, "--json").stdout)
        assert list(found["seasons"]) == ["daily"]
        season = found["seasons"]["daily"]
        assert season["explains"] == pytest.approx(1 / 3, abs=0.04)  # a sine with as much noise
        assert season["costs"] == pytest.approx(1.1**0.5 - 1, abs=0.001)
        assert line in done("explain", command, made).stdout


def test_values_that_are_not_watched_separately_are_reported(source: Path) -> None:
    rest = "values other than 0 are not watched separately: there are 60, and 100 are needed"
    built = done("profile", "build", source, "--time", "at", "--model", "m", "--version", "1")
    for text in (
        built.stderr,
        done("explain", "power", source, "--time", "at").stdout,
        done("inspect", source).stdout,
    ):
        printed = [line.strip() for line in text.splitlines() if "not watched" in line]
        assert f"mostly: {rest}" in printed
        assert not any(line.startswith(("plain: ", "daily: ", "partly: ")) for line in printed)
    assert json.loads(done("inspect", source, "--json").stdout)["not_watched"]["mostly"] == [rest]


def test_an_older_profile_notes_that_repeated_values_are_not_watched() -> None:
    rounded = np.round(np.random.default_rng(4).normal(50, 10, 3_000), 2)
    profile = fit_profile("m", "1", {"x": rounded}, task="regression", origin="training")
    assert not_watched_by_feature(profile) == {}
    fitted = profile.features["x"]
    assert fitted.bounds is not None
    older = replace(fitted, bounds=replace(fitted.bounds, chance=0.0, frequent=b""))
    (line,) = not_watched_by_feature(replace(profile, features={"x": older}))["x"]
    assert line.startswith(
        "new repeated values are not watched: the profile was built without them"
    )
