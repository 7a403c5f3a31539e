"""Shared fixtures: a broker inside librdkafka, and a trainer's context and database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer

from driftline.topics import topic_reader, topic_registry
from producer import kafka_client
from tests.unit.trainer_alerts import trainer_context_in
from trainer.jobs.database import Database
from trainer.service.context import TrainerContext


@pytest.fixture
def mock_broker() -> Iterator[str]:
    """Address of librdkafka's mock cluster; it lives as long as this fixture."""
    host = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored", "log_level": 0})
    broker = next(iter(host.list_topics(timeout=10).brokers.values()))
    yield f"{broker.host}:{broker.port}"
    host.flush(1)


@pytest.fixture
def short_kafka_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """For commands that find no Kafka: the error is the same, sooner."""
    monkeypatch.setattr(kafka_client, "AUTH_ERROR_WAIT_S", 0.3)
    monkeypatch.setattr(topic_registry, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(topic_reader, "METADATA_TIMEOUT_S", 0.3)


@pytest.fixture
def context(tmp_path: Path) -> TrainerContext:
    """The context of a trainer with an empty data directory."""
    return trainer_context_in(tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """The file of that home."""
    with closing(Database(tmp_path)) as database:
        yield database
