"""A broker inside librdkafka, for tests of clients that need no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer


@pytest.fixture
def mock_broker() -> Iterator[str]:
    """Address of librdkafka's mock cluster; it lives as long as this fixture."""
    host = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored", "log_level": 0})
    broker = next(iter(host.list_topics(timeout=10).brokers.values()))
    yield f"{broker.host}:{broker.port}"
    host.flush(1)
