"""Every fenced block of README and docs runs: here, in a test that is named, or not for a reason.

`tests/architecture/test_documents.py` fails for a block or a command that is new, and in none of
the tables below.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.notify.settings import Settings as NotifierSettings
from stream_monitor.settings import Settings
from tests.e2e.document_blocks import DOCUMENTS, ROOT, Unit, units_of

N: Final = 51_000
EXIT_CHECK_FAILED: Final = 3


class By(NamedTuple):
    """A test that runs the unit, and a text of that test which shows it."""

    test: str
    text: str


ON_FILES: Final[dict[str, int]] = {
    "driftline init churn --from train.csv --prediction score --label churned": 0,
    "driftline check last_month.csv this_month.csv --fail-on drift": EXIT_CHECK_FAILED,
    "driftline check last_month.parquet today.parquet --fail-on drift": EXIT_CHECK_FAILED,
    "driftline check last_month.parquet today.parquet --html check.html": EXIT_CHECK_FAILED,
    "driftline replay traffic.csv --reference first:10% --time at": 0,
    "driftline replay traffic.csv --reference first:10% --inject mean:temp:+0.5sd@50000": 0,
    "driftline replay traffic.csv --inject mean:temp:+0.5sd@50000": 0,
    "driftline replay traffic.csv --config new.toml": 0,
    "driftline replay traffic.csv --reference profile.json": 0,
    "driftline replay traffic.csv --time at --html replay.html": 0,
    "driftline replay traffic.csv --prediction score --label churned --positive yes "
    "--categorical shop,plan": 0,
    "driftline inspect traffic.csv": 0,
    "driftline explain calibration traffic.csv": 0,
    "driftline explain power traffic.csv --rate 1000": 0,
}
"""Commands on files, with their exit codes; `folder` has the files."""

_ACTIONS: Final = "tests/e2e/test_alert_actions.py"
_UP: Final = "tests/e2e/test_up.py"
_DOCTOR: Final = "tests/integration/test_doctor_faults.py"
_BROWSER: Final = "tests/e2e/test_dashboard_browser.py"
_PERMISSIONS: Final = "tests/integration/test_kafka_permissions.py"
IN_NOTEBOOK: Final = ("import driftline", "from driftline import init")
"""Blocks that run here with frames, by their first line."""
ELSEWHERE: Final[dict[str, By]] = {
    "make demo": By("tests/e2e/test_demo.py", '"demo"'),
    "driftline up": By(_UP, '"up"'),
    "driftline profile send churn-1.profile.json": By(_UP, '"churn-1.profile.json"'),
    "python log_predictions.py": By(_UP, '"log_predictions.py"'),
    "driftline publish live.csv --model churn --version 1 --prediction score "
    "--inject mean:tenure:+1sd@5000": By("tests/e2e/test_command_line.py", '"publish"'),
    "driftline topics create": By("tests/integration/test_topic_registry.py", '"create"'),
    "driftline monitor": By("tests/e2e/test_command_line.py", '"monitor"'),
    "driftline doctor": By(_DOCTOR, '"doctor"'),
    "driftline alerts tail": By("tests/e2e/test_command_line.py", '"tail"'),
    "driftline alerts list": By(_ACTIONS, '"list"'),
    "driftline alerts acknowledge EPISODE --user ana": By(_ACTIONS, '"acknowledge"'),
    "driftline alerts snooze EPISODE --for 2h": By(_ACTIONS, '"snooze"'),
    "driftline alerts resolve EPISODE": By(_ACTIONS, '"resolve"'),
    "driftline incidents list": By(_ACTIONS, '"incidents"'),
    "driftline incidents show INCIDENT": By(_ACTIONS, '"show"'),
    "driftline incidents resolve INCIDENT": By(_ACTIONS, '"resolve"'),
    "driftline incidents digest --since 7d": By(_ACTIONS, '"digest"'),
    "driftline coverage churn": By(_PERMISSIONS, '"coverage"'),
    "driftline train": By("tests/integration/trainer_harness.py", '"train"'),
    "driftline train --model churn --factory my_package.churn:build": By(
        "tests/integration/trainer_harness.py", '"--factory"'
    ),
    "driftline dashboard": By(_BROWSER, '"dashboard"'),
    "driftline dashboard --port 0": By(_BROWSER, '"dashboard"'),
    "docker compose -f infra/compose.yaml up -d --wait": By(
        "tests/e2e/test_compose.py", '"up", "-d", "--wait"'
    ),
    "driftline notify": By("tests/integration/test_notifier.py", '"notify"'),
    "driftline notify --test all": By("tests/integration/test_notify_delivery.py", '"--test"'),
    "driftline backtest events.parquet --time at --label late --factory my_package.churn:build "
    "--train first:5000 --label-delay 500events --plot backtest.png": By(
        "tests/e2e/test_backtest.py", '"--factory"'
    ),
    "driftline drill churn --inject mean:age:+2sd": By(
        "tests/e2e/test_drill_on_servers.py", '"drill"'
    ),
    "driftline replay topic:driftline.events.v1 --model flights-late": By(
        "tests/e2e/test_replay_topic.py", "topic:"
    ),
    "driftline explain power churn": By("tests/e2e/test_explain.py", "explained_by_its_name"),
    "driftline report flights-late --since 7d --html report.html": By(_BROWSER, '"report"'),
    'curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8765/api/v1/ev': By(
        "tests/integration/test_http_write.py", "/api/v1/events"
    ),
    "from driftline import InferenceLogger, announce, profile_from_frame": By(
        "tests/integration/test_examples.py", "PYTHON_WITH_KAFKA"
    ),
    "log = InferenceLogger(": By("tests/integration/test_examples.py", "PYTHON_WITH_KAFKA"),
    "from trainer.registry.mlflow_registry import MlflowRegistry": By(
        "tests/integration/test_trainer_mlflow.py", "registry=registry"
    ),
    "mlflow server --backend-store-uri sqlite:///mlflow.db --artifacts-destination ./artifacts": By(
        "tests/mlflow_server.py", '"--artifacts-destination"'
    ),
    "from driftline import DriftAlerts": By(
        "tests/integration/test_drift_alerts.py", "DriftAlerts("
    ),
    'with ChampionModel("churn", bootstrap_servers=..., registry=Path(...),': (
        By("tests/integration/test_serving_champion.py", "shadow=True")
    ),
    "frame = pyarrow.ipc.open_stream(record.value()).read_pandas()": By(
        "tests/unit/test_arrow_batch.py", "READERS[library]"
    ),
    '"""The check for lost decimals: a feature is sent in integers, unlike ': By(
        "tests/unit/test_adding_a_check.py", "THE_FILE"
    ),
    "integer_value_checks,": By("tests/unit/test_adding_a_check.py", "THE_LINE"),
    "from stream_monitor.core.version import VersionMonitor": By(
        "tests/unit/test_adding_a_check.py", "THE_TEST"
    ),
}
NOT_RUN: Final[dict[str, str]] = {
    "export KAFKA_BOOTSTRAP_SERVERS=... REDIS_URL=...": "sets the addresses of own servers",
    "export DRIFTLINE_TRAINER__REGISTRY__MLFLOW_URI=http://127.0.0.1:5000": "sets an address; "
    "tests/integration/test_trainer_mlflow.py sets that of its server",
    "docker compose -f infra/compose.yaml --profile observability up -d": "CI has no container "
    "engine; `make lint` checks the file",
    "DRIFTLINE_DASHBOARD_TOKEN_FILE=/run/secrets/dashboard driftline dashboard": "the path of a "
    "secret; tests/unit/test_dashboard_write.py uses tokens",
    "Kafka     Apache Kafka 4.3.1 (Java 17) on 127.0.0.1:36917": "output of the demo",
    "coverage in the hour before 2026-11-28 22:40Z": "output",
    '{"what":"event 1 of 2 is invalid (the first is 0); nothing was written': (
        "output; tests/integration/test_http_write.py has the rule"
    ),
    "make install": "CI runs the tests with it",
    "make lint": "CI runs it",
    "make test": "CI runs it",
    "make test-all": "longer than CI may take",
    ".ci/run": "CI runs it",
}
UNITS: Final = {
    (unit.language, unit.name): unit for document in DOCUMENTS for unit in units_of(document)
}


def is_known(unit: Unit) -> bool:
    is_checked = unit.language in ("toml", "json") or unit.name.startswith("pip install ")
    is_run_here = unit.name in ON_FILES or unit.name in IN_NOTEBOOK
    return is_checked or is_run_here or unit.name in ELSEWHERE or unit.name in NOT_RUN


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_test_that_is_named_runs_it(name: str) -> None:
    by = ELSEWHERE[name]
    assert by.text in (ROOT / by.test).read_text("utf-8")


def test_every_extra_that_is_installed_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = {extra for _, name in UNITS for extra in re.findall(r"^pip .*driftline\[(\w+)\]", name)}
    assert named
    assert named <= project["optional-dependencies"].keys()


@pytest.mark.parametrize("name", [name for language, name in UNITS if language == "toml"])
def test_the_settings_of_a_block_are_accepted(name: str, tmp_path: Path) -> None:
    file = tmp_path / "driftline.toml"
    file.write_text(UNITS["toml", name].text)

    settings = Settings.load(file)
    settings.monitor_spec()
    settings.drift_limits()
    assert (
        NotifierSettings.load(file).notify.targets.keys()
        == settings.notify.get("targets", {}).keys()
    )


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    score = rng.uniform(0, 1, N)
    return pd.DataFrame(
        {
            "at": pd.date_range("2026-01-01", periods=N, freq="min").strftime("%Y-%m-%dT%H:%M:%SZ"),
            "temp": rng.normal(20, 5, N).round(2),
            "tenure": rng.integers(1, 60, N),
            "shop": rng.integers(1, 9, N),
            "plan": rng.choice(["free", "pro", "team"], N),
            "score": score.round(3),
            "churned": np.where(rng.uniform(0, 1, N) < score, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def folder(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the documents name.  The later month differs."""
    folder = tmp_path_factory.mktemp("documents")
    frame.to_csv(folder / "long_traffic.csv", index=False)
    frame.iloc[:8_000].to_csv(folder / "short_traffic.csv", index=False)
    early, late = frame.iloc[:10_000], frame.iloc[10_000:20_000]
    late = late.assign(temp=late["temp"] + 10)
    early.assign(churned=(early["churned"] == "yes").astype(int)).drop(columns="at").to_csv(
        folder / "train.csv", index=False
    )
    for name, rows in (("last_month", early), ("this_month", late), ("today", late)):
        rows.to_csv(folder / f"{name}.csv", index=False)
        rows.to_parquet(folder / f"{name}.parquet")
    (folder / "new.toml").write_text("[budget]\nper_events = 100_000\n")
    options = "--prediction score --label churned --folder own --from train.csv"
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, ["init", "churn", *options.split()])
    assert done.exit_code == 0, done.output
    (folder / "own" / "churn-1.profile.json").rename(folder / "profile.json")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", ON_FILES)
def test_a_command_on_files_does_what_the_document_shows(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "traffic.csv").unlink(missing_ok=True)
    (folder / "traffic.csv").symlink_to(
        "long_traffic.csv" if "@50000" in command else "short_traffic.csv"
    )
    done = CliRunner().invoke(app, command.split()[1:])
    assert done.exit_code == ON_FILES[command], done.output
    for name in re.findall(r"--html (\S+)", command):
        assert "<html" in (folder / name).read_text("utf-8")


@pytest.mark.slow
def test_the_report_of_two_frames_is_shown_in_a_notebook(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"last_month": frame.iloc[:5_000], "today": frame.iloc[5_000:10_000]}
    exec(UNITS["python", "import driftline"].text, names)  # noqa: S102 - our own document
    assert "srcdoc" in names["found"]._repr_html_()
    assert "<svg" in (tmp_path / "check.html").read_text("utf-8")


@pytest.mark.slow
def test_the_first_files_of_a_frame_are_written_and_described(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"train": pd.read_csv(folder / "train.csv")}
    exec(UNITS["python", "from driftline import init"].text, names)  # noqa: S102 - our own document
    assert (tmp_path / "churn-1.profile.json").read_bytes() == (
        folder / "profile.json"
    ).read_bytes()
    assert "python log_predictions.py" in repr(names["made"])
