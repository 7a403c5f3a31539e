"""A record of a foreign topic as an event of the log.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

from producer.codec import RefusedRecord, decode
from producer.events import Event, InferenceEvent, Label
from producer.times import time_ms_of

Kind: TypeAlias = Literal["label", "event"]
_KINDS: Final[dict[str, Kind]] = {"label": "label", "event": "event"}
_decode: Final = msgspec.json.Decoder().decode
_SCALARS: Final = (str, int, float, bool, type(None))
_OWN: Final = frozenset({"io.driftline.inference.v1", "io.driftline.label.v1"})


class FieldMap(msgspec.Struct, frozen=True, kw_only=True):
    """Which field of a flat JSON object is what.

    ``model`` and ``version`` are names, or with ``model_field``, ``version_field`` what a field
    says.  ``features`` empty: every scalar field that is nothing else.
    """

    kind: Kind
    model: str = ""
    version: str = ""
    model_field: str = ""
    version_field: str = ""
    id_field: str = "id"
    time_field: str = "time_ms"
    label_field: str = "label"
    prediction_field: str = "prediction"
    features: tuple[str, ...] = ()


def field_map(kind: str | None, *, model: str, model_field: str, **others: Any) -> FieldMap | None:
    """The map that options describe; ``None`` for records of the log's own contract.

    Raises:
        ValueError: it says not enough.

    >>> field_map("label", model="churn", model_field="", id_field="request").id_field
    'request'
    """
    if kind is None:
        return None
    known = _KINDS.get(kind)
    if known is None:
        raise ValueError(f"--as: {kind!r} is neither label nor event")
    if not (model or model_field):
        raise ValueError("whose? --model or --model-field")
    if known == "event" and not (others.get("version") or others.get("version_field")):
        raise ValueError("of which version? --version or --version-field")
    return FieldMap(kind=known, model=model, model_field=model_field, **others)


def event_of(
    value: bytes | None, ce_type: str | None, fields: FieldMap | None, *, place: str, time_ms: int
) -> Event:
    """The event that a record holds.

    Without ``fields`` it has to be one of the log's own contract.  ``place`` (topic, partition and
    offset) becomes the id of an inference event that has none, ``time_ms`` the event time where the
    record names none: what is read twice is the same twice, and the monitor counts it once.

    Raises:
        RefusedRecord: it holds no such event; the text says what is missing.
    """
    if value is None:
        raise RefusedRecord("null_value", "value: none")
    if fields is None:
        event = decode(value, ce_type if ce_type in _OWN else None)
        if not isinstance(event, InferenceEvent | Label):
            raise RefusedRecord("invalid_event", "only inference events and labels are forwarded")
        return event
    try:
        row = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedRecord("malformed_json", str(error)) from error
    if not isinstance(row, dict):
        raise RefusedRecord("invalid_event", "the value is no JSON object")
    at_ms = _time_ms(row.get(fields.time_field), fields.time_field, time_ms)
    model = _named(row, fields.model, fields.model_field, "model")
    if fields.kind == "label":
        return _label(row, fields, model, at_ms)
    return _inference(row, fields, model, at_ms, place)


def _label(row: Mapping[str, Any], fields: FieldMap, model: str, at_ms: int) -> Label:
    name = row.get(fields.id_field)
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise RefusedRecord(
            "invalid_event", f"{fields.id_field}: a label needs its prediction's id"
        )
    if fields.label_field not in row:
        raise RefusedRecord("invalid_event", f"{fields.label_field}: no label")
    return Label(id=str(name), model=model, label=row[fields.label_field], time_ms=at_ms)


def _inference(
    row: Mapping[str, Any], fields: FieldMap, model: str, at_ms: int, place: str
) -> InferenceEvent:
    if fields.prediction_field not in row:
        raise RefusedRecord("invalid_event", f"{fields.prediction_field}: no prediction")
    taken = {
        fields.id_field, fields.time_field, fields.prediction_field, fields.label_field,
        fields.model_field, fields.version_field,
    }  # fmt: skip
    names = fields.features or tuple(
        name for name in row if name not in taken and isinstance(row[name], _SCALARS)
    )
    name = row.get(fields.id_field)
    event = {
        "id": place if name is None else str(name),
        "model": model,
        "version": _named(row, fields.version, fields.version_field, "version"),
        "time_ms": at_ms,
        "features": {name: row.get(name) for name in names},
        "prediction": row[fields.prediction_field],
    }
    try:
        return msgspec.convert(event, InferenceEvent)
    except msgspec.ValidationError as error:
        raise RefusedRecord("invalid_event", str(error)) from error


def _named(row: Mapping[str, Any], name: str, field: str, what: str) -> str:
    if not field:
        return name
    found = row.get(field)
    if not isinstance(found, str | int) or isinstance(found, bool):
        raise RefusedRecord("invalid_event", f"{field}: no {what}")
    return str(found)


def _time_ms(found: object, field: str, otherwise_ms: int) -> int:
    """Event time of a field, as `producer.times` reads it."""
    if found is None:
        return otherwise_ms
    try:
        return time_ms_of(found)
    except (ValueError, OverflowError) as error:
        raise RefusedRecord("invalid_event", f"{field}: {error}") from None
