"""Events and labels over HTTP, in the event topic of a real Kafka."""

from __future__ import annotations

import msgspec
import pytest
from confluent_kafka import Message
from fastapi import FastAPI

from driftline.dashboard.write_api import Accepted, WriteApi
from driftline.topics.topic_registry import create_topics, load_registry
from producer.cloudevents import ce_type_of
from producer.codec import decode
from producer.events import InferenceEvent, Label
from producer.routing import topic_names
from stream_monitor.ingest.records import RecordBatch
from stream_monitor.runtime.reader import records_of
from stream_monitor.settings import Settings
from stream_monitor.shared_settings import KafkaSettings, TopicSettings
from stream_monitor.state.partition_state import PartitionStateFactory
from tests.asgi_requests import post
from tests.integration.read_topic import read_topic

pytestmark = pytest.mark.kafka
N_EVENTS = 300


@pytest.fixture
def settings(kafka_broker: str) -> Settings:
    found = Settings(
        kafka=KafkaSettings(bootstrap_servers=kafka_broker),
        topics=TopicSettings(prefix="httpwrite"),
    )
    create_topics(found.kafka.client(), load_registry("httpwrite"))
    return found


def accepted(app: FastAPI, body: object, path: str) -> list[str]:
    [answer] = post(app, body, path=path)
    assert answer.status_code == 202, answer.text
    return msgspec.json.decode(answer.content, type=Accepted).ids


def test_events_arrive_with_their_ids_and_labels_join(settings: Settings) -> None:
    app = FastAPI()
    app.include_router(WriteApi(settings, "secret").routes())
    event = {"model": "churn", "version": "3", "features": {"x": 1.5}, "prediction": 0.4}
    events = [{**event, "features": {"x": float(i % 7)}} for i in range(N_EVENTS)]

    ids = accepted(app, events, "/api/v1/events")
    ids += accepted(app, event, "/monitor/predict")
    labels = [{"id": each, "model": "churn", "label": 1} for each in ids]
    [answer] = post(app, [event, {**event, "version": ""}])
    assert answer.status_code == 422, answer.text
    assert accepted(app, labels, "/api/v1/labels") == ids
    assert accepted(app, labels[0], "/api/v1/labels") == ids[:1]

    records = read_topic(settings.kafka.bootstrap_servers, topic_names("httpwrite").events)
    written = [(decode(m.value() or b"", ce_type_of(m)), m) for m in records]
    assert [e.id for e, _ in written if isinstance(e, InferenceEvent)] == ids
    assert [e.id for e, _ in written if isinstance(e, Label)] == [*ids, ids[0]]
    assert _joined(settings, records) == len(ids)


def _joined(settings: Settings, records: list[Message]) -> int:
    """The labels that the monitor joins, reading the records of the model's partition."""
    [partition] = {message.partition() or 0 for message in records}
    found = records_of(records)
    state = PartitionStateFactory(settings.monitor_spec(), "p").new("t", partition)
    state.observe(RecordBatch("t", partition, "e", 0, found[-1].offset + 1, found))
    return state.monitor.models["churn"].labels.counts.joined
