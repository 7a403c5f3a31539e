"""The examples do what they show."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream_monitor.contracts import DriftAlert
from stream_monitor.runtime.outbound_records import alert_headers

EXAMPLES = Path(__file__).parents[2] / "examples"
ALERTS = (EXAMPLES.parent / "docs" / "alerts.md").read_text("utf-8")


def documented_alert() -> DriftAlert:
    block = ALERTS.split("```json\n")[1].split("```")[0]
    return msgspec.json.decode(block, type=DriftAlert)


def test_the_factory_returns_a_model_for_numbers_categories_and_missing_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from churn_factory import build  # type: ignore[import-not-found]  # noqa: PLC0415

    tenure = np.arange(400.0)
    frame = pd.DataFrame(
        {"tenure": np.where(tenure % 50 == 0, np.nan, tenure), "plan": ["free", "pro"] * 200}
    )
    model = build().fit(frame, (tenure < 200).astype(int))
    unknown = pd.DataFrame({"tenure": [3.0, 390.0], "plan": ["team", "pro"]})
    assert list(model.predict(unknown)) == [1, 0]


@pytest.mark.kafka
def test_the_consumer_prints_each_episode_once(kafka_broker: str) -> None:
    """A repeat, a later phase, a drill and a health event print nothing."""
    topic = f"alerts-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka_broker})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    alert = documented_alert()
    last = msgspec.structs.replace(alert, alert_id="last", explanation="the last one")
    producer = Producer({"bootstrap.servers": kafka_broker})
    for record in (
        alert,
        alert,
        msgspec.structs.replace(alert, alert_id="later", phase="recovered"),
        msgspec.structs.replace(alert, alert_id="drill", drill=True),
        last,
    ):
        producer.produce(topic, msgspec.json.encode(record), headers=alert_headers(record))
    producer.produce(topic, b"{}", headers=[("ce_type", b"io.driftline.health.v1")])
    assert producer.flush(30) == 0

    command = [sys.executable, str(EXAMPLES / "alert_consumer.py"), kafka_broker, topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as consumer:
        assert consumer.stdout is not None
        lines = [consumer.stdout.readline().rstrip(), consumer.stdout.readline().rstrip()]
        consumer.terminate()
    prefix = f"{alert.severity:6} {alert.model}@{alert.version}"
    assert lines == [f"{prefix} {alert.explanation}", f"{prefix} {last.explanation}"]
