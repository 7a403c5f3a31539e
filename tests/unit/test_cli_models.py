"""``driftline models`` tells what the registry holds."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from driftline.cli import app
from stream_monitor.reference.frame import profile_from_frame
from trainer.jobs import Champion, Database, Job, Outcome, add_job, crown
from trainer.jobs.aliases import aliases_of
from trainer.registry.manifest import Manifest
from trainer.registry.registry import Registry

run = CliRunner()
JOB = Job(
    job_id="j", caused_by="alert-8", model="flights", episode_id="e", champion="1",
    challenger="2", state="storing", asked_ms=0,
)  # fmt: skip
FRAME = pd.DataFrame({"temp": np.random.default_rng(0).normal(size=400)})


def store(home: Path, version: str, time_ms: int) -> Manifest:
    return Registry(home / "registry").store(
        LogisticRegression().fit(FRAME, FRAME["temp"] > 0),
        model="flights",
        version=version,
        profile=profile_from_frame(FRAME, model="flights", version=version, task="binary"),
        training={"n_rows": 400},
        metrics={"loss": 0.25},
        factory="churn:make",
        caused_by="alert-7",
        time_ms=time_ms,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    store(tmp_path, "1", 1384903980000)
    store(tmp_path, "2", 1384990380000)
    return tmp_path


def test_list_shows_versions_oldest_first(home: Path) -> None:
    result = run.invoke(app, ["models", "list", "--home", str(home)])

    assert result.exit_code == 0
    one, two = result.stdout.splitlines()
    assert one.startswith("flights@1  2013-11-19T23:33:00Z  ")
    assert one.endswith("KiB  by alert-7  loss=0.25")
    assert two.startswith("flights@2")


def test_list_is_json_for_programs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLINE_TRAINER_HOME", str(home))

    rows = json.loads(run.invoke(app, ["models", "list", "flights", "--json"]).stdout)

    assert [(row["version"], row["metrics"]) for row in rows] == [
        ("1", {"loss": 0.25}),
        ("2", {"loss": 0.25}),
    ]


def test_show_tells_where_a_version_came_from(home: Path) -> None:
    told = run.invoke(app, ["models", "show", "flights", "--home", str(home)]).stdout
    data = json.loads(
        run.invoke(app, ["models", "show", "flights@1", "--home", str(home), "--json"]).stdout
    )

    assert "version          2\n" in told
    assert "training         n_rows=400\n" in told
    assert "features         temp\n" in told
    assert (data["version"], list(data["profile"]["features"])) == ("1", ["temp"])


def test_an_empty_registry_is_no_error(tmp_path: Path) -> None:
    result = run.invoke(app, ["models", "list", "--home", str(tmp_path)])

    assert result.exit_code == 0
    assert result.stdout == f"no versions in {tmp_path / 'registry'}\n"


@pytest.mark.parametrize("name", ["flights@9", "nobody", "@", "@1", "flights@", ""])
def test_a_version_that_is_not_there_is_explained(home: Path, name: str) -> None:
    result = run.invoke(app, ["models", "show", name, "--home", str(home)])

    assert result.exit_code == 2
    assert "there is no such version" in result.stderr
    assert "driftline models list" in result.stderr


def test_a_damaged_manifest_is_explained(home: Path) -> None:
    (home / "registry" / "models" / "flights" / "1.json").write_bytes(b"{")

    result = run.invoke(app, ["models", "list", "--home", str(home)])

    assert result.exit_code == 1
    assert "1.json is no manifest" in result.stderr


def test_aliases_say_who_serves_and_who_was_judged_last(home: Path) -> None:
    with contextlib.closing(Database(home)) as database, database.transaction() as rows:
        crown(rows, Champion("flights", "1", "ab", 0, "enlist"))
        add_job(rows, JOB)

    one, two = run.invoke(app, ["models", "list", "--home", str(home)]).stdout.splitlines()
    shown = run.invoke(app, ["models", "show", "flights@challenger", "--home", str(home)])

    assert one.endswith("(champion)")
    assert two.endswith("(challenger)")
    assert shown.exit_code == 0
    assert "flights" in shown.stdout
    assert shown.stdout.splitlines()[1].split() == ["version", "2"]


@pytest.mark.parametrize("outcome", ["promoted", "rolled_back"])
def test_a_challenger_that_won_is_none(home: Path, outcome: Outcome) -> None:
    with contextlib.closing(Database(home)) as database, database.transaction() as rows:
        add_job(rows, JOB.ended(outcome))
        crown(rows, Champion("flights", "2", "ab", 0, "alert"))

        assert aliases_of(rows, "flights") == {"champion": "2"}


@pytest.mark.parametrize(
    ("words", "why", "fix"),
    [
        ("models rollback flights", "no champion of 'flights' served before", "models promote"),
        ("models promote flights 9", "not in the registry; stored versions: 1, 2", "models list"),
        ("retrain flights --now", "no factory is known for 'flights'", "--factory MODULE:FUNCTION"),
        ("retrain nothing --dry-run", "no factory is known for 'nothing'", "--factory"),
        ("retrain flights --now --factory a:b", "no champion of 'flights'", "models register"),
    ],
)
def test_a_request_that_cannot_be_met_says_why_and_what_to_do(
    home: Path, words: str, why: str, fix: str
) -> None:
    result = run.invoke(app, [*words.split(), "--home", str(home)])

    assert result.exit_code == 1
    assert why in result.stderr
    assert "  fix    " in result.stderr
    assert fix in result.stderr.partition("  fix    ")[2]
