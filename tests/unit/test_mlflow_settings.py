"""Without MLflow, or without its client, a person learns what to do, and nothing is promoted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import ValidationError

from driftline.cli.doctor import examine_mlflow
from stream_monitor.health import alias_moved
from stream_monitor.settings import Settings as MonitorSettings
from tests.cases.command_runner import run
from tests.unit.pool_registry import store_version
from trainer.jobs.job import Job, JobData
from trainer.registry.errors import MlflowFailed
from trainer.registry.registry import registry_of
from trainer.service.context import JobWorkspace, StepInputs, TrainerContext, context_from_settings
from trainer.service.job_executor import JobExecutor
from trainer.service.pipeline import promote_challenger
from trainer.service.publication import MlflowPublisher
from trainer.settings import Settings

NO_SERVER: Final = "http://127.0.0.1:9"


def context_of(data_dir: Path, uri: str) -> TrainerContext:
    sections: dict[str, Any] = {
        "trainer": {"data_dir": data_dir, "mode": "auto", "registry": {"mlflow_uri": uri}}
    }
    return context_from_settings(Settings(**sections))


def promotion() -> Job:
    return Job(
        job_id="j",
        caused_by="a",
        model="m",
        episode_id=None,
        champion="1",
        challenger="2",
        state="promoting",
        asked_ms=5,
        work=JobData(promote=True, rule="better", reason="It is better.", numbers={}),
    )


@pytest.fixture
def no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)


@pytest.mark.parametrize("uri", ["mlflow:5000", "sqlite:///mlflow.db", "http://"])
def test_the_address_is_that_of_a_server(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ValidationError, match=r"registry\.mlflow_uri"):
        context_of(tmp_path, uri)


@pytest.mark.usefixtures("no_client")
def test_a_missing_client_is_a_setting_that_needs_an_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLINE_TRAINER__REGISTRY__MLFLOW_URI", NO_SERVER)

    done = run("models", "rollback", "m", "--data-dir", tmp_path)

    assert done.code == 2
    assert "[trainer.registry] mlflow_uri: MLflow's client is not installed" in done.err
    assert "pip install 'driftline[mlflow]'" in done.err


@pytest.mark.usefixtures("no_client")
def test_doctor_names_a_missing_client() -> None:
    (found,) = examine_mlflow(MonitorSettings(trainer={"registry": {"mlflow_uri": NO_SERVER}}))

    assert (found.check, found.level) == ("mlflow", "problem")
    assert "pip install 'driftline[mlflow]'" in found.found
    assert "where the trainer runs" in found.fix


def test_nothing_is_announced_that_mlflow_does_not_have(tmp_path: Path) -> None:
    store_version(tmp_path, "m", "2")
    context, job = context_of(tmp_path, NO_SERVER), promotion()

    with pytest.raises(MlflowFailed, match=f"MLflow at {NO_SERVER} does not answer") as failed:
        promote_challenger(job, context, JobWorkspace(tmp_path), StepInputs([], []))

    executor = JobExecutor(context)
    assert executor._failed(job, failed.value) is None  # the step is repeated
    executor.close()


def test_without_mlflow_in_the_settings_nothing_is_sent(tmp_path: Path) -> None:
    def unexpected() -> dict[str, dict[str, str]]:
        raise AssertionError("the aliases were read")

    store_version(tmp_path, "m", "2")
    publisher = MlflowPublisher(registry_of(tmp_path), None, unexpected)
    publisher.follow(1.0, 1, changed=True)
    publisher.close()

    assert publisher.check(100.0) == []


def test_the_command_of_a_moved_alias_can_be_run_in_a_shell() -> None:
    assert alias_moved("my churn", "champion", "2", "1", 5).fix.endswith(
        "driftline models promote 'my churn' 2"
    )
    assert alias_moved("m", "champion", "MLflow version 7", "1", 5).fix.endswith(
        "promote m VERSION"
    )
