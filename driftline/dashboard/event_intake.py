"""Converts the body of a request into events, with the same rules and texts as dead letters.

An event without ``id`` has a new one, and an event without ``time_ms`` has the present time.  The
first invalid event rejects the whole request, so that nothing of it is written.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from driftline.dashboard.request_problem import Problem, RequestProblem
from producer.codec import RejectedRecord, decode, encode
from producer.events import CE_TYPE_OF, InferenceEvent, Label, Value
from producer.ids import uuid7
from producer.limits import Limits
from producer.validation import EventValidator

MAX_EVENTS: Final = 1_000
"""Events of one request."""
MAX_BODY_BYTES: Final = 4 << 20

_DESCRIBED: Final = "/api/v1/openapi.json describes the fields"
_FIELD: Final = re.compile(
    r"at `\$\.?([^`]*)`|required field `(\w+)`|^((?:features|segment)\.[^:]+|[a-z_]+):"
)
_ENTRY_TYPES: Final[dict[str, Any]] = {"features": Value, "segment": str}
_NON_JSON_NUMBERS: Final = (b"NaN", b"Infinity")

PostedEvent: TypeAlias = InferenceEvent | Label
_NAME_OF: Final[dict[type[PostedEvent], str]] = {InferenceEvent: "event", Label: "label"}
_FIELDS_OF: Final = {kind: frozenset(kind.__struct_fields__) for kind in _NAME_OF}


class Intake(NamedTuple):
    """The events of a request, and the fields that events do not have."""

    events: list[PostedEvent]
    ignored_fields: list[str]


def events_of_body(body: bytes, kind: type[PostedEvent], *, limits: Limits, now_ms: int) -> Intake:
    """The events in ``body``: one, or a list.

    Raises:
        RequestProblem: an event is invalid, or the body is.
    """
    values, is_list = _values_of(body)
    if not values:
        raise RequestProblem(
            422,
            Problem(
                what="nothing was written", where="$", why="the list is empty",
                fix=f"send 1 to {MAX_EVENTS} {_NAME_OF[kind]}s",
            ),
        )  # fmt: skip
    if len(values) > MAX_EVENTS:
        raise RequestProblem(
            413,
            Problem(
                what="nothing was written", where="$",
                why=f"{len(values)} {_NAME_OF[kind]}s, over {MAX_EVENTS}",
                fix="send them in several requests",
            ),
        )  # fmt: skip
    validator = EventValidator(limits)
    events: list[PostedEvent] = []
    ignored: dict[str, None] = {}
    for index, value in enumerate(values):
        try:
            event, unknown = _event_of(value, kind, validator, limits, now_ms)
        except RejectedRecord as error:
            place = f"$[{index}]" if is_list else "$"
            raise _problem_of(error, value, place, _NAME_OF[kind], index, len(values)) from None
        events.append(event)
        ignored |= dict.fromkeys(unknown)
    return Intake(events, sorted(ignored))


def _event_of(
    value: bytes, kind: type[PostedEvent], validator: EventValidator, limits: Limits, now_ms: int
) -> tuple[PostedEvent, set[str]]:
    """A valid event, and the names of the fields that were ignored; raises RejectedRecord."""
    complete, unknown = _complete(value, kind, now_ms)
    event = decode(complete, CE_TYPE_OF[kind])
    if not isinstance(event, kind):
        raise RejectedRecord("invalid_event", "features: a label has none")
    if (size := len(encode(event))) > limits.max_value_bytes:
        raise RejectedRecord("too_large", f"value: {size} bytes, over {limits.max_value_bytes}")
    validator.validate(event, now_ms)
    return event, unknown


def _values_of(body: bytes) -> tuple[list[bytes], bool]:
    """The JSON of each event, and whether the body is a list."""
    text = body.strip()
    if not text:
        raise RequestProblem(
            422,
            Problem(
                what="nothing was written", where="the body", why="it is empty",
                fix=f"send JSON in UTF-8; {_DESCRIBED}", reason="malformed_json",
            ),
        )  # fmt: skip
    is_list = text.startswith(b"[")
    try:
        if not is_list:
            return [bytes(msgspec.json.decode(text, type=msgspec.Raw))], False
        return [bytes(value) for value in msgspec.json.decode(text, type=list[msgspec.Raw])], True
    except (msgspec.DecodeError, RecursionError) as error:
        lenient = _without_non_json_numbers(text)
        if lenient is None:
            raise RequestProblem(
                422,
                Problem(
                    what="nothing was written", where="$", why=str(error),
                    fix=f"send JSON in UTF-8; {_DESCRIBED}", reason="malformed_json",
                ),
            ) from None  # fmt: skip
        return lenient, is_list


def _without_non_json_numbers(text: bytes) -> list[bytes] | None:
    """The values of a body whose only fault are NaN and infinity, which become null."""
    if not any(number in text for number in _NON_JSON_NUMBERS):
        return None
    try:
        found = json.loads(text, parse_constant=lambda _: None)
        values = found if isinstance(found, list) else [found]
        return [msgspec.json.encode(value) for value in values]
    except (ValueError, RecursionError, OverflowError):
        return None


def _complete(value: bytes, kind: type[PostedEvent], now_ms: int) -> tuple[bytes, set[str]]:
    """The value with ``id`` and ``time_ms``, and the fields that ``kind`` does not have."""
    try:
        fields: dict[str, Any] = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return value, set()  # `decode` names the fault
    unknown = fields.keys() - _FIELDS_OF[kind]
    missing: dict[str, Any] = {}
    needs_event = kind is Label and "prediction" not in fields  # a new id would belong to none
    if "id" not in fields and not needs_event:
        missing["id"] = uuid7(now_ms)
    if "time_ms" not in fields:
        missing["time_ms"] = now_ms
    return (msgspec.json.encode(fields | missing) if missing else value), unknown


def _with_entry(field: str, value: bytes) -> str:
    """``features[...]`` as ``features.NAME``: the first entry of another type than the others.

    >>> _with_entry("features[...]", b'{"features": {"a": 1, "b": [2]}}')
    'features.b'
    >>> _with_entry("time_ms", b"{}")
    'time_ms'
    """
    outer = field.removesuffix("[...]")
    if outer not in _ENTRY_TYPES or outer == field:
        return field
    fields = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    for name, entry in msgspec.json.decode(fields[outer], type=dict[str, msgspec.Raw]).items():
        try:
            msgspec.json.decode(entry, type=_ENTRY_TYPES[outer])
        except msgspec.MsgspecError:
            return f"{outer}.{name}"
    return field


def _problem_of(
    error: RejectedRecord, value: bytes, place: str, name: str, index: int, n_values: int
) -> RequestProblem:
    match = _FIELD.search(str(error))
    field = next((group for group in match.groups() if group), "") if match else ""
    field = _with_entry(field, value)
    what = f"{name} {index} of {n_values} is invalid (the first is 0); nothing was written"
    if place == "$":
        what = f"the {name} is invalid; nothing was written"
    where = f"{place}.{field}" if field and field != "value" else place
    fix = f"correct {field}; {_DESCRIBED}" if field else _DESCRIBED
    if "a label has none" in str(error):
        fix = "POST events to /api/v1/events, and labels without features here"
    return RequestProblem(
        422, Problem(what=what, where=where, why=str(error), fix=fix, reason=error.reason)
    )
