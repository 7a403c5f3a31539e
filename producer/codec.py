"""Events to bytes and back: JSON, in the CloudEvents 1.0 Kafka binding, binary mode.

The value is plain JSON; what kind of event it is stands in the header ``ce_type``.  A record
without that header is read by its shape: a body with ``label`` and no ``features`` is a label,
any other an inference event.

JSON has no word for what is no number: `encode` writes null.  Others write ``NaN`` and
``Infinity`` all the same, and numbers that are too large for any float: `decode` reads them as
null.
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


class RejectedRecord(ValueError):  # noqa: N818 - the refusal is the producer's fault, and expected
    """A value that is no event.  ``reason`` is a slug to count by; the text says what and where."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class UnknownEventType(RejectedRecord):
    """The ``ce_type`` of a record names no event of this log."""

    def __init__(self, kind: str) -> None:
        super().__init__("unknown_kind", f"ce_type: {kind!r} is no event of this log")


class _Shape(msgspec.Struct):
    """Just enough of a body to tell a label from an inference event."""

    label: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    features: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_label(self) -> bool:
        """By the rule of this module."""
        return self.label is not msgspec.UNSET and self.features is msgspec.UNSET


class _IdentifiedShape(_Shape):
    """A body that `encode` returned, with the id that its headers need."""

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
    """The value of the record.  Not-a-number and infinity become null: a missing value.

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


def decode(value: bytes, kind: str | None = None) -> Event:
    """The event of a record with ``ce_type`` ``kind``.

    Raises:
        RejectedRecord: the value is not such an event; nothing else is raised, whatever the bytes.

    >>> decode(b'{"id":"a","model":"m","label":1,"time_ms":0}').label
    1
    """
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
            found = _decode_non_json_numbers(value, kind)
            if found is not None:
                return found
        reason = "invalid_event" if isinstance(error, msgspec.ValidationError) else "malformed_json"
        raise RejectedRecord(reason, str(error)) from error
    except RecursionError:
        raise RejectedRecord("malformed_json", "the value is nested too deeply") from None
    return event


def _may_have_non_json_numbers(value: bytes, kind: str | None, error: Exception) -> bool:
    """Whether an event, or a label, may be refused for no more than what `_decode_non_json_numbers` mends.

    Not where a lone surrogate may be inside: the standard library's parser would let it pass.
    """
    if kind not in _TYPES_WITH_LENIENT_NUMBERS or b"\\ud" in value.lower():
        return False
    return b"NaN" in value or b"Infinity" in value or "out of range" in str(error)


def _decode_non_json_numbers(value: bytes, kind: str | None) -> Event | None:
    """The event of a value with numbers that JSON does not have; ``None``: that is not it."""
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
