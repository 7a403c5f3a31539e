"""Records of foreign topics become events."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from driftline.forwarding.forwarder import group_of
from driftline.forwarding.mapping import FieldMap, event_of, field_map
from producer.codec import RejectedRecord, encode
from producer.events import Command, InferenceEvent, Label
from tests.builders import inference_event

LABELS = FieldMap(
    kind="label", model="churn", id_field="request", label_field="left", time_field="at"
)
EVENTS = FieldMap(kind="event", model_field="app", version="7", prediction_field="score")
PLACE = "warehouse:2:17"


def read(value: object, fields: FieldMap | None, ce_type: str | None = None) -> object:
    raw = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return event_of(raw, ce_type, fields, position=PLACE, time_ms=5)


@pytest.mark.parametrize(
    ("at", "time_ms"),
    [
        (1_700_000_000, 1_700_000_000_000),
        (1_700_000_000_123, 1_700_000_000_123),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-14 22:13:20", 1_700_000_000_000),
        (None, 5),
    ],
)
def test_a_label_has_its_prediction_s_id_and_a_time(at: object, time_ms: int) -> None:
    row = {"request": 17, "left": True, "at": at, "more": [1]}
    expected = Label(id="17", model="churn", label=True, time_ms=time_ms)
    assert read(row, LABELS) == expected


def test_remaining_fields_are_features_and_the_position_is_the_id() -> None:
    row = {"app": "m", "score": 0.25, "age": 3, "plan": None, "nested": {"a": 1}, "time_ms": 0}

    event = read(row, EVENTS)
    chosen = read(row, msgspec.structs.replace(EVENTS, features=("age", "gone")))

    assert event == inference_event(PLACE, {"age": 3, "plan": None}, 0.25, version="7")
    assert isinstance(chosen, InferenceEvent)
    assert chosen.features == {"age": 3, "gone": None}


@pytest.mark.parametrize(
    ("fields", "record", "features", "ignored_fields"),
    [
        ({}, {"features": {"age": 3, "at": {"zip": "02134"}}}, {"age": 3, "at.zip": "02134"}, []),
        ({}, {"features": {"age": 3, "tags": [1]}, "more": 1}, {"age": 3}, ["tags"]),
        ({}, {"age": 3, "tags": [1]}, {"age": 3}, ["tags"]),
        ({"features_field": "input"}, {"input": {"age": 3}, "more": 1}, {"age": 3}, []),
        ({"features_field": "/data/0"}, {"data": [{"age": 3}]}, {"age": 3}, []),
        (
            {"features": ("/a/age", "plan", "/row/1")},
            {"a": {"age": 3}, "plan": "x", "row": [1, 2]},
            {"a.age": 3, "plan": "x", "row.1": 2},
            [],
        ),
        ({"features": ("a",)}, {"a": {"x": 3, "b": {"c": None}}}, {"a.x": 3, "a.b.c": None}, []),
        ({"prediction_field": "/out/p"}, {"out": {"p": 0.5}, "age": 3}, {"age": 3}, []),
    ],
)
def test_nested_objects_are_unpacked_and_what_is_no_scalar_is_named(
    fields: dict[str, Any],
    record: dict[str, Any],
    features: dict[str, Any],
    ignored_fields: list[str],
) -> None:
    row = {"app": "m", "score": 0.25, **record}
    lost: list[str] = []
    event = event_of(
        msgspec.json.encode(row),
        None,
        msgspec.structs.replace(EVENTS, **fields),
        position=PLACE,
        time_ms=5,
        on_ignored_field=lost.append,
    )
    assert isinstance(event, InferenceEvent)
    expected = features | ({"score": 0.25} if "prediction_field" in fields else {})
    assert (event.features, lost) == (expected, ignored_fields)


@pytest.mark.parametrize(
    ("fields", "record", "prediction"),
    [
        ({}, {"age": 3}, UNSET),
        ({}, {"age": 3, "score": None}, None),
        ({}, {"features": {"age": 3}}, UNSET),
        ({"features_field": "input"}, {"input": {"age": 3}}, UNSET),
        ({"features_field": "input"}, {"input": {"age": 3}, "score": None}, None),
        ({"features": ("age",)}, {"age": 3}, UNSET),
        ({"prediction_field": "/out/p"}, {"age": 3, "out": {}}, UNSET),
        ({"prediction_field": "/out/p"}, {"age": 3}, UNSET),
        ({"prediction_field": "/out/p"}, {"age": 3, "out": {"p": None}}, None),
        ({"prediction_field": "/out/p"}, {"age": 3, "out": None}, None),
    ],
)
def test_a_record_without_a_prediction_is_an_event_and_null_is_an_invalid_prediction(
    fields: dict[str, Any], record: dict[str, Any], prediction: object
) -> None:
    event = read({"app": "m", **record}, msgspec.structs.replace(EVENTS, **fields))

    assert isinstance(event, InferenceEvent)
    assert (event.features, event.prediction) == ({"age": 3}, prediction)
    assert (b'"prediction":' in encode(event)) == (prediction is None)


@pytest.mark.parametrize(
    ("fields", "record", "why"),
    [
        ({}, {"input": {"age": 3}}, "'input' holds no scalar; .* --features-field input"),
        ({}, {"rows": [[1, 2]]}, "--features /rows/0"),
        ({}, {"features": {"tags": [1]}}, "features: none of its fields is a scalar"),
        ({"features_field": "input"}, {"age": 3}, "input: not an object"),
        ({"features_field": "a"}, {"a": {"b.c": 1, "b": {"c": 2}}}, "two have the name 'b.c'"),
    ],
)
def test_an_event_without_a_feature_is_rejected_if_it_has_other_fields(
    fields: dict[str, Any], record: dict[str, Any], why: str
) -> None:
    with pytest.raises(RejectedRecord, match=why):
        read({"app": "m", "score": 0.25, **record}, msgspec.structs.replace(EVENTS, **fields))


@pytest.mark.parametrize(
    ("value", "fields", "why"),
    [
        ({"left": 1}, LABELS, "request: a label needs the id of its prediction"),
        ({"request": "a"}, LABELS, "left: the label is missing"),
        ({"request": "a", "left": 1, "at": "soon"}, LABELS, "at: 'soon' is not a time"),
        ({"request": "a", "left": 1, "at": 20240131}, LABELS, "at: 20240131 looks like a day"),
        ({"app": "m"}, EVENTS, "no features, and no score"),
        ({"app": "m", "features": {}}, EVENTS, "no features, and no score"),
        ({"score": 1}, EVENTS, "app: the model is missing"),
        ([1], EVENTS, "not a JSON object"),
        (b"{", EVENTS, "truncated"),
        (b"{", None, "truncated"),
    ],
)
def test_a_missing_field_is_named(value: object, fields: FieldMap | None, why: str) -> None:
    with pytest.raises(RejectedRecord, match=why):
        read(value, fields)


def test_driftline_events_pass_unchanged_and_control_records_do_not() -> None:
    label = Label(id="a", model="m", label=1, time_ms=3)
    order = Command(id="c", model="m", action="resolve", episode="e", actor="eve", time_ms=0)

    assert read(encode(label), None) == label
    assert read(encode(label), None, "io.driftline.label.v1") == label
    with pytest.raises(RejectedRecord):
        read(encode(order), None, "io.driftline.command.v1")


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        ("labels", {"model": "m"}, "neither label nor event"),
        ("label", {}, "the model is missing"),
        ("event", {"model": "m"}, "the version is missing"),
    ],
)
def test_an_incomplete_mapping_is_an_error(kind: str, options: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        field_map(kind, **({"model": "", "model_field": ""} | options))


@given(st.binary(max_size=200) | st.none(), st.sampled_from([LABELS, EVENTS, None]))
def test_any_bytes_become_an_event_or_are_rejected(
    value: bytes | None, fields: FieldMap | None
) -> None:
    try:
        event = event_of(value, None, fields, position=PLACE, time_ms=5)
    except RejectedRecord:
        return
    assert isinstance(event, InferenceEvent | Label)


def test_forwarders_that_write_other_events_share_no_group() -> None:
    maps = [
        None,
        LABELS,
        EVENTS,
        FieldMap(kind="label", model="fraud"),
        FieldMap(kind="label", model_field="app"),
        FieldMap(kind="event", model="churn"),
    ]
    asked = [
        (prefix, source, fields)
        for prefix in ("p", "p.a")
        for source in ("a.b", "b", "b.label")
        for fields in maps
    ]
    assert len({group_of(*one) for one in asked}) == len(asked)


@pytest.mark.parametrize("name", [[1], {"a": 1}, True, 1.5])
def test_an_event_id_that_no_label_can_have_is_rejected(name: object) -> None:
    with pytest.raises(RejectedRecord, match=r"request_id: the id must be a text or an integer"):
        read(
            {"app": "m", "score": 0.5, "request_id": name},
            msgspec.structs.replace(EVENTS, id_field="request_id"),
        )
