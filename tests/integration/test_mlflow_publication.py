"""MLflow follows the trainer's folder and database, after any order of faults; a real server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from driftline.cli.doctor import examine_mlflow
from stream_monitor.health import HealthProblem
from stream_monitor.settings import Settings as MonitorSettings
from tests.chaos.proxy import Line, Proxy
from tests.mlflow_server import MlflowServer
from tests.unit.pool_registry import store_version
from trainer.jobs.champions import Champion, aliases_of, champions, set_champion
from trainer.jobs.database import Database
from trainer.jobs.job import Job, JobData
from trainer.jobs.job_store import add_job
from trainer.registry.errors import VersionTaken
from trainer.registry.manifest import Manifest, encode
from trainer.registry.mlflow_registry import MlflowRegistry, registered_name
from trainer.registry.registry import registry_of
from trainer.service.publication import REPORT_AFTER_S, MlflowPublisher, publish_version

pytestmark = pytest.mark.slow


class Trainer:
    """The folder and the database of a trainer, and its publisher; `restart` is a new process."""

    def __init__(self, data_dir: Path, uri: str, model: str) -> None:
        self.data_dir, self.uri, self.model = data_dir, uri, model
        self.mlflow = MlflowRegistry(uri)
        self.now_s = 0.0
        self.restart()

    def restart(self) -> None:
        self.publisher = MlflowPublisher(
            registry_of(self.data_dir), MlflowRegistry(self.uri), self.aliases
        )

    def aliases(self) -> dict[str, dict[str, str]]:
        with closing(Database(self.data_dir)) as database:
            rows = database.rows
            return {model: aliases_of(rows, model) for model in champions(rows)}

    def store(self, version: str) -> Manifest:
        return store_version(self.data_dir, self.model, version, c=1.0 + float(version))

    def promote(self, version: str) -> None:
        manifest = registry_of(self.data_dir).manifest(self.model, version)
        cause = f"person:{uuid.uuid4()}"
        champion = Champion(self.model, version, manifest.artifact_sha256, 1, cause)
        with closing(Database(self.data_dir)) as database, database.transaction() as rows:
            set_champion(rows, champion)

    def reject(self, version: str) -> None:
        job = Job(
            job_id=uuid.uuid4().hex,
            caused_by=uuid.uuid4().hex,
            model=self.model,
            episode_id=None,
            champion="1",
            challenger=version,
            state="done",
            outcome="rejected",
            asked_ms=5,
            work=JobData(),
        )
        with closing(Database(self.data_dir)) as database, database.transaction() as rows:
            add_job(rows, job)

    def compare(self) -> list[HealthProblem]:
        """One comparison with MLflow, and the check that follows it."""
        self.now_s += 60
        self.publisher.follow(self.now_s, 5, changed=True)
        assert self.publisher._running is not None
        self.publisher._running.result(60)
        self.publisher._next_s = float("inf")
        self.publisher._changed = False
        self.publisher.follow(self.now_s, 5, changed=False)
        return self.publisher.check(self.now_s)

    def published(self) -> dict[str, str]:
        """The version of each alias in MLflow, as its users see it."""
        client = self.mlflow.client
        name = registered_name(self.model)
        aliases = client.get_registered_model(name).aliases
        return {
            a: client.get_model_version(name, n).tags["driftline.version"]
            for a, n in aliases.items()
        }

    def move(self, alias: str, version: str) -> None:
        """Move an alias as a person does in MLflow."""
        client, name = self.mlflow.client, registered_name(self.model)
        (found,) = [
            one
            for one in client.search_model_versions(f"name = '{name}'")
            if one.tags["driftline.version"] == version
        ]
        client.set_registered_model_alias(name, alias, found.version)


@pytest.fixture
def trainer(mlflow: MlflowServer, tmp_path: Path) -> Iterator[Trainer]:
    trainer = Trainer(tmp_path, mlflow.uri, f"churn {uuid.uuid4().hex[:8]}")
    trainer.store("1")
    trainer.promote("1")
    yield trainer
    trainer.publisher.close()


@pytest.fixture
def line(mlflow: MlflowServer) -> Iterator[Proxy]:
    proxy = Proxy("127.0.0.1", mlflow.port)
    proxy.start()
    yield proxy
    proxy.stop()


def test_aliases_follow_promotions_rejections_and_rollbacks(trainer: Trainer) -> None:
    assert trainer.compare() == []
    assert trainer.published() == {"champion": "1"}

    trainer.store("2")
    trainer.reject("2")
    trainer.compare()
    assert trainer.published() == {"champion": "1", "challenger": "2"}

    trainer.promote("2")
    trainer.compare()
    assert trainer.published() == {"champion": "2"}

    trainer.promote("1")
    assert trainer.compare() == []
    assert trainer.published()["champion"] == "1"


def test_a_restart_after_a_kill_before_the_alias_publishes_it(trainer: Trainer) -> None:
    trainer.compare()
    trainer.store("2")
    trainer.promote("2")  # the transaction; the process is killed before it reaches MLflow
    trainer.restart()

    assert trainer.compare() == []

    assert trainer.published() == {"champion": "2"}


def test_a_kill_between_the_alias_and_its_tag_is_no_change_by_another_hand(
    trainer: Trainer,
) -> None:
    trainer.compare()
    trainer.store("2")
    trainer.promote("2")
    publish_version(trainer.store("2"), registry_of(trainer.data_dir), trainer.mlflow)
    trainer.move("champion", "2")

    assert trainer.compare() == []
    trainer.promote("1")
    assert trainer.compare() == []


def test_an_alias_that_a_person_moved_is_set_back_and_reported(trainer: Trainer) -> None:
    trainer.store("2")
    trainer.compare()
    trainer.move("champion", "2")

    (problem,) = trainer.compare()

    assert trainer.published() == {"champion": "1"}
    assert (problem.kind, problem.subject) == ("alias_moved", f"{trainer.model}:champion")
    assert "in MLflow to 2; the trainer set it back to 1" in problem.explanation
    assert f"driftline models promote '{trainer.model}' 2" in problem.fix
    assert trainer.compare() == []  # reported once


def test_an_alias_that_a_person_removed_is_set_and_reported(trainer: Trainer) -> None:
    trainer.compare()
    trainer.mlflow.client.delete_registered_model_alias(registered_name(trainer.model), "champion")

    (problem,) = trainer.compare()

    assert "to no version; the trainer set it back to 1" in problem.explanation
    assert trainer.published() == {"champion": "1"}


def test_versions_of_before_are_published_and_a_deleted_one_is_published_once_more(
    trainer: Trainer,
) -> None:
    for version in ("2", "3"):
        trainer.store(version)
    trainer.compare()
    name = registered_name(trainer.model)
    trainer.mlflow.client.delete_registered_model(name)

    trainer.compare()

    sha256 = {
        m.version: m.artifact_sha256 for m in registry_of(trainer.data_dir).versions(trainer.model)
    }
    assert trainer.mlflow.published(trainer.model) == sha256
    assert trainer.published() == {"champion": "1"}


def test_an_outage_is_reported_and_loses_nothing(trainer: Trainer, line: Proxy) -> None:
    trainer.compare()
    trainer.uri = f"http://127.0.0.1:{line.port}"
    line.line = Line.DEAF  # requests may arrive, no answer does
    trainer.restart()
    trainer.store("2")
    trainer.promote("2")

    assert trainer.compare() == []  # a short outage is no health event
    (problem,) = trainer.publisher.check(trainer.now_s + REPORT_AFTER_S + 1)
    assert problem.kind == "mlflow_out_of_date"
    assert f"MLflow at {trainer.uri} does not answer" in problem.explanation
    assert "mlflow_uri" in problem.fix
    assert trainer.published() == {"champion": "1"}

    line.line = Line.OPEN
    assert trainer.compare() == []
    assert trainer.published() == {"champion": "2"}


def test_a_crashed_publication_continues_and_a_lost_reply_makes_no_second_version(
    trainer: Trainer,
) -> None:
    manifest, registry = trainer.store("2"), trainer.mlflow
    run_id = registry._run_of(manifest)
    registry._upload(run_id, {"manifest.json": encode(manifest)})

    publish_version(manifest, registry_of(trainer.data_dir), registry)
    client, name = registry.client, registered_name(trainer.model)
    (one,) = client.search_model_versions(f"name = '{name}'")
    assert one.run_id == run_id
    client.create_model_version(name, f"runs:/{run_id}/model", run_id, tags=one.tags)  # repeated

    assert registry.published(trainer.model) == {"2": manifest.artifact_sha256}
    assert registry.versions(trainer.model) == [manifest]


def test_a_version_that_mlflow_has_with_another_artifact_is_not_replaced(
    trainer: Trainer, tmp_path: Path
) -> None:
    trainer.compare()
    other = Trainer(tmp_path / "another", trainer.uri, trainer.model)
    mine = store_version(other.data_dir, trainer.model, "1", c=9.0)

    with pytest.raises(VersionTaken, match="is already stored in MLflow at http"):
        publish_version(mine, registry_of(other.data_dir), other.mlflow)

    other.compare()
    (problem,) = other.publisher.check(other.now_s + REPORT_AFTER_S + 1)
    assert "use another version" in problem.explanation
    other.publisher.close()


def test_two_threads_that_publish_one_version_make_one(trainer: Trainer) -> None:
    manifest, source = trainer.store("2"), registry_of(trainer.data_dir)
    with ThreadPoolExecutor(2) as threads:
        for _ in threads.map(lambda _: publish_version(manifest, source, trainer.mlflow), "ab"):
            pass

    query = f"name = '{registered_name(trainer.model)}'"
    assert len(trainer.mlflow.client.search_model_versions(query)) == 1


def test_the_last_change_is_published_at_the_end(trainer: Trainer) -> None:
    trainer.compare()
    trainer.store("2")
    trainer.promote("2")
    trainer.publisher.follow(trainer.now_s, 5, changed=True)

    trainer.publisher.close()

    assert trainer.published() == {"champion": "2"}
    trainer.restart()


def test_doctor_checks_the_connection(mlflow: MlflowServer, line: Proxy) -> None:
    def found(uri: str | None) -> list[Any]:
        section: dict[str, Any] = {} if uri is None else {"registry": {"mlflow_uri": uri}}
        return [(r.level, r.found) for r in examine_mlflow(MonitorSettings(trainer=section))]

    assert found(None) == []
    assert found(mlflow.uri) == [("ok", f"MLflow at {mlflow.uri} answers")]
    line.line = Line.DEAF
    ((level, text),) = found(f"http://me:secret@127.0.0.1:{line.port}")
    assert (level, "secret" in text) == ("problem", False)
    assert f"MLflow at http://127.0.0.1:{line.port} does not answer" in text
