"""Encode events as JSON and decode them.

A value with the text ``"features"`` that decodes as an inference event is one.  The kind of any
other value is the header ``ce_type``.  Without that header the shape decides: a value with
``label`` and no ``features`` is a label, any other an inference event.  So the headers of most
records need not be read, which would cost more than the rest of reading them.

JSON has no NaN and no infinity: `encode` writes null.  Other producers write ``NaN``, ``Infinity``
and numbers too large for a float: `decode` reads them as null.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, cast

import msgspec

from producer.cloudevents import Headers, cloudevent_headers
from producer.events import CE_TYPE_OF, EVENT_OF_CE_TYPE, Event, InferenceEvent, Label

_MAX_DIGITS: Final = 308  # a float has no more
_TYPES_WITH_LENIENT_NUMBERS: Final = (None, CE_TYPE_OF[InferenceEvent], CE_TYPE_OF[Label])


_ARROW_PREFIX: Final = b"\xff\xff\xff\xff"  # before a positive size; no JSON begins so


class RejectedRecord(ValueError):  # noqa: N818 - expected, and the fault of a producer
    """A value is not a valid event: ``reason`` is the key of its count, the text has details."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class UnknownEventType(RejectedRecord):
    """The ``ce_type`` of a record names no kind of event."""

    def __init__(self, ce_type: str) -> None:
        super().__init__("unknown_kind", f"ce_type: {ce_type!r} is not a type of event")


class _Shape(msgspec.Struct):
    """The fields of a value that distinguish a label from an inference event."""

    label: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    features: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_label(self) -> bool:
        """Whether the value is a label, by the rule of this module."""
        return self.label is not msgspec.UNSET and self.features is msgspec.UNSET


class _IdentifiedShape(_Shape):
    """The same, with the id that the headers need."""

    id: str = ""


_DECODERS: Final[dict[str | None, Any]] = {
    name: msgspec.json.Decoder(kind).decode for name, kind in EVENT_OF_CE_TYPE.items()
}
_decode_shape: Final = msgspec.json.Decoder(_Shape).decode
_decode_identified: Final = msgspec.json.Decoder(_IdentifiedShape).decode
_decode_inference: Final = msgspec.json.Decoder(InferenceEvent).decode
_decode_label: Final = msgspec.json.Decoder(Label).decode
_encoder: Final = msgspec.json.Encoder()


def encode(event: Event) -> bytes:
    """Encode an event as the value of a record.  NaN and infinity become null, a missing value.

    >>> encode(Label(id="a", model="m", label=1, time_ms=0))
    b'{"id":"a","model":"m","label":1,"time_ms":0}'
    """
    return _encoder.encode(event)


def event_headers_of_value(value: bytes, *, source: str) -> Headers:
    """Build the headers of an inference event or a label from the bytes that `encode` returned.

    Raises:
        msgspec.MsgspecError: the value is neither.

    >>> from producer.cloudevents import event_headers
    >>> label = Label(id="a", model="m", label=1, time_ms=0)
    >>> event_headers_of_value(encode(label), source="/s") == event_headers(label, source="/s")
    True
    """
    shape = _decode_identified(value)
    ce_type = CE_TYPE_OF[Label if shape.is_label else InferenceEvent]
    return cloudevent_headers(ce_type, shape.id, source)


def is_batch(value: bytes | None) -> bool:
    """Whether the value of a record is a batch of events (`producer.arrow_batch`).

    >>> is_batch(b'{"id":"a"}'), is_batch(None)
    (False, False)
    """
    return value is not None and value[:4] == _ARROW_PREFIX and value[7:8] < b"\x80"


def inference_event_of(value: bytes) -> InferenceEvent | None:
    """Decode an inference event on the fast path; ``None`` if `decode` must be used.

    >>> inference_event_of(b'{"id":"a","model":"m","label":1,"time_ms":0}') is None
    True
    """
    if b'"features"' not in value:  # cheaper than an error for each label
        return None
    try:
        event: InferenceEvent = _decode_inference(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return event


def decode(value: bytes, kind: str | None = None) -> Event:
    """Decode the value of a record whose ``ce_type`` is ``kind``.

    Raises:
        RejectedRecord: the value is not such an event.  No bytes raise anything else.

    >>> decode(b'{"id":"a","model":"m","label":1,"time_ms":0}').label
    1
    """
    found = inference_event_of(value)
    if found is not None:
        return found
    try:
        if kind is None:
            shape = _decode_shape(value)
            return _decode_label(value) if shape.is_label else _decode_inference(value)
        decoder = _DECODERS.get(kind)
        if decoder is None:
            raise UnknownEventType(kind)
        event: Event = decoder(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if _may_have_non_json_numbers(value, kind, error):
            lenient = _decode_non_json_numbers(value, kind)
            if lenient is not None:
                return lenient
        reason = "invalid_event" if isinstance(error, msgspec.ValidationError) else "malformed_json"
        raise RejectedRecord(reason, str(error)) from error
    except RecursionError:
        raise RejectedRecord("malformed_json", "the value is nested too deeply") from None
    return event


def _may_have_non_json_numbers(value: bytes, kind: str | None, error: Exception) -> bool:
    """Whether numbers that JSON does not have may be the only fault of an event or a label.

    False if the value may contain a lone surrogate, which the standard library's parser accepts.
    """
    if kind not in _TYPES_WITH_LENIENT_NUMBERS or b"\\ud" in value.lower():
        return False
    return b"NaN" in value or b"Infinity" in value or "out of range" in str(error)


def _decode_non_json_numbers(value: bytes, kind: str | None) -> Event | None:
    """Decode a value with numbers that JSON does not have; ``None`` if it has another fault."""
    try:
        body = json.loads(
            value, parse_constant=lambda _: None, parse_float=_finite, parse_int=_bounded_int
        )
        if kind is None and isinstance(body, dict):
            is_label = "label" in body and "features" not in body
            kind = CE_TYPE_OF[Label if is_label else InferenceEvent]
        event: Event = msgspec.convert(body, cast("type[Event]", EVENT_OF_CE_TYPE[kind or ""]))
    except (ValueError, KeyError, RecursionError):
        return None
    return event


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _bounded_int(text: str) -> int | None:
    return int(text) if len(text) <= _MAX_DIGITS else None
