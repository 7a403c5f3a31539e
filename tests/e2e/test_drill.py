"""A drill on real servers: found, told, marked, unheard by the trainer, and gone."""

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

from driftline.cli import app
from driftline.drill.live import live_profile, models_in
from producer.drill import is_shadow_of, shadow_of
from producer.events import InferenceEvent, ModelUpdate
from stream_monitor.contracts import DriftAlert
from stream_monitor.reference.profile import profile_to_data
from tests.integration.monitor_stage import Stage, until
from tests.integration.topic_reading import read_topic
from trainer.decision import History, RetrainSpec, decide

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
def stage(kafka_broker: str, redis_url: str) -> Iterator[Stage]:
    stage = Stage(kafka_broker, redis_url)
    try:
        stage.start()
        stage.produce("churn", [event() for _ in range(WARM_UP + 10)])
        until(lambda: stage.drained(WARM_UP + 10), "the model has a reference", seconds=90)
        yield stage
    finally:
        stage.close()


@contextlib.contextmanager
def traffic(stage: Stage) -> Iterator[None]:
    """A few hundred events a second, for as long as it is open."""
    over = threading.Event()

    def serve() -> None:
        while not over.wait(0.02):
            stage.produce("churn", [event() for _ in range(10)])

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield
    finally:
        over.set()
        server.join()


def place(stage: Stage, *, redis: bool = True) -> list[str]:
    told = ["--bootstrap-servers", stage.broker, "--prefix", stage.prefix]
    return [*told, "--redis-url", stage.redis_url] if redis else told


def drill(stage: Stage, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["drill", *arguments, *place(stage)])


def told(stage: Stage, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, *place(stage, redis=False)])
    assert done.exit_code == 0, done.output
    return done.stdout


def shadows(stage: Stage) -> set[str]:
    found = (models_in(stage.redis, stage.topics.events, p) for p in range(stage.partitions))
    return {name for names in found for name in names if is_shadow_of(name, "churn")}


def is_anywhere(stage: Stage, shadow: str) -> bool:
    fields = [name for p in range(stage.partitions) for name in stage.redis.hkeys(stage.key(p))]
    keys = stage.redis.scan_iter(f"{stage.prefix}:*")
    return any(shadow.encode() in name for name in (*fields, *keys))


def test_a_change_is_found_told_as_a_drill_and_nothing_stays(stage: Stage) -> None:
    with traffic(stage):
        done = drill(stage, "churn", "--inject", "mean:age:+2sd", "--timeout", "40s", "--json")

    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    shadow = report["shadow"]
    assert is_shadow_of(shadow, "churn")
    assert (report["found"], report["unchanged_events"], report["false_alerts"]) == (True, 100, [])
    assert 0 < report["signal_events"] <= report["alert_events"] <= report["changed_events"]
    assert 0 < report["latency_s"] <= report["alert_s"]
    assert report["expected_low_events"] < report["expected_high_events"]
    until(lambda: not is_anywhere(stage, shadow), "nothing of the shadow is left")
    told_of = [
        msgspec.json.decode(message.value() or b"", type=DriftAlert)
        for message in read_topic(stage.broker, stage.topics.alerts)
    ]
    alerts = [one for one in told_of if one.kind != "coverage"]  # of the live model
    assert {(alert.model, alert.drill) for alert in alerts} == {(shadow, True)}
    assert [a.phase for a in alerts if a.feature == "age"][-1] == "superseded"
    decisions = {decide(alert, History(), RetrainSpec())[:2] for alert in alerts}
    assert decisions == {("ignore", "drill")}
    tail = ("alerts", "tail", "--from-beginning", "--no-follow")
    without = told(stage, *tail)  # what is said of the live model's coverage may stand there
    assert not any(word in without for word in (shadow, "DRILL", " age:"))
    assert "DRILL age: mean" in told(stage, *tail, "--drills")
    assert told(stage, "incidents", "list", "--all", "--json") == ""


def test_what_is_not_found_says_why_and_what_is_left_is_forgotten(stage: Stage) -> None:
    unknown = drill(stage, "chrun", "--inject", "mean:age:+1sd")
    assert unknown.exit_code == 2
    assert "one of churn" in unknown.stderr
    nothing = drill(stage, "churn", "--inject", "mean:weight:+1sd")
    assert nothing.exit_code == 2
    assert "one of age, plan" in nothing.stderr

    silent = drill(stage, "churn", "--inject", "mean:age:+1sd", "--timeout", "1s", "--json")
    assert silent.exit_code == 3
    assert json.loads(silent.stdout)["why"] in silent.stderr
    assert "no event of churn@7 arrived within 1 s" in silent.stderr
    until(lambda: not shadows(stage), "all shadows are forgotten")

    left = shadow_of("churn", "0123456789ab")
    partitions = range(stage.partitions)
    profile = live_profile(stage.redis, stage.topics.events, partitions, "churn")
    data = profile_to_data(msgspec.structs.replace(profile, model=left))
    update = ModelUpdate(id="left", model=left, version="7", time_ms=0, profile=data)
    stage.produce("churn", [update])
    until(lambda: shadows(stage) == {left}, "a drill that was killed left its shadow")
    assert "1 shadows of churn are forgotten" in drill(stage, "churn", "--clean").stderr
    until(lambda: not shadows(stage), "it is forgotten")


def test_a_drill_that_is_interrupted_cleans_up(stage: Stage) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "driftline", "drill", "churn", "--inject", "mean:age:+1sd",
         *place(stage)],
        env=os.environ.copy(), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: bool(shadows(stage)), "the shadow is known", seconds=90)

    running.send_signal(signal.SIGTERM)

    assert running.wait(60) == 130
    until(lambda: not shadows(stage), "it is forgotten")
