"""Case A1: the column "mean radius (mm)" is watched under its name in every command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline.cli.app import app

FILE = Path(__file__).parent / "data" / "A1_names.csv"
NAME = "mean radius (mm)"
SHIFTED_AT = 400


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def normal(tmp_path: Path) -> Path:
    """The rows before the shift."""
    path = tmp_path / "normal.csv"
    path.write_text("".join(FILE.read_text("utf-8").splitlines(keepends=True)[: SHIFTED_AT + 1]))
    return path


def built(file: Path, tmp_path: Path) -> Path:
    profile = tmp_path / "p.json"
    run(
        "profile",
        "build",
        str(file),
        "--model",
        "größe/µ",
        "--version",
        "1@home",
        "-o",
        str(profile),
        "--prediction",
        "score",
    )
    return profile


def test_the_profile_knows_the_feature_by_its_name(normal: Path, tmp_path: Path) -> None:
    features = json.loads(built(normal, tmp_path).read_bytes())["features"]
    assert features[NAME]["mean"] == pytest.approx(98.77, abs=0.01)


def test_every_row_can_be_published() -> None:
    run(
        "publish", str(FILE), "--model", "m", "--version", "1", "--prediction", "score", "--dry-run"
    )


@pytest.mark.parametrize("by_profile", [True, False])
def test_a_replay_finds_the_shift(normal: Path, tmp_path: Path, *, by_profile: bool) -> None:
    reference = str(built(normal, tmp_path)) if by_profile else f"first:{SHIFTED_AT}"
    printed = run("replay", str(FILE), "--prediction", "score", "--reference", reference, "--json")
    lines = [json.loads(line) for line in printed.splitlines()]
    found = [line for line in lines if line.get("feature") == NAME]
    assert found, printed
    assert SHIFTED_AT <= found[0]["alerted_event"] < SHIFTED_AT + 100
