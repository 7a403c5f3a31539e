"""`DriftAlerts` on a real Kafka: each alert once, and again only where the program failed."""

from __future__ import annotations

import asyncio
import uuid

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

import driftline
from driftline import DriftAlert, DriftAlerts
from driftline.topics.topic_reader import MissingTopicError
from stream_monitor.contracts import HEALTH_CE_TYPE
from stream_monitor.runtime.outbound_records import alert_headers
from tests.builders import alert

TIMEOUT_S = 6.0
"""Long enough to join a group on a busy machine."""


class WorkFailed(Exception):  # noqa: N818 - what a user's program may raise
    """The work on an alert failed."""


class Topic:
    def __init__(self, servers: str) -> None:
        self.servers, self.prefix = servers, f"alerts-{uuid.uuid4().hex[:8]}"
        self.name = f"{self.prefix}.alerts.v1"
        admin = AdminClient({"bootstrap.servers": servers})
        admin.create_topics([NewTopic(self.name, 1, 1)])[self.name].result()

    def publish(self, *alerts: DriftAlert) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        for one in alerts:
            producer.produce(self.name, msgspec.json.encode(one), headers=alert_headers(one))
        producer.produce(self.name, b"{}", headers=[("ce_type", HEALTH_CE_TYPE.encode())])
        producer.produce(self.name, b"no alert")
        assert producer.flush(30) == 0

    def read(self, timeout_s: float | None = TIMEOUT_S) -> DriftAlerts:
        return DriftAlerts(
            self.servers, group="my-team", topic_prefix=self.prefix, timeout_s=timeout_s
        )


def named(name: str, **changes: object) -> DriftAlert:
    return alert(alert_id=name, episode_id=name, **changes)


def work(alerts: DriftAlerts, fails_on: str) -> None:
    with alerts:
        for one in alerts:
            if one.alert_id == fails_on:
                raise WorkFailed


@pytest.mark.kafka
def test_each_alert_once_and_the_one_in_work_once_more(kafka_broker: str) -> None:
    topic = Topic(kafka_broker)
    topic.publish(named("a"), named("a"), named("x", drill=True), named("b"), named("c"))

    with pytest.raises(WorkFailed):
        work(topic.read(), fails_on="b")
    with topic.read() as alerts:
        assert next(alerts).alert_id == "b"

    async def rest() -> list[str]:
        async with topic.read() as alerts:
            return [one.alert_id async for one in alerts]

    assert asyncio.run(rest()) == ["c"]
    with topic.read(timeout_s=0.1) as alerts:
        assert list(alerts) == []


@pytest.mark.kafka
@pytest.mark.long
def test_a_cancelled_task_loses_no_alert(kafka_broker: str) -> None:
    topic = Topic(kafka_broker)

    async def run() -> str:
        async with topic.read(timeout_s=None) as alerts:
            waiting = asyncio.ensure_future(anext(alerts))
            await asyncio.sleep(0)
            waiting.cancel()
            topic.publish(named("a"))
            return (await anext(alerts)).alert_id

    assert asyncio.run(run()) == "a"


@pytest.mark.kafka
def test_a_topic_that_does_not_exist_is_named(kafka_broker: str) -> None:
    alerts = DriftAlerts(kafka_broker, group="my-team", topic_prefix="missing", timeout_s=60)

    with pytest.raises(MissingTopicError, match=r"missing\.alerts\.v1"), alerts:
        next(alerts)


def test_the_iterator_is_a_public_name() -> None:
    assert "DriftAlerts" in driftline.__all__
    assert driftline.DriftAlerts is DriftAlerts
