"""Which records are rejected, for what reason, and what their dead letters contain."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import msgspec
import pytest

from producer.codec import encode
from producer.events import CE_TYPE_OF, Command, InferenceEvent, Label, ModelUpdate, Tick
from producer.limits import LATEST_MS, Limits
from stream_monitor.contracts import DeadLetter
from stream_monitor.ingest.decode import BatchDecoder, Decoded, decode
from stream_monitor.ingest.event_shapes import FeatureRow
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from tests.builders import batch_of, inference_event, record_of

NOW_MS = 1_700_000_000_000
EVENT: dict[str, Any] = {
    "id": "019a",
    "model": "flights-late",
    "version": "3",
    "time_ms": NOW_MS - 5,
    "features": {"temp": 71.6, "carrier": "UA", "holiday": False, "wind": None},
    "prediction": 0.18,
}
LABEL: dict[str, Any] = {"id": "019a", "model": "flights-late", "label": 1, "time_ms": NOW_MS}
UPDATE: dict[str, Any] = {"id": "u", "model": "flights-late", "version": "4", "time_ms": NOW_MS}
COMMAND: dict[str, Any] = {
    "id": "c",
    "model": "flights-late",
    "action": "snooze",
    "episode": "e",
    "actor": "ann",
    "time_ms": NOW_MS,
}


def read(
    value: bytes | None,
    kind: type | None = InferenceEvent,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    timestamp_ms: int = NOW_MS,
) -> Decoded:
    record = ConsumerRecord(7, timestamp_ms, CE_TYPE_OF[kind] if kind else None, value)
    return decode(RecordBatch("driftline.events.v1", 2, "epoch", 7, 8, [record]), limits)


def event(**changes: object) -> bytes:
    return json.dumps(EVENT | changes).encode()


def rejection(*args: Any, **kwargs: Any) -> DeadLetter:
    decoded = read(*args, **kwargs)
    assert decoded.entries == []
    return decoded.dead_letters[0]


def test_a_valid_event_is_an_entry_with_its_record() -> None:
    decoded = read(event())

    [(record, entry)] = decoded.entries
    assert decoded.dead_letters == []
    assert record.offset == 7
    assert isinstance(entry, InferenceEvent)
    assert entry.features == EVENT["features"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [(Label, LABEL), (ModelUpdate, UPDATE), (Command, COMMAND), (Tick, {"time_ms": NOW_MS})],
)
def test_every_kind_of_record_is_accepted(kind: type, body: dict[str, Any]) -> None:
    [(_, entry)] = read(json.dumps(body).encode(), kind).entries
    assert type(entry) is kind


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"model": ""}, "name", "model"),
        ({"model": "a\nb"}, "name", "model"),
        ({"model": "x" * 257}, "name", "model"),
        ({"version": "3\n"}, "name", "version"),
        ({"features": {"a\u0000": 1}}, "name", "features"),
        ({"features": {f"f{i}": 1 for i in range(513)}}, "too_many_features", "features"),
        ({"features": {"carrier": "\u20ac" * 86}}, "string_too_long", "features.carrier"),
        ({"id": ""}, "empty_id", "id"),
        ({"id": "i" * 257}, "string_too_long", "id"),
        ({"segment": {"ori\ngin": "EWR"}}, "name", "segment"),
        ({"segment": {"origin": "E" * 257}}, "string_too_long", "segment.origin"),
        ({"time_ms": NOW_MS + 300_001}, "future", "time_ms"),
        ({"time_ms": 10**30}, "future", "time_ms"),
        ({"time_ms": -1}, "negative_time", "time_ms"),
    ],
)
def test_an_event_that_breaks_a_rule_is_rejected_with_the_field_in_the_detail(
    changes: dict[str, Any], reason: str, field: str
) -> None:
    dead_letter = rejection(event(**changes))

    assert dead_letter.reason == reason
    assert dead_letter.detail.startswith(field)
    assert dead_letter.detail.isascii()


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        (Label, LABEL | {"version": "\u0085"}, "name"),
        (Label, LABEL | {"time_ms": NOW_MS + 300_001}, "future"),
        (ModelUpdate, UPDATE | {"version": ""}, "name"),
        (ModelUpdate, UPDATE | {"caused_by": "x" * 257}, "string_too_long"),
        (Command, COMMAND | {"actor": "x" * 257}, "string_too_long"),
        (Command, COMMAND | {"until_ms": LATEST_MS + 1}, "time"),
        (Tick, {"time_ms": -1}, "negative_time"),
    ],
)
def test_every_kind_has_its_rules(kind: type, body: dict[str, Any], reason: str) -> None:
    assert rejection(json.dumps(body).encode(), kind).reason == reason


def test_a_record_without_a_value_is_rejected() -> None:
    dead_letter = rejection(None)
    assert (dead_letter.reason, dead_letter.size_bytes, dead_letter.payload) == (
        "null_value",
        0,
        b"",
    )


def test_a_value_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not() -> None:
    padded = event().ljust(65536)
    assert len(read(padded).entries) == 1
    assert rejection(padded + b" ").reason == "too_large"


def test_a_model_update_may_be_as_large_as_its_profile() -> None:
    padded = json.dumps(UPDATE).encode().ljust(8_000_000)
    assert len(read(padded, ModelUpdate).entries) == 1
    assert rejection(padded + b" ", ModelUpdate).reason == "too_large"


def test_event_time_may_be_ahead_of_the_record_by_exactly_the_skew() -> None:
    assert len(read(event(time_ms=NOW_MS + 300_000)).entries) == 1


def test_history_is_accepted_unless_an_age_is_set() -> None:
    old = event(time_ms=0)
    assert len(read(old).entries) == 1
    assert rejection(old, limits=Limits(max_event_age_ms=60_000)).reason == "too_old"
    within = event(time_ms=NOW_MS - 60_000)
    assert len(read(within, limits=Limits(max_event_age_ms=60_000)).entries) == 1


def test_a_record_with_an_invalid_timestamp_is_rejected() -> None:
    assert rejection(event(), timestamp_ms=1 << 62).reason == "timestamp"
    assert rejection(event(), timestamp_ms=-1).reason == "future"


def test_a_value_of_extreme_magnitude_does_not_reject_its_event() -> None:
    [(_, entry)] = read(event(features={"a": 1e300, "b": 10**100, "c": -(10**100)})).entries
    assert isinstance(entry, InferenceEvent)
    assert entry.features == {"a": 1e300, "b": 1e100, "c": -1e100}


def test_names_are_validated_in_every_event_also_after_a_valid_one() -> None:
    values = [event(), event(features={"bad\nname": 1}), event(model="bad\nname"), event()]
    records = [ConsumerRecord(i, NOW_MS, None, value) for i, value in enumerate(values)]
    decoded = decode(RecordBatch("t", 0, "e", 0, 4, records), Limits())

    assert [record.offset for record, _ in decoded.entries] == [0, 3]
    assert [dead_letter.offset for dead_letter in decoded.dead_letters] == [1, 2]


def test_a_dead_letter_carries_position_hash_size_and_a_bounded_payload() -> None:
    value = b"\xff" * 40_000
    dead_letter = rejection(value)

    assert (dead_letter.topic, dead_letter.partition, dead_letter.offset) == (
        "driftline.events.v1",
        2,
        7,
    )
    assert dead_letter.timestamp_ms == NOW_MS
    assert dead_letter.sha256 == hashlib.sha256(value).hexdigest()
    assert dead_letter.size_bytes == 40_000
    assert dead_letter.payload == value[: 16 * 1024]
    assert len(dead_letter.detail) <= 300


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\x00",
        b'{"id":1}',
        b"[" * 60_000,
        b'{"x":' * 10_000,
        b'{"time_ms":' + b"9" * 5000 + b"}",
        event()[:-1],
        event().replace(b"019a", b"\\ud800"),
        event().replace(b"019a", b"\xed\xa0\x80"),
    ],
)
def test_an_invalid_event_is_rejected_with_a_reason(value: bytes) -> None:
    assert rejection(value).reason


@pytest.mark.parametrize(
    ("sent", "watched"),
    [
        ("0.25", 0.25),
        ("null", None),
        ("NaN", None),
        ("-Infinity", None),
        ("1e999", None),
        (f"{1 << 64}", float(1 << 64)),
        ("1" * 400, None),
        ('"' + "p" * 257 + '"', None),
        ("[0.5]", 0.5),
        ("[[0.5]]", 0.5),
        ("[]", None),
        ("[1, 2.5, null]", [1.0, 2.5, None]),
        ("[1, NaN]", [1.0, None]),
        ('["first", "second"]', None),
        ("[[1, 2], [3, 4]]", None),
        ('{"UA": 0.7, "AA": 0.3}', {"UA": 0.7, "AA": 0.3}),
        ('{"eta": 7, "price": null}', {"eta": 7.0, "price": None}),
        ('{"a": {"b": 1}}', None),
        (json.dumps({str(i): 0.0 for i in range(513)}), None),
    ],
)
def test_an_event_counts_whatever_its_prediction_is(sent: str, watched: Any) -> None:
    body = json.dumps(EVENT | {"prediction": "HERE"}).replace('"HERE"', sent)
    for kind in (InferenceEvent, None):
        [(_, entry)] = read(body.encode(), kind).entries
        assert isinstance(entry, InferenceEvent)
        assert entry.prediction == watched
        assert entry.features == EVENT["features"]


def test_an_event_without_a_prediction_is_an_event_and_null_is_not_the_same() -> None:
    body = {name: value for name, value in EVENT.items() if name != "prediction"}
    [(_, without)] = read(json.dumps(body).encode()).entries
    [(_, null)] = read(json.dumps(body | {"prediction": None}).encode()).entries
    assert isinstance(without, InferenceEvent)
    assert isinstance(null, InferenceEvent)
    assert without.prediction is msgspec.UNSET
    assert null.prediction is None
    assert encode(without) == json.dumps(body, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("sent", "compared"),
    [
        ("1", 1),
        ('"late"', "late"),
        ("null", None),
        ("NaN", None),
        (f"{1 << 64}", float(1 << 64)),
        ('"' + "x" * 257 + '"', None),
        ("[1, 2]", None),
        ('{"a": [1]}', None),
    ],
)
def test_a_label_may_be_anything_that_json_has(sent: str, compared: Any) -> None:
    body = json.dumps(LABEL | {"label": "HERE"}).replace('"HERE"', sent)
    for kind in (Label, None):
        [(_, entry)] = read(body.encode(), kind).entries
        assert isinstance(entry, Label)
        assert entry.label == compared


def test_numbers_that_json_does_not_have_are_missing_values() -> None:
    body = json.dumps(EVENT | {"features": {"a": math.nan, "b": math.inf, "c": 1, "d": 10**30}})
    [(_, entry)] = read(body.encode()).entries
    assert isinstance(entry, InferenceEvent)
    assert entry.features == {"a": None, "b": None, "c": 1, "d": 1e30}


def test_a_lone_surrogate_next_to_a_large_number_is_malformed() -> None:
    body = json.dumps(EVENT | {"prediction": math.nan, "features": {"a": "\ud800"}})
    assert rejection(body.encode()).reason == "malformed_json"


@pytest.mark.parametrize("name", ['a "b"', "c:\\d", "<img src='x'>", "\u2028 e"])
def test_any_valid_name_of_a_feature_is_decoded_however_often_it_comes(name: str) -> None:
    events = [inference_event(f"e{i}", {name: float(i), "x": 1.0}) for i in range(3)]
    decoder = BatchDecoder(Limits())

    for offset, event in enumerate(events):
        decoded = decoder.decode(batch_of([record_of(offset, event)]))
        assert not decoded.rejected
        [(_, found)] = decoded.entries
        assert isinstance(found, InferenceEvent)
        values = found.features
        assert (values.as_dict() if isinstance(values, FeatureRow) else values) == event.features
