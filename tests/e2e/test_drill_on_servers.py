"""A drill on real servers: found, reported, marked, ignored by the trainer, and removed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from driftline.cli.app import app
from driftline.monitor_state.served_profile import known_models, served_profile
from producer.events import InferenceEvent, ModelUpdate
from producer.synthetic import is_synthetic_copy_of, synthetic_name
from stream_monitor.contracts import DriftAlert
from stream_monitor.reference.profile import profile_to_data
from tests.integration.monitor_harness import MonitorHarness, until
from tests.integration.read_topic import read_topic
from trainer.policy.decide import History, decide
from trainer.policy.retrain_policy import RetrainPolicy

pytestmark = pytest.mark.kafka

WARM_UP = 1_000  # as the stage has it
RNG = random.Random(4)  # noqa: S311
NUMBERS = itertools.count()


def event() -> InferenceEvent:
    """Nothing ever changes in these."""
    return InferenceEvent(
        id=f"live-{next(NUMBERS)}",
        model="churn",
        version="7",
        time_ms=round(time.time() * 1000),
        features={"age": RNG.gauss(40, 10), "plan": RNG.choice(("free", "pro", "team"))},
        prediction=RNG.random(),
    )


@pytest.fixture(scope="module")
def harness(kafka_broker: str, redis_url: str) -> Iterator[MonitorHarness]:
    harness = MonitorHarness(kafka_broker, redis_url)
    try:
        harness.start()
        harness.produce("churn", [event() for _ in range(WARM_UP + 10)])
        until(lambda: harness.drained(WARM_UP + 10), "the model has a reference", seconds=90)
        yield harness
    finally:
        harness.close()


@contextlib.contextmanager
def traffic(harness: MonitorHarness) -> Iterator[None]:
    """A few hundred events a second, for as long as it is open."""
    over = threading.Event()

    def serve() -> None:
        while not over.wait(0.02):
            harness.produce("churn", [event() for _ in range(10)])

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield
    finally:
        over.set()
        server.join()


def place(harness: MonitorHarness, *, redis: bool = True) -> list[str]:
    printed = ["--bootstrap-servers", harness.broker, "--prefix", harness.prefix]
    return [*printed, "--redis-url", harness.redis_url] if redis else printed


def drill(harness: MonitorHarness, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["drill", *arguments, *place(harness)])


def printed(harness: MonitorHarness, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, *place(harness, redis=False)])
    assert done.exit_code == 0, done.output
    return done.stdout


def shadows(harness: MonitorHarness) -> set[str]:
    found = (
        known_models(harness.redis, harness.topics.events, p) for p in range(harness.partitions)
    )
    return {name for names in found for name in names if is_synthetic_copy_of(name, "churn")}


def is_anywhere(harness: MonitorHarness, synthetic_model: str) -> bool:
    fields = [
        name for p in range(harness.partitions) for name in harness.redis.hkeys(harness.key(p))
    ]
    keys = harness.redis.scan_iter(f"{harness.prefix}:*")
    return any(synthetic_model.encode() in name for name in (*fields, *keys))


def test_a_change_is_found_and_marked_as_a_drill_and_nothing_stays(harness: MonitorHarness) -> None:
    with traffic(harness):
        done = drill(harness, "churn", "--inject", "mean:age:+2sd", "--timeout", "40s", "--json")

    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    synthetic_model = report["synthetic_model"]
    assert is_synthetic_copy_of(synthetic_model, "churn")
    assert (report["found"], report["unchanged_events"], report["false_alerts"]) == (True, 100, [])
    assert 0 < report["signal_events"] <= report["alert_events"] <= report["changed_events"]
    assert 0 < report["latency_s"] <= report["alert_s"]
    assert report["expected_low_events"] < report["expected_high_events"]
    until(lambda: not is_anywhere(harness, synthetic_model), "nothing of the shadow is left")
    alerts_and_coverage = [
        msgspec.json.decode(message.value() or b"", type=DriftAlert)
        for message in read_topic(harness.broker, harness.topics.alerts)
    ]
    alerts = [one for one in alerts_and_coverage if one.kind != "coverage"]  # of the live model
    assert {(alert.model, alert.drill) for alert in alerts} == {(synthetic_model, True)}
    assert [a.phase for a in alerts if a.feature == "age"][-1] == "superseded"
    decisions = {decide(alert, History(), RetrainPolicy())[:2] for alert in alerts}
    assert decisions == {("ignore", "drill")}
    tail = ("alerts", "tail", "--from-beginning", "--no-follow")
    without = printed(harness, *tail)  # alerts of the live model's coverage may stand there
    assert not any(word in without for word in (synthetic_model, "DRILL", " `age`:"))
    assert "DRILL `age`: mean" in printed(harness, *tail, "--include-drills")
    assert printed(harness, "incidents", "list", "--all", "--json") == ""


def test_an_unknown_model_or_feature_lists_the_known_ones_and_nothing_is_left(
    harness: MonitorHarness,
) -> None:
    unknown = drill(harness, "chrun", "--inject", "mean:age:+1sd")
    assert unknown.exit_code == 2
    assert "one of churn" in unknown.stderr
    nothing = drill(harness, "churn", "--inject", "mean:weight:+1sd")
    assert nothing.exit_code == 2
    assert "one of age, plan" in nothing.stderr

    silent = drill(harness, "churn", "--inject", "mean:age:+1sd", "--timeout", "1s", "--json")
    assert silent.exit_code == 3
    assert json.loads(silent.stdout)["why"] in silent.stderr
    assert "no event of churn@7 arrived within 1 s" in silent.stderr
    until(lambda: not shadows(harness), "all shadows are forgotten")

    left = synthetic_name("churn", "0123456789ab")
    partitions = range(harness.partitions)
    profile = served_profile(harness.redis, harness.topics.events, partitions, "churn")
    data = profile_to_data(msgspec.structs.replace(profile, model=left))
    update = ModelUpdate(id="left", model=left, version="7", time_ms=0, profile=data)
    harness.produce("churn", [update])
    until(lambda: shadows(harness) == {left}, "a drill that was killed left its shadow")
    assert "1 synthetic model of churn removed" in drill(harness, "churn", "--clean").stderr
    until(lambda: not shadows(harness), "it is forgotten")


def test_a_drill_that_is_interrupted_cleans_up(harness: MonitorHarness) -> None:
    running = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "driftline",
            "drill",
            "churn",
            "--inject",
            "mean:age:+1sd",
            *place(harness),
        ],
        env=os.environ.copy(),
        stderr=subprocess.DEVNULL,
    )
    until(lambda: bool(shadows(harness)), "the shadow is known", seconds=90)

    running.send_signal(signal.SIGTERM)

    assert running.wait(60) == 130
    until(lambda: not shadows(harness), "it is forgotten")
