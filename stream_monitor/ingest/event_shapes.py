"""Fast decoders of inference events, made for the names of features that a producer sends.

Most events of a producer have the same features.  A decoder made for these names needs neither a
dict for each event nor a check of each name and value: half of the cost.  It accepts fewer events
than `producer.codec` and `producer.validation` do, and decodes those to equal values; all others
take the general way.  So what it has learned decides the speed, and never a result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import Meta

from producer.events import InferenceEvent, Value
from producer.limits import Limits
from producer.values import INT64_LIMIT
from stream_monitor.ingest.records import RecordColumns

_UNNAMEABLE: Final = re.compile(r'["\\]')
"""Names that a field of a struct cannot have; their events are decoded one by one."""
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MAX_SHAPES: Final = 4_096
_MAX_CHANGES: Final = 8
"""A producer that names new features more often has no shape."""
_Integer = Annotated[int, Meta(ge=-INT64_LIMIT, le=INT64_LIMIT - 1)]


class FeatureRow(msgspec.Struct, frozen=True, gc=False):
    """The features of one event, as fields in a fixed order; an absent feature is ``None``."""

    def as_dict(self) -> dict[str, Value]:
        """The features that are there, by name."""
        names = self.__struct_encode_fields__
        values = zip(names, msgspec.structs.astuple(self), strict=True)
        return {name: value for name, value in values if value is not None}


class _Shape:
    """The decoder of the events of one record key."""

    def __init__(self, names: Sequence[str], limits: Limits, n_changes: int) -> None:
        self.names, self.n_changes = frozenset(names), n_changes
        chars = limits.max_string_bytes // 4  # UTF-8 takes at most 4 bytes a character
        value = float | _Integer | Annotated[str, Meta(max_length=chars)] | bool | None
        row = msgspec.defstruct(
            "Row",
            [(f"f{i}", value, None) for i in range(len(names))],
            bases=(FeatureRow,),
            rename={f"f{i}": name for i, name in enumerate(names)},
            forbid_unknown_fields=True,
            frozen=True,
            gc=False,
        )
        event = msgspec.defstruct(
            "Event",
            [
                ("id", Annotated[str, Meta(min_length=1, max_length=chars)]),
                ("time_ms", Annotated[int, Meta(ge=0)]),
                ("features", row),
            ],
            bases=(InferenceEvent,),
            kw_only=True,
            frozen=True,
            gc=False,
        )
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(event).decode


class EventShapes:
    """The shapes of the events seen so far, by the key of their records."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._shapes: dict[bytes | None, _Shape | None] = {}

    def learn(self, key: bytes | None, event: InferenceEvent) -> None:
        """Learn the features of a valid event that `decode` did not decode."""
        known = self._shapes.get(key)
        if known is None and key in self._shapes:
            return
        names = event.features.keys() | (known.names if known else ())
        n_changes = known.n_changes + 1 if known else 0
        if known and names == known.names:
            return
        if (
            n_changes > _MAX_CHANGES
            or len(names) > self._limits.max_features
            or any(_UNNAMEABLE.search(name) for name in names)
        ):
            self._shapes[key] = None
            return
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        self._shapes[key] = _Shape(sorted(names), self._limits, n_changes)

    def decode(self, records: RecordColumns) -> list[InferenceEvent | None]:
        """Return the inference events of valid records; ``None`` for an unknown shape."""
        shape_of, max_bytes = self._shapes.get, self._limits.max_value_bytes
        keys, values = set(records.keys), records.values
        if len(keys) == 1 and set(map(type, values)) == {bytes}:
            shape = shape_of(keys.pop())
            if shape is not None and max(map(len, cast("list[bytes]", values))) <= max_bytes:
                return _decoded(shape.decode, cast("list[bytes]", values))
        found: list[InferenceEvent | None] = []
        for key, value in zip(records.keys, values, strict=True):
            shape, event = shape_of(key), None
            if shape is not None and value is not None and len(value) <= max_bytes:
                try:
                    event = shape.decode(value)
                except _UNDECODABLE:
                    event = None
            found.append(event)
        return found


def _decoded(decode_one: Callable[[bytes], Any], values: list[bytes]) -> list[Any]:
    """The decoded values; ``None`` for one that cannot be decoded."""
    found: list[Any] = []
    rest = iter(values)
    while len(found) < len(values):
        try:
            found.extend(map(decode_one, rest))
        except _UNDECODABLE:  # the list has the values before this one
            found.append(None)
    return found
