"""A foreign topic is forwarded on a real Kafka, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from driftline.forwarding.forwarder import LIMIT, Forwarder, TooManyRejectedError, group_of
from driftline.forwarding.mapping import FieldMap
from driftline.topics.topic_registry import create_topics, load_registry
from producer.arrow_batch import pack
from producer.events import MAX_EVENT_BYTES
from producer.failpoints import EXIT_CODE
from producer.routing import topic_names
from producer.writer import DeliveryError
from stream_monitor.contracts import DeadLetter
from stream_monitor.settings import DeadLetterSettings
from tests.builders import inference_event
from tests.integration.read_topic import read_topic

pytestmark = pytest.mark.kafka
PARTITIONS = 2
LABELS = FieldMap(kind="label", model="churn", id_field="request", label_field="left")


def label(name: str, left: int | str = 1) -> bytes:
    return json.dumps({"request": name, "left": left}).encode()


@dataclass
class Warehouse:
    """A topic of labels as a warehouse writes them, and the event topic."""

    broker: str
    log_config: dict[str, str] = field(default_factory=dict)
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")

    def __post_init__(self) -> None:
        self.source = f"{self.prefix}-warehouse"
        self.topics = topic_names(self.prefix)
        client: dict[str, str | int | float | bool] = {"bootstrap.servers": self.broker}
        admin = AdminClient(client)
        own = [NewTopic(self.source, PARTITIONS, 1)]
        if self.log_config:
            own.append(NewTopic(self.topics.events, 1, 1, config=self.log_config))
        for made in admin.create_topics(own).values():
            made.result(20)
        create_topics(client, load_registry(self.prefix))

    def write(self, values: list[bytes]) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self.broker,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "message.max.bytes": 2 * MAX_EVENT_BYTES,
            }
        )
        for number, value in enumerate(values):
            producer.produce(self.source, value, partition=number % PARTITIONS)
            producer.poll(0)
        assert producer.flush(30) == 0

    def forward(self, failpoint: str = "", model: str = "churn") -> tuple[int, str]:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "driftline",
                "forward",
                self.source,
                "--as",
                "label",
                "--model",
                model,
                "--id-field",
                "request",
                "--label-field",
                "left",
                "--once",
                "--bootstrap-servers",
                self.broker,
                "--prefix",
                self.prefix,
                "--json",
            ],
            env={**os.environ, "DRIFTLINE_FAILPOINT": failpoint},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout or done.stderr

    def forward_here(self, limit: DeadLetterSettings = LIMIT) -> tuple[int, int]:
        """Forward to the end of the topic; returns the numbers of events and rejected records."""
        forwarder = Forwarder(
            {"bootstrap.servers": self.broker},
            self.source,
            group=self.group,
            prefix=self.prefix,
            dead_letters=self.topics.dead_letters,
            fields=LABELS,
            limit=limit,
        )
        try:
            next(at_end for at_end in forwarder.forward_batches() if at_end)
        finally:
            forwarder.close()
        return forwarder.forwarded

    @property
    def group(self) -> str:
        return group_of(self.prefix, self.source, LABELS)

    def forward_own_format(self) -> tuple[int, int]:
        """Forward records of driftline's format to the end of the topic."""
        forwarder = Forwarder(
            {"bootstrap.servers": self.broker},
            self.source,
            group=group_of(self.prefix, self.source, None),
            prefix=self.prefix,
            dead_letters=self.topics.dead_letters,
            fields=None,
        )
        try:
            next(at_end for at_end in forwarder.forward_batches() if at_end)
        finally:
            forwarder.close()
        return forwarder.forwarded

    def committed(self) -> int:
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": self.group})
        asked = [TopicPartition(self.source, p) for p in range(PARTITIONS)]
        found = consumer.committed(asked, timeout=20)
        consumer.close()
        return sum(max(0, place.offset) for place in found)

    def ids(self) -> Counter[str]:
        found = read_topic(self.broker, self.topics.events)
        return Counter(json.loads(message.value() or b"")["id"] for message in found)

    def dead_letters(self) -> list[DeadLetter]:
        found = read_topic(self.broker, self.topics.dead_letters)
        return [msgspec.json.decode(m.value() or b"", type=DeadLetter) for m in found]

    def dead_letter_ids(self) -> set[str]:
        return {dead_letter.dead_letter_id for dead_letter in self.dead_letters()}


@pytest.fixture
def warehouse(kafka_broker: str) -> Warehouse:
    return Warehouse(kafka_broker)


@pytest.mark.long
def test_killed_before_its_commit_it_repeats_ids_and_loses_none(warehouse: Warehouse) -> None:
    values = [label(f"r{i}", i % 2) for i in range(3_000)]
    values[1_000:1_010] = [b"{"] * 10
    warehouse.write(values)

    assert warehouse.forward("forwarder.batch.written:2")[0] == EXIT_CODE
    assert warehouse.committed() < len(values)
    code, reported = warehouse.forward()

    assert code == 0
    assert json.loads(reported)["rejected"] <= 10
    assert warehouse.committed() == len(values)
    ids = warehouse.ids()
    assert set(ids) == {f"r{i}" for i in range(3_000) if not 1_000 <= i < 1_010}
    assert max(ids.values()) == 2  # what lay above the commit came again, under its id
    assert warehouse.dead_letter_ids() == {
        f"{warehouse.source}:{i % 2}:{i // 2}" for i in range(1_000, 1_010)
    }
    assert json.loads(warehouse.forward()[1]) == {"events": 0, "rejected": 0}


def test_an_invalid_source_stops_the_forwarder_at_the_dead_letter_limit(
    warehouse: Warehouse,
) -> None:
    warehouse.write([b'{"requestId": 7}'] * 2_500)

    code, reported = warehouse.forward()

    assert code == 1
    assert "records in a row were rejected" in reported
    assert warehouse.committed() == 0
    assert warehouse.ids() == Counter()
    assert warehouse.dead_letter_ids() == set()


def test_a_record_beyond_the_limit_writes_no_dead_letter(warehouse: Warehouse) -> None:
    warehouse.write([label("a"), b"{", label("b")])

    for _ in range(2):
        with pytest.raises(TooManyRejectedError):
            warehouse.forward_here(DeadLetterSettings(max_consecutive=1))
    assert warehouse.dead_letters() == []

    warehouse.forward_here()
    assert set(warehouse.ids()) == {"a", "b"}
    assert [dead_letter.reason for dead_letter in warehouse.dead_letters()] == ["malformed_json"]


def test_two_forwarders_of_a_source_each_read_all_of_it(warehouse: Warehouse) -> None:
    warehouse.write([label("a"), label("b")])

    for model in ("churn", "fraud"):
        code, reported = warehouse.forward(model=model)
        assert (code, json.loads(reported)) == (0, {"events": 2, "rejected": 0})


def test_an_event_above_the_size_limit_is_a_dead_letter(warehouse: Warehouse) -> None:
    huge = label("huge", "x" * MAX_EVENT_BYTES)
    doubled = label("y" * (MAX_EVENT_BYTES * 2 // 3))  # its id is a header of the record, too
    warehouse.write([label("a"), huge, doubled, label("b")])

    assert warehouse.forward_here() == (2, 2)
    assert set(warehouse.ids()) == {"a", "b"}
    assert warehouse.committed() == 4
    found = {dead_letter.size_bytes: dead_letter for dead_letter in warehouse.dead_letters()}
    assert set(found) == {len(huge), len(doubled)}
    assert {dead_letter.reason for dead_letter in found.values()} == {"too_large"}
    assert "at most 8,000,000 are accepted" in found[len(huge)].detail


def test_a_record_too_large_for_the_topic_is_a_dead_letter_without_its_batch(
    kafka_broker: str,
) -> None:
    warehouse = Warehouse(kafka_broker, {"max.message.bytes": "10000"})
    names = [secrets.token_hex(16) for _ in range(300)]
    values = [label(name) for name in names]
    values.insert(100, label("large", secrets.token_hex(20_000)))
    warehouse.write(values)

    assert warehouse.forward_here() == (300, 1)
    assert set(warehouse.ids()) == set(names)
    assert warehouse.committed() == 301
    (dead_letter,) = warehouse.dead_letters()
    assert (dead_letter.reason, dead_letter.size_bytes) == ("too_large", len(values[100]))
    assert "driftline topics plan" in dead_letter.detail


def test_a_permanent_error_other_than_size_ends_the_forwarder(kafka_broker: str) -> None:
    late = {"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": "0"}
    warehouse = Warehouse(kafka_broker, late)
    warehouse.write([label("a"), label("b")])

    with pytest.raises(DeliveryError, match="validate record"):
        warehouse.forward_here()
    assert warehouse.committed() == 0
    assert warehouse.dead_letters() == []


def test_events_without_a_prediction_are_forwarded_and_a_wrong_field_is_named(
    warehouse: Warehouse,
) -> None:
    warehouse.write(
        [
            b'{"request": "a", "age": 3, "out": {"score": 0.5}}',
            b'{"request": "b", "age": 3}',
            b'{"request": "c", "age": 3, "out": null}',
            b'{"request": "d", "age": 3, "out": {}}',
        ]
    )

    def forward(field: str, group: str) -> tuple[int, str]:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "driftline",
                "forward",
                warehouse.source,
                "--as",
                "event",
                "--model",
                "churn",
                "--version",
                "1",
                "--id-field",
                "request",
                "--once",
                "--prediction-field",
                field,
                "--group",
                group,
                "--features",
                "age",
                "--bootstrap-servers",
                warehouse.broker,
                "--prefix",
                warehouse.prefix,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stderr

    code, output = forward("/out/score", "right")
    assert (code, output.splitlines()[-1]) == (
        0,
        "4 events forwarded, 2 of them without a prediction, 0 records rejected",
    )
    found = read_topic(warehouse.broker, warehouse.topics.events)
    events = {event["id"]: event for event in (json.loads(m.value() or b"") for m in found)}
    predictions = {name: event.get("prediction", "none") for name, event in events.items()}
    assert predictions == {"a": 0.5, "b": "none", "c": None, "d": "none"}

    code, output = forward("scroe", "wrong")
    assert code == 1
    assert "4 events forwarded, 4 of them without a prediction" in output
    assert "no record has a field 'scroe'" in output
    assert "--prediction-field" in output


def test_the_rows_of_a_batch_are_forwarded_one_by_one(warehouse: Warehouse) -> None:
    rows = [inference_event(f"e{i}", {"x": float(i)}) for i in range(5)]
    rows[3] = msgspec.structs.replace(rows[3], time_ms=1 << 50)
    warehouse.write([pack(rows).value])

    assert warehouse.forward_own_format() == (4, 1)
    assert warehouse.ids() == Counter(["e0", "e1", "e2", "e4"])
    assert {one.dead_letter_id for one in warehouse.dead_letters()} == {f"{warehouse.source}:0:0:3"}
