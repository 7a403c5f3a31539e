"""An existing model joins by `models register`, and its first version can be gone back to."""

from __future__ import annotations

import uuid
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner, Result

from driftline.cli.app import app
from driftline.topics.topic_registry import create_topics, load_registry
from tests.integration.trainer_harness import HERE
from trainer.jobs.champions import champion_of
from trainer.jobs.database import Database
from trainer.registry.registry import registry_of

pytestmark = pytest.mark.kafka


class Shell:
    """Commands on topics and a home of their own."""

    def __init__(self, broker: str, folder: Path) -> None:
        self.folder, self._prefix = folder, f"r{uuid.uuid4().hex[:10]}"
        self._place = ["--prefix", self._prefix, "--bootstrap-servers", broker]
        create_topics({"bootstrap.servers": broker}, load_registry(self._prefix))

    def run(self, *arguments: str) -> Result:
        data_dir = ["--data-dir", str(self.folder / "data_dir")]
        return CliRunner().invoke(app, ["models", *arguments, *data_dir, *self._place])

    def register(self, version: str, *options: str) -> Result:
        files = self.folder / f"{version}.skops", self.folder / f"{version}.json"
        return self.run("register", str(files[0]), "--profile", str(files[1]), *options)

    @property
    def champion(self) -> str | None:
        with closing(Database(self.folder / "data_dir")) as database:
            found = champion_of(database.rows, "churn")
        return None if found is None else found.version


@pytest.fixture
def shell(kafka_broker: str, tmp_path: Path) -> Shell:
    """Two fitted models, written as the documents describe."""
    draw = np.random.default_rng(1)
    for version in ("1", "2"):
        frame = pd.DataFrame({"age": draw.normal(40, 9, 600), "usage": draw.gamma(2, 10, 600)})
        truth = (frame["age"] + draw.normal(0, 5, 600) > 40).astype(int)
        model = LogisticRegression().fit(frame, truth)
        skops.io.dump(model, tmp_path / f"{version}.skops")
        frame["score"] = model.predict_proba(frame)[:, 1]
        frame["left"] = truth
        frame.to_csv(tmp_path / f"{version}.csv", index=False)
        built = CliRunner().invoke(
            app,
            [
                "profile",
                "build",
                str(tmp_path / f"{version}.csv"),
                "--model",
                "churn",
                "--version",
                version,
                "--prediction",
                "score",
                "--label",
                "left",
                "-o",
                str(tmp_path / f"{version}.json"),
            ],
        )
        assert built.exit_code == 0, built.output
    return Shell(kafka_broker, tmp_path)


def test_a_model_joins_is_replaced_and_gone_back_to(shell: Shell) -> None:
    first = shell.register("1")
    assert (first.exit_code, shell.champion) == (0, "1"), first.output
    assert "churn@1 is stored and in service" in first.output

    second = shell.register("2")
    assert (second.exit_code, shell.champion) == (0, "1"), second.output
    assert "driftline models promote churn 2" in second.output

    promoted = shell.run("promote", "churn", "2")
    assert (promoted.exit_code, shell.champion) == (0, "2"), promoted.output
    back = shell.run("rollback", "churn")
    assert (back.exit_code, shell.champion) == (0, "1"), back.output
    again = shell.register("1")
    assert (again.exit_code, shell.champion) == (0, "1"), again.output


def test_the_rows_of_the_first_version_are_kept_for_later_ones(shell: Shell) -> None:
    rows = str(shell.folder / "1.csv")
    unnamed = shell.register("1", "--training", rows)
    assert (unnamed.exit_code, "--training needs --label" in unnamed.output) == (2, True)

    registered = shell.register("1", "--training", rows, "--label", "left")

    assert registered.exit_code == 0, registered.output
    registry = registry_of(shell.folder / "data_dir")
    training = registry.manifest("churn", "1").training
    stored = registry.frames.load(training["frame_sha256"])
    assert stored["label"].tolist() == pd.read_csv(rows)["left"].tolist()
    assert {"age", "usage"} <= set(stored.columns)
    assert "score" not in stored
    assert training["trained"]["rows"] == 600


def test_an_invalid_artifact_profile_or_factory_is_reported_with_a_fix(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(HERE)
    good, profile = str(shell.folder / "1.skops"), str(shell.folder / "1.json")
    no_artifact = shell.run("register", profile, "--profile", profile)
    no_profile = shell.run("register", good, "--profile", good)
    no_file = shell.run("register", str(shell.folder / "nothing.skops"), "--profile", profile)
    no_module = shell.register("1", "--factory", "nowhere:build")
    no_function = shell.register("1", "--factory", "small_factories:logistics")

    assert [
        each.exit_code for each in (no_artifact, no_profile, no_file, no_module, no_function)
    ] == [2] * 5
    assert "skops.io.dump" in no_artifact.output
    assert "driftline profile build" in no_profile.output
    assert "nothing.skops" in no_file.output
    assert "there is no module 'nowhere' among the installed packages or in" in no_module.output
    assert "module small_factories has no function logistics" in no_function.output
    assert shell.champion is None


def test_train_ends_at_once_where_a_factory_leads_nowhere() -> None:
    """No broker listens at the address, and none is needed."""
    result = CliRunner().invoke(
        app,
        ["train", "--model", "m", "--factory", "json:build", "--bootstrap-servers", "127.0.0.1:1"],
    )

    assert result.exit_code == 2
    assert "module json has no function build" in result.output
