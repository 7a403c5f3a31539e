"""A user's own model from the command line, on real servers: profile, events, drift, alerts."""

from __future__ import annotations

import csv
import json
import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner, Result

from driftline.cli.app import app
from driftline.stack.child_process import ChildProcess

pytestmark = pytest.mark.kafka

N_ROWS = 6_000
DRIFT_AT = 3_000
TIMEOUT_S = 60.0


class Installation(NamedTuple):
    servers: str
    redis_url: str
    prefix: str

    @property
    def kafka(self) -> list[str]:
        return ["--bootstrap-servers", self.servers, "--prefix", self.prefix]

    def run(self, *words: str, redis: bool = False) -> Result:
        store = ["--redis-url", self.redis_url] if redis else []
        result = CliRunner().invoke(app, [*words, *self.kafka, *store])
        assert result.exit_code == 0, result.output
        return result

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json", redis=True).stdout)
        return found


def write_rows(path: Path, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - the same rows on every run
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["amount", "country", "score", "fraud"])
        for _ in range(N_ROWS):
            score = draw.random()
            country = draw.choice(["DE", "FR", "FR", "US"])
            rows.writerow([round(draw.gauss(40, 9), 3), country, score, int(draw.random() < score)])


@pytest.fixture(scope="module")
def watched(
    kafka_broker: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """An installation whose monitor has read a model's events, which drift from the middle on."""
    own = Installation(kafka_broker, redis_url, f"cli-{uuid.uuid4().hex[:8]}")
    folder = tmp_path_factory.mktemp("own-model")
    training, live, profile = (str(folder / n) for n in ("training.csv", "live.csv", "p.json"))
    write_rows(Path(training), seed=1)
    write_rows(Path(live), seed=2)
    assert own.run("topics", "plan").stdout.count("+ ") == 5
    assert own.run("topics", "create").stdout.count("+ ") == 5
    assert "every topic exists already" in own.run("topics", "create").stdout
    columns = ["--model", "fraud", "--version", "7", "--prediction", "score", "--label", "fraud"]
    built = CliRunner().invoke(app, ["profile", "build", training, "-o", profile, *columns])
    assert built.exit_code == 0, built.output
    own.run("profile", "send", profile)
    drift = ["--inject", f"mean:amount:+2sd@{DRIFT_AT}"]
    sent = own.run("publish", live, *columns, *drift)
    assert "6,000 rows written and acknowledged" in sent.stderr
    arguments = ["monitor", *own.kafka, "--redis-url", redis_url]
    monitor = ChildProcess("monitor", "driftline", [*arguments, "--web-port", "0"], {}, folder)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while sum(p["lag"] + p["waiting_to_be_published"] for p in own.status()["partitions"]):
            assert monitor.exit_code is None, monitor.tail()
            assert time.monotonic() < deadline, monitor.tail()
        yield own
    finally:
        monitor.stop()


def test_the_injected_drift_is_the_reported_one(watched: Installation) -> None:
    tail = watched.run("alerts", "tail", "--from-beginning", "--no-follow", "--json")
    alerts = [json.loads(line) for line in tail.stdout.splitlines()]
    assert [(a["model"], a["feature"], a["phase"]) for a in alerts] == [
        ("fraud", "amount", "started")
    ]
    # The topic holds the model update, then a prediction and its label for every row.
    assert 2 * DRIFT_AT < alerts[0]["detected_offset"] < 2 * DRIFT_AT + 200
    assert abs(alerts[0]["onset_offset"] - 2 * DRIFT_AT) < 200


def test_status_shows_the_position_of_the_monitor(watched: Installation) -> None:
    status = watched.status()
    counted = [row["counters"] for row in status["partitions"]]
    assert sum(c["valid"] + c["late"] for c in counted) == N_ROWS
    assert sum(c["joined"] for c in counted) == N_ROWS
    assert status["models"][0]["model"] == "fraud@7"
    assert status["models"][0]["open"] == ["feature/amount"]
    assert status["windows"][0]["windows"] >= 1
    assert "drifting: feature/amount" in watched.run("status", redis=True).stdout


def test_the_doctor_finds_nothing_serious(watched: Installation) -> None:
    printed = json.loads(watched.run("doctor", "--json", redis=True).stdout)
    by_check = {finding["check"]: finding for finding in printed["findings"]}
    assert printed["worst"] != "problem"
    assert by_check["routing"]["level"] == "ok"
    assert by_check["dead letters"]["found"] == "none"
    assert f"topic {watched.prefix}.events.v1" in by_check


def test_alerts_of_one_model_are_lines_for_people(watched: Installation) -> None:
    words = ["alerts", "tail", "--from-beginning", "--no-follow", "--model"]
    assert "fraud@7  `amount`: mean" in watched.run(*words, "fraud").stdout
    assert watched.run(*words, "another").stdout == ""


def test_a_dry_run_writes_nothing(watched: Installation, tmp_path: Path) -> None:
    write_rows(tmp_path / "more.csv", seed=3)
    columns = ["--model", "fraud", "--version", "7", "--prediction", "score", "--dry-run"]
    ends = [row["end"] for row in watched.status()["partitions"]]
    assert "checked" in watched.run("publish", str(tmp_path / "more.csv"), *columns).stderr
    # Ticks of idle partitions may come meanwhile; 6,000 rows may not.
    assert sum(row["end"] for row in watched.status()["partitions"]) < sum(ends) + 100
