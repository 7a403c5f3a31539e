"""``driftline models`` shows the contents of the registry."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from driftline.cli.app import app
from stream_monitor.reference.frame import profile_from_frame
from trainer.evaluation.version_swap import SwapState
from trainer.evaluation.vote import VoteState
from trainer.jobs.champions import Champion, aliases_of, set_champion
from trainer.jobs.comparisons import Comparison, Growth, save_comparison
from trainer.jobs.database import Database
from trainer.jobs.job import Job, Outcome
from trainer.jobs.job_store import add_job
from trainer.registry.manifest import Manifest
from trainer.registry.registry import Registry

run = CliRunner()
JOB = Job(
    job_id="j",
    caused_by="alert-8",
    model="flights",
    episode_id="e",
    champion="1",
    challenger="2",
    state="storing",
    asked_ms=0,
)
FRAME = pd.DataFrame({"temp": np.random.default_rng(0).normal(size=400)})


def store(
    data_dir: Path, version: str, time_ms: int, training: dict[str, object] | None = None
) -> Manifest:
    return Registry(data_dir / "registry").store(
        LogisticRegression().fit(FRAME, FRAME["temp"] > 0),
        model="flights",
        version=version,
        profile=profile_from_frame(FRAME, model="flights", version=version, task="binary"),
        training=training or {"n_rows": 400},
        metrics={"loss": 0.25},
        factory="churn:make",
        caused_by="alert-7",
        time_ms=time_ms,
    )


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    store(tmp_path, "1", 1384903980000)
    store(tmp_path, "2", 1384990380000)
    return tmp_path


def test_list_shows_versions_oldest_first(data_dir: Path) -> None:
    result = run.invoke(app, ["models", "list", "--data-dir", str(data_dir)])

    assert result.exit_code == 0
    one, two = result.stdout.splitlines()
    assert one.startswith("flights@1  2013-11-19T23:33:00Z  ")
    assert one.endswith("KiB  by alert-7  loss=0.25")
    assert two.startswith("flights@2")


def test_list_is_json_for_programs(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLINE_TRAINER_DATA_DIR", str(data_dir))

    rows = json.loads(run.invoke(app, ["models", "list", "flights", "--json"]).stdout)

    assert [(row["version"], row["metrics"]) for row in rows] == [
        ("1", {"loss": 0.25}),
        ("2", {"loss": 0.25}),
    ]


def test_show_names_the_origin_of_a_version(data_dir: Path) -> None:
    output = run.invoke(app, ["models", "show", "flights", "--data-dir", str(data_dir)]).stdout
    data = json.loads(
        run.invoke(
            app, ["models", "show", "flights@1", "--data-dir", str(data_dir), "--json"]
        ).stdout
    )

    assert "version          2\n" in output
    assert "training         n_rows=400\n" in output
    assert "features         temp\n" in output
    assert (data["version"], list(data["profile"]["features"])) == ("1", ["temp"])


def test_show_lists_the_rows_left_out_and_the_output_of_the_fit(data_dir: Path) -> None:
    training = {
        "rows": 9,
        "left_out": {"duplicate": 1_200, "no label yet": 3},
        "fit_output": "UserWarning: it did not converge\n\x1b[31mred",
    }
    store(data_dir, "3", 1384990380001, training)

    shown = run.invoke(app, ["models", "show", "flights", "--data-dir", str(data_dir)]).stdout

    assert "training         rows=9\n" in shown
    assert "left out         1,200 duplicate\nleft out         3 no label yet\n" in shown
    assert "output of fit    UserWarning: it did not converge\noutput of fit    \\x1b[31m" in shown


def test_show_compares_a_stored_version_with_the_champion(data_dir: Path) -> None:
    state = SwapState(
        champion="2",
        wealth={"1": [1.0, 2.0, 3.0, 6.0]},
        n_compared={"1": 1_200},
        sum_difference={"1": 60.0},
    )
    with contextlib.closing(Database(data_dir)) as database, database.transaction() as rows:
        comparison = Comparison(champion_cause="c", swap=state, growth=Growth())
        save_comparison(rows, "flights", comparison)

    arguments = ["models", "show", "flights@1", "--data-dir", str(data_dir)]
    shown = run.invoke(app, arguments).stdout
    data = json.loads(run.invoke(app, [*arguments, "--json"]).stdout)

    assert (
        "comparison       over 1,200 labelled events its loss is lower by 0.05 than that of the "
        "champion 2 (wealth 3)\n"
    ) in shown
    assert data["comparison"] == {
        "champion": "2",
        "labelled_events": 1_200,
        "improvement": 0.05,
        "wealth": 3.0,
    }
    champion = run.invoke(app, ["models", "show", "flights@2", "--data-dir", str(data_dir)]).stdout
    assert "comparison" not in champion


def test_show_lists_the_members_of_the_pool_that_serves_under_the_version(data_dir: Path) -> None:
    vote = VoteState(champion="2", weights={"1": 0.25, "2": 0.75})
    with contextlib.closing(Database(data_dir)) as database, database.transaction() as rows:
        swap = SwapState(champion="2")
        comparison = Comparison(champion_cause="c", swap=swap, growth=Growth(), vote=vote)
        save_comparison(rows, "flights", comparison)

    arguments = ["models", "show", "flights@2", "--data-dir", str(data_dir)]
    shown = run.invoke(app, arguments).stdout
    data = json.loads(run.invoke(app, [*arguments, "--json"]).stdout)
    other = run.invoke(app, ["models", "show", "flights@1", "--data-dir", str(data_dir)]).stdout

    assert (
        "member of pool   version 2 with the weight 0.750\n"
        "member of pool   version 1 with the weight 0.250\n"
    ) in shown
    assert data["members"] == {"1": 0.25, "2": 0.75}
    assert "member of pool" not in other


def test_an_empty_registry_is_no_error(tmp_path: Path) -> None:
    result = run.invoke(app, ["models", "list", "--data-dir", str(tmp_path)])

    assert result.exit_code == 0
    assert result.stdout == f"no versions in {tmp_path / 'registry'}\n"


@pytest.mark.parametrize("name", ["flights@9", "unknown", "@", "@1", "flights@", ""])
def test_a_version_that_is_not_there_is_explained(data_dir: Path, name: str) -> None:
    result = run.invoke(app, ["models", "show", name, "--data-dir", str(data_dir)])

    assert result.exit_code == 2
    assert "the registry has no version" in result.stderr
    assert "driftline models list" in result.stderr


def test_a_damaged_manifest_is_explained(data_dir: Path) -> None:
    (data_dir / "registry" / "models" / "flights" / "1.json").write_bytes(b"{")

    result = run.invoke(app, ["models", "list", "--data-dir", str(data_dir)])

    assert result.exit_code == 1
    assert "1.json is not a manifest" in result.stderr


def test_aliases_name_the_champion_and_the_latest_challenger(data_dir: Path) -> None:
    with contextlib.closing(Database(data_dir)) as database, database.transaction() as rows:
        set_champion(rows, Champion("flights", "1", "ab", 0, "enlist"))
        add_job(rows, JOB)

    one, two = run.invoke(app, ["models", "list", "--data-dir", str(data_dir)]).stdout.splitlines()
    shown = run.invoke(app, ["models", "show", "flights@challenger", "--data-dir", str(data_dir)])

    assert one.endswith("(champion)")
    assert two.endswith("(challenger)")
    assert shown.exit_code == 0
    assert "flights" in shown.stdout
    assert shown.stdout.splitlines()[1].split() == ["version", "2"]


@pytest.mark.parametrize("outcome", ["promoted", "rolled_back"])
def test_a_challenger_that_won_is_none(data_dir: Path, outcome: Outcome) -> None:
    with contextlib.closing(Database(data_dir)) as database, database.transaction() as rows:
        add_job(rows, JOB.ended(outcome))
        set_champion(rows, Champion("flights", "2", "ab", 0, "alert"))

        assert aliases_of(rows, "flights") == {"champion": "2"}


@pytest.mark.parametrize(
    ("words", "why", "fix"),
    [
        ("models rollback flights", "'flights' has no champion before", "models promote"),
        ("models promote flights 9", "not in the registry; stored versions: 1, 2", "models list"),
        ("retrain flights --now", "no factory is known for 'flights'", "--factory MODULE:FUNCTION"),
        ("retrain nothing --dry-run", "no factory is known for 'nothing'", "--factory"),
        ("retrain flights --now --factory a:b", "no champion of 'flights'", "models register"),
    ],
)
def test_an_impossible_request_fails_with_the_reason_and_a_fix(
    data_dir: Path, words: str, why: str, fix: str
) -> None:
    result = run.invoke(app, [*words.split(), "--data-dir", str(data_dir)])

    assert result.exit_code == 1
    assert why in result.stderr
    assert "  fix    " in result.stderr
    assert fix in result.stderr.partition("  fix    ")[2]
