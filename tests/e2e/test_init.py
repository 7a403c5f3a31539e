"""``driftline init``: what it writes is valid, and runs."""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

import driftline
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
    done = run_program(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("logged ")


def test_the_next_command_reads_a_file_of_the_same_columns(tmp_path: Path) -> None:
    """As it is printed: what is a prediction or a label is no feature."""
    training = tmp_path / "train.csv"
    frame = pd.read_csv(io.StringIO(ROWS)).assign(internal=range(600), at=range(600))
    frame.to_csv(training, index=False)
    chosen = (*COLUMNS, "--ignore", "internal", "--time", "at")

    done = run("init", "a b", "--from", training, *chosen, "--folder", tmp_path)

    [line] = [one for one in done.out.splitlines() if "driftline publish" in one]
    words = shlex.split(line, comments=True)
    assert words[:3] == ["driftline", "publish", "DATA"]
    dry = run("publish", training, *words[3:], "--dry-run")
    assert dry.code == 0, dry.err
    assert "600 rows checked" in dry.err


def run_program(folder: Path) -> subprocess.CompletedProcess[str]:
    """The program that was written, where no Kafka runs."""
    return subprocess.run(
        [sys.executable, "log_predictions.py"],
        cwd=folder,
        env={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def frame_of_many_kinds(n: int = 600) -> pd.DataFrame:
    """Dates, nullable numbers, booleans, categories, empty columns and names of any characters."""
    return pd.DataFrame(
        {
            "at": pd.date_range("2026-01-01", periods=n, freq="h"),
            "number": [i % 37 / 7 for i in range(n)],
            "nullable": pd.array([None if i % 9 == 0 else i % 50 for i in range(n)], dtype="Int64"),
            "flag": [i % 3 == 0 for i in range(n)],
            "kind": pd.Categorical([("a", "b")[i % 2] for i in range(n)]),
            "empty": [None] * n,
            "constant": [1] * n,
            'na\u00efve "col"/x.y: \u2603 <b>': [i % 11 / 3 for i in range(n)],
            "score": [i % 101 / 100 for i in range(n)],
        }
    )


def test_a_frame_gives_the_files_that_its_parquet_file_gives(tmp_path: Path) -> None:
    """Whatever its index, and the program runs."""
    frame = frame_of_many_kinds().assign(churned=[i % 2 for i in range(600)])
    frame.to_parquet(tmp_path / "train.parquet")
    chosen = (*COLUMNS, "--time", "at", "--folder", tmp_path / "command")
    done = run("init", "churn", "--from", tmp_path / "train.parquet", *chosen)
    assert done.code == 0, done.err
    numbered = frame.set_index(pd.RangeIndex(1_000, 1_600))

    made = driftline.init(
        "churn",
        numbered,
        prediction="score",
        label="churned",
        time="at",
        folder=tmp_path / "notebook",
    )

    contents = {one.name: one.read_bytes() for one in (tmp_path / "command").iterdir()}
    assert {one.name: one.read_bytes() for one in (tmp_path / "notebook").iterdir()} == contents
    assert {made.settings.name, made.reference.name, made.program.name} == contents.keys()
    assert read_profile(made.reference) == made.profile
    assert made.not_watched.keys() == {"empty"}
    assert done.out.replace("command", "notebook").splitlines()[-1] in repr(made)
    assert "not watched: empty" in repr(made)
    ran = run_program(tmp_path / "notebook")
    assert (ran.returncode, ran.stdout.partition(" ")[0]) == (0, "logged"), ran.stderr


def test_a_frame_with_codes_and_text_labels(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "shop": [i % 5 for i in range(600)],
            "amount": [i % 89 / 8 for i in range(600)],
            "score": [i % 101 / 100 for i in range(600)],
            "paid": [("yes", "no")[i % 2] for i in range(600)],
        }
    )
    roles: dict[str, Any] = {"prediction": "score", "label": "paid", "folder": tmp_path}
    with pytest.raises(ValueError, match="positive"):
        driftline.init("m", frame, **roles)
    assert [*tmp_path.iterdir()] == []

    made = driftline.init("m", frame, positive="yes", categorical=["shop"], **roles)

    assert made.profile.features["shop"].kind == "categorical"
    with pytest.raises(FileExistsError, match=r"driftline\.toml"):
        driftline.init("m", frame, positive="yes", **roles)
    made = driftline.init("m", frame, positive="yes", ignore=["shop"], force=True, **roles)
    assert made.profile.features.keys() == {"amount"}
    assert repr(made).splitlines()[-1].endswith("--ignore shop   # or a file of events")


SHAPES = ("frame.csv", "frame.parquet", "frame.jsonl")


@pytest.mark.parametrize("name", SHAPES)
def test_columns_of_any_kind_become_a_reference_and_a_program_that_runs(
    name: str, tmp_path: Path
) -> None:
    """Dates, nullable numbers, booleans, categories, empty columns and names of any characters."""
    frame = frame_of_many_kinds()
    file = tmp_path / name
    match file.suffix:
        case ".csv":
            frame.to_csv(file, index=False)
        case ".parquet":
            frame.to_parquet(file)
        case _:
            frame.to_json(file, orient="records", lines=True, date_format="iso")

    chosen = ("--time", "at", "--prediction", "score")
    done = run("init", "shapes", "--from", file, *chosen, "--folder", tmp_path)

    assert done.code == 0, done.err
    assert "empty" in done.err
    profile = read_profile(tmp_path / "shapes-1.profile.json")
    kinds = {feature: found.kind for feature, found in profile.features.items()}
    assert kinds["number"] == kinds["nullable"] == kinds[frame.columns[-2]] == "numeric"
    assert (kinds["flag"], kinds["kind"]) == ("boolean", "categorical")
    assert not {"at", "empty", "score"} & kinds.keys()
    assert profile.events_per_week is not None
    compile((tmp_path / "log_predictions.py").read_text("utf-8"), "log_predictions.py", "exec")
