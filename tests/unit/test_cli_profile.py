"""``driftline profile build``: importances of features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.cli.command_error import EXIT_USAGE

FEATURES = {"tenure": 89, "age": 61}


@pytest.fixture
def training(tmp_path: Path) -> str:
    path = tmp_path / "training.csv"
    n = 1_000
    numbers = {name: [i * 7 % of for i in range(n)] for name, of in FEATURES.items()}
    columns = {**numbers, "label": [0] * n}
    pd.DataFrame(columns).to_csv(path, index=False)
    return str(path)


def build(training: str, *importances: str) -> tuple[int, str]:
    given = [part for text in importances for part in ("--importance", text)]
    options = ["--model", "churn", "--version", "1", "--ignore", "label", *given]
    done = CliRunner().invoke(app, ["profile", "build", training, *options])
    return done.exit_code, done.stderr if done.exit_code else done.stdout


def test_importances_are_in_the_profile(training: str) -> None:
    code, output = build(training, "tenure=0.4", "age=0.1")

    assert code == 0
    assert json.loads(output)["importances"] == {"tenure": 0.4, "age": 0.1}


def test_times_in_seconds_give_the_events_per_week_too(training: str) -> None:
    """An event a second; taken for milliseconds they would be a thousand times as many."""
    frame = pd.read_csv(training)
    frame.assign(at=frame.index + 1_700_000_000).to_csv(training, index=False)
    options = ["--model", "churn", "--version", "1", "--ignore", "label"]

    def built(*more: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["profile", "build", training, *options, *more])
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.stdout)
        unknown = found["events_per_week"] is None
        assert ("the profile has no number of events a week" in done.stderr) == unknown
        return found

    timed = built("--time", "at")
    assert timed["events_per_week"] == pytest.approx(7 * 86_400)
    assert "at" not in timed["features"]
    assert built()["events_per_week"] is None
    assert built("--time", "at", "--events-per-week", "9e6")["events_per_week"] == 9e6


@pytest.mark.parametrize(
    "text", ["tenure", "tenure=much", "tenure=-1", "tenure=nan", "ternure=1", "label=1"]
)
def test_an_invalid_importance_is_rejected(training: str, text: str) -> None:
    code, output = build(training, text)

    assert code == EXIT_USAGE
    assert f"--importance {text}" in output


def test_sending_a_profile_without_a_rate_prints_a_note(training: str, tmp_path: Path) -> None:
    def printed(*more: str) -> str:
        file = str(tmp_path / "p.json")
        options = ["--model", "m", "--version", "1", "--ignore", "label", "-o", file, *more]
        built = CliRunner().invoke(app, ["profile", "build", training, *options])
        assert built.exit_code == 0, built.output
        sent = CliRunner().invoke(app, ["profile", "send", file, "--dry-run"])
        assert sent.exit_code == 0, sent.output
        return sent.stderr

    assert "has no number of events a week" in printed()
    assert "has no number of events a week" not in printed("--events-per-week", "7e6")
