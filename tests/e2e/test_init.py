"""``driftline init``: what it writes is valid, and runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from driftline.cli.profile import read_profile
from stream_monitor.settings import Settings
from tests.cases.command_runner import run
from tests.properties.name_strategies import NAMES

ROWS = "tenure,plan,score,churned\n" + "".join(
    f"{20 + i % 17 * 0.5},{('pro', 'free', 'team')[i % 3]},{i % 101 / 100},{i % 2}\n"
    for i in range(600)
)
COLUMNS = ("--prediction", "score", "--label", "churned")


@pytest.fixture
def training(tmp_path: Path) -> Path:
    file = tmp_path / "train.csv"
    file.write_text(ROWS)
    return file


def test_the_reference_the_settings_and_the_program_belong_to_the_model(
    training: Path, tmp_path: Path
) -> None:
    done = run("init", "churn", "--from", training, *COLUMNS, "--folder", tmp_path / "own")
    assert done.code == 0, done.err
    profile = read_profile(tmp_path / "own" / "churn-1.profile.json")
    assert (profile.model, profile.version, sorted(profile.features)) == (
        "churn",
        "1",
        ["plan", "tenure"],
    )
    loaded = Settings.load(tmp_path / "own" / "driftline.toml")
    assert loaded.monitor_spec().budget.per_events == 1_000_000
    assert "driftline up" in done.out


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(model=NAMES)
def test_the_program_is_python_for_any_name(model: str, training: Path, tmp_path: Path) -> None:
    done = run("init", "--from", training, *COLUMNS, "--folder", tmp_path, "--force", "--", model)
    assert done.code == 0, done.err
    source = (tmp_path / "log_predictions.py").read_text("utf-8")
    calls: list[dict[str, object]] = []

    class Recorder:
        def __init__(self, servers: str, **named: object) -> None:
            calls.append({"servers": servers, **named})

        def log(self, **named: object) -> str:
            calls.append(named)
            return "id"

        def label(self, **named: object) -> None:
            calls.append(named)

        def close(self) -> None:
            calls.append({})

    made = source.replace("from driftline import InferenceLogger", "")
    exec(compile(made, "log_predictions.py", "exec"), {"InferenceLogger": Recorder})  # noqa: S102
    assert calls[0]["model"] == model
    assert calls[1:] == [
        {"features": {"tenure": 20.0, "plan": "pro"}, "prediction": 0.0},
        {"id": "id", "label": 0},
        {},
    ]


def test_files_that_exist_are_not_replaced(training: Path, tmp_path: Path) -> None:
    (tmp_path / "driftline.toml").write_text("# mine\n")
    result = run("init", "churn", "--from", training, "--folder", tmp_path)
    assert (result.code, (tmp_path / "driftline.toml").read_text()) == (2, "# mine\n")
    assert "driftline.toml" in result.err
    assert not (tmp_path / "log_predictions.py").exists()
    replaced = run("init", "churn", "--from", training, "--folder", tmp_path, "--force")
    assert replaced.code == 0


def test_the_program_ends_without_kafka(training: Path, tmp_path: Path) -> None:
    """It logs to nowhere, reports the id, and does not hang for ever."""
    run("init", "churn", "--from", training, *COLUMNS, "--folder", tmp_path)
    done = subprocess.run(
        [sys.executable, "log_predictions.py"],
        cwd=tmp_path,
        env={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("logged ")
