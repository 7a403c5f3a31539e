"""A model with drift on a real Kafka, and trainers that a test may kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pandas as pd
from confluent_kafka import Message, Producer
from sklearn.linear_model import LogisticRegression

from driftline.topics.topic_registry import create_topics, load_registry
from producer.cloudevents import ce_type_of, event_headers
from producer.codec import encode
from producer.events import CE_TYPE_OF, Event, Label, ModelUpdate
from producer.routing import key_of, topic_names
from stream_monitor.contracts import DriftAlert
from stream_monitor.reference.frame import profile_from_frame
from tests import builders
from tests.builders import inference_event
from tests.integration.read_topic import read_topic
from trainer.contracts import ModelVersion, RetrainEvent
from trainer.registry.manifest import Manifest
from trainer.service.register import register_version

HERE = Path(__file__).parent
MODEL = "m"
HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000
N_BEFORE, N_AFTER = 1_000, 2_000
_Contract = TypeVar("_Contract", bound=msgspec.Struct)


def world(seed: int, n: int, *, turned: bool) -> tuple[Any, Any]:
    """``n`` pairs of features and their labels; ``turned`` is the dependence after the drift."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 2))
    slope = -1.5 if turned else 1.5
    return x, (draw.random(n) < 1 / (1 + np.exp(-slope * x[:, 0]))).astype(int)


@dataclass
class TrainerHarness:
    """Topics, a data directory and the trainers that a test starts on them."""

    broker: str
    data_dir: Path
    shards: int = 1
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")
    trainers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.topics = topic_names(self.prefix)
        create_topics({"bootstrap.servers": self.broker}, load_registry(self.prefix))
        self.n_events = 0
        self.champion = self._register_first_version()

    def _register_first_version(self) -> Manifest:
        """Register version 1, fitted on data before the drift."""
        x, y = world(0, 1_200, turned=False)
        self.estimator = LogisticRegression().fit(pd.DataFrame(x, columns=["a", "b"]), y)
        frame = pd.DataFrame(x, columns=["a", "b"]).assign(late=y)
        frame["score"] = self.estimator.predict_proba(frame[["a", "b"]])[:, 1]
        profile = profile_from_frame(
            frame,
            model=MODEL,
            version="1",
            prediction="score",
            label="late",
            features=["a", "b"],
            task="binary",
        )
        return register_version(
            self.estimator,
            profile,
            data_dir=self.data_dir,
            bootstrap_servers=self.broker,
            prefix=self.prefix,
            shards=self.shards,
            time_ms=START_MS - HOUR_MS,
            factory="small_factories:logistic",
        )

    def publish(self, n: int, *, turned: bool, labels: bool = True, twice: bool = False) -> None:
        """Write ``n`` events with labels, one per second of event time; ``twice`` repeats each."""
        producer = Producer({"bootstrap.servers": self.broker, "linger.ms": 5})
        x, y = world(self.n_events + 1, n, turned=turned)
        scores = self.estimator.predict_proba(pd.DataFrame(x, columns=["a", "b"]))[:, 1]
        for row, truth, score in zip(x.tolist(), y.tolist(), scores.tolist(), strict=True):
            name, time_ms = f"e{self.n_events}", START_MS + 1_000 * self.n_events
            self.n_events += 1
            event = inference_event(
                name, {"a": row[0], "b": row[1]}, score, model=MODEL, time_ms=time_ms
            )
            outcome = Label(id=name, model=MODEL, label=truth, time_ms=time_ms + 500)
            records: list[Event] = [event, outcome] if labels else [event]
            for record in records * (2 if twice else 1):
                producer.produce(
                    self.topics.events,
                    encode(record),
                    key=key_of(MODEL, name, self.shards),
                    headers=event_headers(record, source="/test"),
                )
                producer.poll(0)
        assert producer.flush(30) == 0

    def alert(self, number: int, **changes: Any) -> DriftAlert:
        """Write an alert as the monitor would, decided at the last published event."""
        now_ms = START_MS + 1_000 * self.n_events
        found = builders.alert(
            alert_id=f"alert-{number}",
            episode_id=f"episode-{number}",
            kind="concept",
            severity="high",
            model=MODEL,
            series="loss",
            feature=None,
            effect=0.3,
            p_value=1e-9,
            explanation="The loss rose.",
            topic=self.topics.events,
            onset_offset=2 * N_BEFORE,
            onset_ms=START_MS + 1_000 * N_BEFORE,
            detected_offset=2 * N_BEFORE,
            detected_ms=now_ms,
            decided_offset=2 * N_BEFORE,
            decided_ms=now_ms,
        )
        found = msgspec.structs.replace(found, **changes)
        producer = Producer({"bootstrap.servers": self.broker})
        producer.produce(self.topics.alerts, msgspec.json.encode(found), key=MODEL)
        assert producer.flush(30) == 0
        return found

    def start(
        self,
        failpoint: str = "",
        factory: str = "small_factories:logistic",
        output: int | None = None,
        module: str = "driftline",
        **environment: str,
    ) -> subprocess.Popen[bytes]:
        """Start a trainer from the command line; ``output`` is where its output goes."""
        trainer = subprocess.Popen(
            [
                sys.executable,
                "-m",
                module,
                "train",
                "--model",
                MODEL,
                "--factory",
                factory,
                "--data-dir",
                str(self.data_dir),
                "--prefix",
                self.prefix,
                "--shards",
                str(self.shards),
            ],
            cwd=HERE,
            env=self.environment()
            | {"DRIFTLINE_FAILPOINT": failpoint, "DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS": self.broker}
            | environment,
            stdout=output,
            stderr=output,
        )
        self.trainers.append(trainer)
        return trainer

    def environment(self) -> dict[str, str]:
        """The environment of every process, with small limits so that a test is quick."""
        return os.environ | {
            "PYTHONPATH": str(HERE.parent.parent),
            "DRIFTLINE_TRAINER__POLICY__MIN_LABELLED_EVENTS": "1500",
            "DRIFTLINE_TRAINER__GATE__MIN_EVENTS": "300",
            "DRIFTLINE_TRAINER__MODE": "auto",
        }

    def close(self) -> None:
        for trainer in self.trainers:
            if trainer.poll() is None:
                trainer.send_signal(signal.SIGTERM)
        for trainer in self.trainers:
            trainer.wait(90)

    def events(self) -> list[RetrainEvent]:
        """Retrain events, without repeats of an id."""
        found = self._read(self.topics.retrain, RetrainEvent)
        return list({event.id: event for event in found}.values())

    def steps(self, number: int) -> list[str]:
        """Steps that one alert caused."""
        return [e.step for e in self.events() if e.caused_by == f"alert-{number}"]

    def versions(self) -> dict[str, ModelVersion]:
        """The models topic, compacted."""
        messages = read_topic(self.broker, self.topics.models)
        found = (
            (_key(m), msgspec.json.decode(m.value() or b"", type=ModelVersion)) for m in messages
        )
        return dict(found)

    def updates(self) -> Counter[tuple[int, str]]:
        """How often each `ModelUpdate` is in the event topic, by (partition, id)."""
        found: Counter[tuple[int, str]] = Counter()
        for message in read_topic(self.broker, self.topics.events):
            if ce_type_of(message) == CE_TYPE_OF[ModelUpdate]:
                update = msgspec.json.decode(message.value() or b"", type=ModelUpdate)
                found[message.partition() or 0, update.id] += 1
        return found

    def _read(self, topic: str, kind: type[_Contract]) -> list[_Contract]:
        return [
            msgspec.json.decode(message.value() or b"", type=kind)
            for message in read_topic(self.broker, topic)
        ]


def _key(message: Message) -> str:
    return (message.key() or b"").decode()


def until(holds: Callable[[], bool], within_s: float = 150.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.05)
