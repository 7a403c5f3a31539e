"""The examples do what they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import numpy as np
import pandas as pd
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from driftline.topics.topic_reader import Record, TopicReader
from driftline.topics.topic_registry import create_topics, load_registry
from producer.events import CE_TYPE_OF, InferenceEvent, Label
from producer.logger import InferenceLogger
from stream_monitor.contracts import DriftAlert
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.runtime.outbound_records import alert_headers
from tests.e2e.document_blocks import units_of
from trainer.contracts import ModelVersion
from trainer.registry import artifact
from trainer.registry.registry import Registry

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
ALERTS: Final = (EXAMPLES.parent / "docs" / "alerts.md").read_text("utf-8")
WAIT_S: Final = 60.0
PYTHON_WITH_KAFKA: Final = (
    "from driftline import InferenceLogger, announce, profile_from_frame",
    "log = InferenceLogger(",
)
"""How these blocks begin."""


def documented_alert() -> DriftAlert:
    block = ALERTS.split("```json\n")[1].split("```")[0]
    return msgspec.json.decode(block, type=DriftAlert)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model of the example's factory: customers with a short tenure leave."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from churn_factory import build  # type: ignore[import-not-found]  # noqa: PLC0415

    return build().fit(CUSTOMERS, CHURNED)


TENURE: Final = np.arange(400.0)
CHURNED: Final = (TENURE < 200).astype(int)
CUSTOMERS: Final = pd.DataFrame(
    {"tenure": np.where(TENURE % 50 == 0, np.nan, TENURE), "plan": ["free", "pro"] * 200}
)


def test_the_factory_returns_a_model_for_numbers_categories_and_missing_values(model: Any) -> None:
    unknown = pd.DataFrame({"tenure": [3.0, 390.0], "plan": ["team", "pro"]})
    assert list(model.predict(unknown)) == [1, 0]


def test_the_trainer_can_store_a_model_of_the_factory(model: Any) -> None:
    stored = artifact.load(artifact.dump(model))
    assert list(stored.predict(CUSTOMERS)) == list(model.predict(CUSTOMERS))


@pytest.mark.kafka
def test_the_consumer_prints_each_episode_once(kafka_broker: str) -> None:
    """A repeat, a later phase, a drill and a health event print nothing."""
    prefix = f"alerts-{uuid.uuid4().hex[:8]}"
    topic = f"{prefix}.alerts.v1"
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

    command = [sys.executable, str(EXAMPLES / "alert_consumer.py"), kafka_broker, prefix]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as consumer:
        assert consumer.stdout is not None
        lines = [consumer.stdout.readline().rstrip(), consumer.stdout.readline().rstrip()]
        consumer.terminate()
    start = f"{alert.severity:6} {alert.model}@{alert.version}"
    assert lines == [f"{start} {alert.explanation}", f"{start} {last.explanation}"]


@pytest.mark.kafka
def test_the_python_of_the_documents_runs(
    kafka_broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is written, but for the address of the broker."""
    monkeypatch.chdir(tmp_path)  # one of them has a spool
    create_topics({"bootstrap.servers": kafka_broker}, load_registry("driftline"))
    scores = np.linspace(0, 1, 400)
    frame = CUSTOMERS.assign(score=scores, churned=CHURNED)
    names: dict[str, Any] = {"frame": frame, "InferenceLogger": InferenceLogger}
    found = [
        unit
        for document in ("README.md", "docs/model-servers.md")
        for unit in units_of(document)
        if unit.name in PYTHON_WITH_KAFKA
    ]
    assert len(found) == 4

    for unit in found:
        exec(unit.text.replace("127.0.0.1:9092", kafka_broker), names)  # noqa: S102
        names["log"].close()
        counters = names["log"].counters()
        assert counters.delivered == counters.accepted


@contextmanager
def model_server(**environment: str) -> Iterator[httpx.Client]:
    """The example's model server as a process of its own, and a client of it."""
    command = [sys.executable, "-m", "uvicorn", "model_server:app", "--port", "0"]
    with subprocess.Popen(
        command, cwd=EXAMPLES, env=os.environ | environment, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr is not None
            log = iter(server.stderr.readline, "")
            url = next(found[0] for line in log if (found := re.search(r"http://[\d.:]+", line)))
            rest = threading.Thread(target=list, args=[log])  # a full pipe would block the server
            rest.start()
            with httpx.Client(base_url=url, trust_env=False, timeout=WAIT_S) as client:
                yield client
            server.terminate()
            rest.join()
        finally:
            server.kill()


@pytest.mark.slow
def test_the_model_server_answers_503_until_a_champion_is_loaded(tmp_path: Path) -> None:
    with model_server(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", REGISTRY=str(tmp_path)) as client:
        asked = client.post("/predict", json={"features": {"tenure": 3}})
        assert asked.status_code == client.get("/health").status_code == 503
        assert "no champion of 'churn'" in asked.json()["detail"]
        assert client.post("/predict", json={"features": {"tenure": [3]}}).status_code == 422


@pytest.mark.kafka
def test_the_model_server_logs_each_prediction_and_its_label(
    kafka_broker: str, tmp_path: Path, model: Any
) -> None:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    events, models = f"{prefix}.events.v1", f"{prefix}.models.v1"
    admin = AdminClient({"bootstrap.servers": kafka_broker})
    for created in admin.create_topics([NewTopic(events, 2, 1), NewTopic(models, 1, 1)]).values():
        created.result(WAIT_S)
    manifest = Registry(tmp_path).store(
        model,
        model="churn",
        version="7",
        profile=profile_from_frame(CUSTOMERS, model="churn", version="7", task="binary"),
        training={},
        metrics={},
        factory="churn_factory:build",
        caused_by="registration",
        time_ms=1,
    )
    champion = ModelVersion(
        model="churn",
        version="7",
        artifact_sha256=manifest.artifact_sha256,
        time_ms=1,
        caused_by="registration",
    )
    producer = Producer({"bootstrap.servers": kafka_broker})
    producer.produce(models, key="churn", value=msgspec.json.encode(champion))
    assert producer.flush(WAIT_S) == 0

    with model_server(
        KAFKA_BOOTSTRAP_SERVERS=kafka_broker,
        REGISTRY=str(tmp_path),
        DRIFTLINE_TOPICS__PREFIX=prefix,
    ) as client:
        pause = threading.Event()
        while client.get("/health").status_code == 503 and not pause.wait(0.1):
            pass
        leaves = client.post("/predict", json={"features": {"tenure": 3, "plan": "team"}}).json()
        stays = client.post("/predict", json={"features": {"tenure": 390, "plan": None}}).json()
        unknown = client.post("/predict", json={"features": {"plan": "pro"}}).json()
        client.post("/labels", json={"id": leaves["id"], "churned": 1}).raise_for_status()
        health = client.get("/health").json()

    assert leaves["probability"] > 0.5 > stays["probability"]
    assert {answer["version"] for answer in (leaves, stays, unknown, health)} == {"7"}
    assert (health["events"]["accepted"], health["events"]["dropped"]) == (4, {})
    records: list[Record] = []
    with TopicReader({"bootstrap.servers": kafka_broker}, events) as reader:
        for record in reader.read_until(lambda: len(records) == 4, idle_timeout_s=WAIT_S):
            records.append(record)  # noqa: PERF402 - the condition reads the list
    kinds = {kind_of: event for event, kind_of in CE_TYPE_OF.items()}
    logged = [msgspec.json.decode(r.value or b"", type=kinds[r.kind or ""]) for r in records]
    predicted = {e.id: e for e in logged if isinstance(e, InferenceEvent)}
    assert {key: (e.version, e.prediction) for key, e in predicted.items()} == {
        answer["id"]: ("7", answer["probability"]) for answer in (leaves, stays, unknown)
    }
    assert predicted[stays["id"]].features == {"tenure": 390.0, "plan": None}
    assert [(e.id, e.label) for e in logged if isinstance(e, Label)] == [(leaves["id"], 1)]
