"""All processes work with a password or a certificate; without one the error names the cause."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driftline.serving import ChampionModel
from producer.events import Event
from producer.logger import InferenceLogger
from stream_monitor.runtime.poison_records import MAX_ATTEMPTS
from tests.cases.command_runner import run_or_start
from tests.integration.monitor_harness import (
    MODELS,
    SHORT_SESSION,
    MonitorHarness,
    assert_undisturbed,
    log_of,
    until,
)
from tests.integration.secured_kafka import SecuredKafka, Settings, secured_kafka
from tests.integration.trainer_harness import MODEL, N_AFTER, N_BEFORE, TrainerHarness

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def secured(kafka_from_jars: None) -> Iterator[SecuredKafka]:  # noqa: ARG001 - it must be there
    with secured_kafka() as kafka:
        yield kafka


def environment(address: str, librdkafka: Settings) -> dict[str, str]:
    return {
        "DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS": address,
        "DRIFTLINE_KAFKA__LIBRDKAFKA": json.dumps(librdkafka),
    }


@pytest.mark.parametrize(
    "door",
    [
        pytest.param("PLAIN", marks=pytest.mark.long),
        pytest.param("SCRAM", marks=pytest.mark.smoke),
        pytest.param("certificate", marks=pytest.mark.long),
    ],
)
def test_a_monitor_reads_writes_and_goes_carefully(
    secured: SecuredKafka, redis_url: str, door: str
) -> None:
    """Its consumers and its group membership have credentials of their own."""
    harness = MonitorHarness(secured.open_at, redis_url)
    at = environment(*secured.doors[door])
    without_ticks = {**SHORT_SESSION, "DRIFTLINE_KAFKA__TICK_AFTER_S": "600"}
    log: list[Event | bytes] = list(log_of(MODELS[0], 1, 600))
    try:
        first = harness.start(**at, **without_ticks)
        harness.produce(MODELS[0], log[:400])
        until(lambda: harness.drained(400), "what came first is read")
        first.kill()
        first.wait()
        harness.produce(MODELS[0], log[400:])
        for partition in range(harness.partitions):  # as if others had died there
            harness.redis.hset(harness.key(partition), "_acqnext", harness.next(partition))
            harness.redis.hset(harness.key(partition), "_att", MAX_ATTEMPTS)
        second = harness.start(**at, **without_ticks)
        until(lambda: harness.drained(len(log)), "all is read and the outbox is out")
        second.terminate()
        assert second.wait(60) == 0
        assert_undisturbed(harness)
    finally:
        harness.close()


@pytest.mark.parametrize("door", ["SCRAM", pytest.param("certificate", marks=pytest.mark.long)])
def test_commands_and_loggers_get_in(secured: SecuredKafka, redis_url: str, door: str) -> None:
    address, librdkafka = secured.doors[door]
    settings = {
        **environment(address, librdkafka),
        "DRIFTLINE_REDIS__URL": redis_url,
        "DRIFTLINE_TOPICS__PREFIX": f"secured-{door.lower()}",
    }
    assert run_or_start(settings, "topics", "create").code == 0
    with InferenceLogger(
        address,
        model="m",
        version="1",
        topic_prefix=settings["DRIFTLINE_TOPICS__PREFIX"],
        librdkafka=librdkafka,
    ) as logger:
        for number in range(100):
            logger.log(features={"x": number}, prediction=0.5)
    assert logger.counters().delivered == 100

    looked = run_or_start(settings, "doctor", "--json")
    problems = [f for f in looked.json()["findings"] if f["level"] == "problem"]
    assert [f["fix"] for f in problems] == ["start a worker: driftline monitor"], problems
    for arguments in (("status",), ("alerts", "list")):
        output = run_or_start(settings, *arguments)
        assert output.code == 0, output.err


@pytest.mark.long
def test_a_trainer_retrains_and_a_server_swaps(secured: SecuredKafka, tmp_path: Path) -> None:
    address, librdkafka = secured.doors["SCRAM"]
    harness = TrainerHarness(secured.open_at, tmp_path / "data_dir")
    try:
        with ChampionModel(
            MODEL,
            bootstrap_servers=address,
            registry=harness.data_dir / "registry",
            topic_prefix=harness.prefix,
            librdkafka=librdkafka,
        ) as model:
            assert model.wait(timeout_s=60).version == "1"
            harness.publish(N_BEFORE, turned=False)
            harness.publish(N_AFTER, turned=True)
            harness.alert(1, partition=next(iter(harness.updates()))[0])
            harness.start(**environment(address, librdkafka))  # type: ignore[arg-type]
            until(lambda: model.current().version == "2", "the challenger serves")
    finally:
        harness.close()


def wrong(secured: SecuredKafka, what: str) -> tuple[str, Settings]:
    address, librdkafka = secured.doors["certificate" if "certificate" in what else "PLAIN"]
    changes: dict[str, Any] = {
        "password": {"sasl.password": "guessed"},
        "authority": {"ssl.ca.location": str(secured.folder / "other-ca.pem")},
        "certificate of a stranger": {
            "ssl.certificate.location": str(secured.folder / "stranger.pem"),
            "ssl.key.location": str(secured.folder / "stranger.pem"),
        },
        "mechanism": {"sasl.mechanism": "OAUTHBEARER"},
        "setting": {"no.such.setting": "1"},
        "file": {"ssl.ca.location": str(secured.folder / "nowhere.pem")},
    }[what]
    return address, librdkafka | changes


@pytest.mark.parametrize(
    ("what", "code", "reported"),
    [
        pytest.param("password", 4, "uthentication failed", marks=pytest.mark.long),
        pytest.param("authority", 4, "certificate", marks=pytest.mark.long),
        pytest.param("certificate of a stranger", 4, "certificate", marks=pytest.mark.long),
        ("mechanism", 2, "OAUTHBEARER is not supported"),
        ("setting", 2, "no.such.setting"),
        ("file", 2, "ssl.ca.location"),
    ],
)
def test_an_authentication_error_names_its_reason(
    secured: SecuredKafka, what: str, code: int, reported: str
) -> None:
    settings = environment(*wrong(secured, what))
    commands = [("monitor",), ("alerts", "list"), ("doctor",)]
    if what == "mechanism":  # librdkafka knows it
        commands = [("monitor",)]
    elif "stranger" in what:  # that a broker hangs up is not believed at once
        commands = [("doctor",)]
    for arguments in commands:
        output = run_or_start(settings, *arguments)
        assert output.code == (4 if arguments == ("doctor",) else code), arguments
        assert reported in output.out + output.err, arguments
        assert "Traceback" not in output.err
