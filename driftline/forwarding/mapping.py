"""Convert a record of another topic into an event or a label.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import msgspec

from producer.codec import RejectedRecord, decode
from producer.events import Event, InferenceEvent, Label
from producer.times import time_ms_of

Kind: TypeAlias = Literal["label", "event"]
_KINDS: Final[dict[str, Kind]] = {"label": "label", "event": "event"}
_decode: Final = msgspec.json.Decoder().decode
_SCALARS: Final = (str, int, float, bool, type(None))
_ABSENT: Final = object()
_FEATURES: Final = "features"
_MAX_DEPTH: Final = 8
_CONTRACT_TYPES: Final = frozenset({"io.driftline.inference.v1", "io.driftline.label.v1"})


OnIgnoredField: TypeAlias = Callable[[str], object]


class FieldMap(msgspec.Struct, frozen=True, kw_only=True):
    """The meaning of the fields of a JSON object.

    A field is given by its name, or by a JSON pointer such as ``/request/id``.  ``model`` and
    ``version`` are names; ``model_field`` and ``version_field`` are fields that hold them.

    ``features_field`` is an object with the features; features of nested objects are named with
    dots.  Without it and without ``features``, the object ``features`` is used; without that, every
    scalar field that has no other meaning is a feature.  A record without ``prediction_field`` is
    an event without a prediction; a null there is an invalid prediction.
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
    features_field: str = ""


def field_map(kind: str | None, *, model: str, model_field: str, **others: Any) -> FieldMap | None:
    """The map that the options describe; ``None`` for records in driftline's own format.

    Raises:
        ValueError: an option is missing or invalid.

    >>> field_map("label", model="churn", model_field="", id_field="request").id_field
    'request'
    """
    if kind is None:
        return None
    known = _KINDS.get(kind)
    if known is None:
        raise ValueError(f"--as {kind!r} is neither label nor event")
    if not (model or model_field):
        raise ValueError("the model is missing: give --model or --model-field")
    if known == "event" and not (others.get("version") or others.get("version_field")):
        raise ValueError("the version is missing: give --version or --version-field")
    return FieldMap(kind=known, model=model, model_field=model_field, **others)


def event_of(
    value: bytes | None,
    ce_type: str | None,
    fields: FieldMap | None,
    *,
    position: str,
    time_ms: int,
    on_ignored_field: OnIgnoredField = lambda _: None,
) -> Event:
    """The event or label in a record; ``on_ignored_field`` receives the names of ignored fields.

    Without ``fields`` the record must be in driftline's own format.  ``position`` (topic, partition
    and offset) is the id of an event without one, and ``time_ms`` its event time.  So a record that
    is read twice gives the same event, which the monitor counts once.

    Raises:
        RejectedRecord: the record does not hold such an event; the text names what is missing.
    """
    if value is None:
        raise RejectedRecord("null_value", "value: none")
    if fields is None:
        event = decode(value, ce_type if ce_type in _CONTRACT_TYPES else None)
        if not isinstance(event, InferenceEvent | Label):
            raise RejectedRecord("invalid_event", "only inference events and labels are forwarded")
        return event
    try:
        row = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectedRecord("malformed_json", str(error)) from error
    if not isinstance(row, dict):
        raise RejectedRecord("invalid_event", "the value is not a JSON object")
    at_ms = _time_ms(value_at(row, fields.time_field), fields.time_field, time_ms)
    model = _named(row, fields.model, fields.model_field, "model")
    if fields.kind == "label":
        return _label(row, fields, model, at_ms)
    return _inference(row, fields, model, at_ms, position, on_ignored_field)


def _label(row: Mapping[str, Any], fields: FieldMap, model: str, at_ms: int) -> Label:
    name, truth = value_at(row, fields.id_field), value_at(row, fields.label_field, _ABSENT)
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise RejectedRecord(
            "invalid_event", f"{fields.id_field}: a label needs the id of its prediction"
        )
    if truth is _ABSENT:
        raise RejectedRecord("invalid_event", f"{fields.label_field}: the label is missing")
    return Label(id=str(name), model=model, label=truth, time_ms=at_ms)


def _inference(
    row: Mapping[str, Any],
    fields: FieldMap,
    model: str,
    at_ms: int,
    position: str,
    on_ignored_field: OnIgnoredField,
) -> InferenceEvent:
    prediction = value_at(row, fields.prediction_field, _ABSENT)
    name = value_at(row, fields.id_field)
    if not isinstance(name, str | int | None) or isinstance(name, bool):
        raise RejectedRecord(
            "invalid_event",
            f"{fields.id_field}: the id must be a text or an integer, not a {type(name).__name__}",
        )
    event = {
        "id": position if name is None else str(name),
        "model": model,
        "version": _named(row, fields.version, fields.version_field, "version"),
        "time_ms": at_ms,
        "features": _features(row, fields, on_ignored_field),
    }
    if prediction is not _ABSENT:
        event["prediction"] = prediction
    elif not event["features"]:
        raise RejectedRecord("invalid_event", f"no features, and no {fields.prediction_field}")
    try:
        return msgspec.convert(event, InferenceEvent)
    except msgspec.ValidationError as error:
        raise RejectedRecord("invalid_event", str(error)) from error


def _features(
    row: Mapping[str, Any], fields: FieldMap, on_ignored_field: OnIgnoredField
) -> dict[str, Any]:
    """The features of a record.

    Raises:
        RejectedRecord: no field that could be a feature holds a scalar.
    """
    if fields.features:
        chosen = {_name_of(path): value_at(row, path) for path in fields.features}
        return _require_scalar(flatten(chosen, on_ignored_field), chosen, "the chosen features")
    if fields.features_field:
        inside = value_at(row, fields.features_field)
        if not isinstance(inside, dict):
            raise RejectedRecord("invalid_event", f"{fields.features_field}: not an object")
        return _require_scalar(flatten(inside, on_ignored_field), inside, fields.features_field)
    taken = {
        fields.id_field,
        fields.time_field,
        fields.prediction_field,
        fields.label_field,
        fields.model_field,
        fields.version_field,
    }
    inside = row.get(_FEATURES)
    if isinstance(inside, dict) and _FEATURES not in taken:
        return _require_scalar(flatten(inside, on_ignored_field), inside, _FEATURES)
    found, nested = {}, []
    parts = {path.split("/")[1] for path in taken if path.startswith("/")}  # contain other fields
    for name, value in row.items():
        if name in taken or (value is None and name in parts):
            continue
        if isinstance(value, _SCALARS):
            found[name] = value
        elif name not in parts:
            nested.append(name)
            on_ignored_field(name)
    if nested and not found:
        raise RejectedRecord(
            "invalid_event",
            f"no features: {', '.join(map(repr, nested))} holds no scalar; name an object of "
            f"features with --features-field {nested[0]}, entries of a list with "
            f"--features /{nested[0]}/0",
        )
    return found


def _require_scalar(found: dict[str, Any], inside: dict[str, Any], where: str) -> dict[str, Any]:
    if inside and not found:
        raise RejectedRecord("invalid_event", f"{where}: none of its fields is a scalar")
    return found


def flatten(
    inside: Mapping[str, Any], on_ignored_field: OnIgnoredField, depth: int = 0
) -> dict[str, Any]:
    """The scalars of an object and of the objects in it, named with dots.

    Raises:
        RejectedRecord: two scalars have the same name.

    >>> flatten({"age": 3, "home": {"zip": "02134", "floors": [1]}}, print)
    home.floors
    {'age': 3, 'home.zip': '02134'}
    """
    found: dict[str, Any] = {}
    for name, value in inside.items():
        if isinstance(value, dict) and depth < _MAX_DEPTH:
            deeper = flatten(value, partial(_report_nested, on_ignored_field, name), depth + 1)
            more = {f"{name}.{inner}": scalar for inner, scalar in deeper.items()}
        elif isinstance(value, _SCALARS):
            more = {name: value}
        else:
            on_ignored_field(name)
            continue
        if found.keys() & more.keys():
            twice = min(found.keys() & more.keys())
            raise RejectedRecord("invalid_event", f"features: two have the name {twice!r}")
        found |= more
    return found


def _report_nested(on_ignored_field: OnIgnoredField, name: str, lost: str) -> None:
    on_ignored_field(f"{name}.{lost}")


def value_at(row: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """The value of a field or a JSON pointer (RFC 6901), else ``default``; below null it is null.

    >>> row = {"a": {"b/c": [10, 20]}, "/x": 1, "out": None}
    >>> value_at(row, "/a/b~1c/1"), value_at(row, "/a/no", 0), value_at(row, "/x")
    (20, 0, 1)
    >>> value_at(row, "/out/score", 0)
    """
    if not path.startswith("/") or path in row:
        return row.get(path, default)
    here: Any = row
    for part in _parts(path):
        if isinstance(here, dict) and part in here:
            here = here[part]
        elif isinstance(here, list) and part.isdecimal() and int(part) < len(here):
            here = here[int(part)]
        elif here is None:
            return None
        else:
            return default
    return here


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _name_of(path: str) -> str:
    """The name of the feature at a path."""
    return ".".join(_parts(path)) if path.startswith("/") else path


def _named(row: Mapping[str, Any], name: str, field: str, what: str) -> str:
    if not field:
        return name
    found = value_at(row, field)
    if not isinstance(found, str | int) or isinstance(found, bool):
        raise RejectedRecord("invalid_event", f"{field}: the {what} is missing")
    return str(found)


def _time_ms(found: object, field: str, otherwise_ms: int) -> int:
    """The event time in a field; ``otherwise_ms`` without one."""
    if found is None:
        return otherwise_ms
    try:
        return time_ms_of(found)
    except (ValueError, OverflowError) as error:
        raise RejectedRecord("invalid_event", f"{field}: {error}") from None
