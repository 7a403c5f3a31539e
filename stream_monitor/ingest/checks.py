"""What a decoded event must satisfy.  The first rule it breaks is the reason of its refusal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from producer.events import (
    Command,
    Event,
    InferenceEvent,
    Label,
    ModelUpdate,
    Prediction,
    Topology,
)
from producer.names import shown, why_no_name
from producer.routing import MAX_PARTITIONS, MAX_SHARDS
from stream_monitor.ingest.limits import LATEST_MS, Limits
from stream_monitor.ingest.refusal import Refusal

_INT64: Final = 1 << 63
_HARMLESS: Final = frozenset({float, bool, type(None)})


class Checks:
    """The rules of one batch.

    Names repeat from event to event: those already seen as good are looked up, not matched again.
    The memory ends with the batch, so it needs no bound of its own.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sure_chars = limits.max_string_bytes // 4  # UTF-8 takes at most 4 bytes a character
        self._good_names: set[str] = set()
        self._good_keys: set[tuple[str, ...]] = set()

    def check(self, event: Event, timestamp_ms: int) -> None:
        """Raise `Refusal` where ``event``, appended at ``timestamp_ms``, breaks a rule."""
        if event.__class__ is InferenceEvent:
            self._check_inference(event)
        elif isinstance(event, Label):
            self._check_label(event)
        elif isinstance(event, ModelUpdate):
            self._name("model", event.model)
            self._name("version", event.version)
            self._identity(event.id)
            self._text("artifact_sha256", event.artifact_sha256 or "")
            self._text("caused_by", event.caused_by or "")
        elif isinstance(event, Command):
            self._check_command(event)
        elif isinstance(event, Topology):
            self._check_topology(event)
        if not 0 <= event.time_ms <= timestamp_ms + self._limits.max_skew_ms:
            self._refuse_time(event.time_ms, timestamp_ms)
        oldest_ms = self._limits.max_event_age_ms
        if oldest_ms is not None and event.time_ms < timestamp_ms - oldest_ms:
            behind = timestamp_ms - event.time_ms
            raise Refusal("too_old", f"time_ms: {behind} ms behind the record, over {oldest_ms}")
        if timestamp_ms > LATEST_MS:
            raise Refusal("timestamp", "the record's timestamp lies beyond the year 9999")

    def _check_inference(self, event: InferenceEvent) -> None:
        """Look everything up first, and call a rule only where that does not settle it."""
        good = self._good_names
        if event.model not in good:
            self._name("model", event.model)
        if event.version not in good:
            self._name("version", event.version)
        features = event.features
        keys = tuple(features)
        if keys not in self._good_keys:
            self._check_feature_names(keys)
        if not 0 < len(event.id) <= self._sure_chars:
            self._identity(event.id)
        if not _HARMLESS.issuperset(map(type, features.values())):
            self._check_values(event)
        if event.prediction.__class__ is not float:
            self._prediction(event.prediction)
        if event.segment is not None:
            self._check_segment(event.segment)

    def _check_feature_names(self, keys: tuple[str, ...]) -> None:
        if len(keys) > self._limits.max_features:
            raise Refusal(
                "too_many_features", f"features: {len(keys)}, over {self._limits.max_features}"
            )
        for key in keys:
            self._name("features: name", key)
        self._good_keys.add(keys)

    def _check_values(self, event: InferenceEvent) -> None:
        """Long strings are refused.  An integer beyond 64 bits is no number: it is missing."""
        sure = self._sure_chars
        for name, value in event.features.items():
            if isinstance(value, str):
                if len(value) > sure or not value.isascii():
                    self._text(f"features.{name}", value)
            elif value.__class__ is int and not -_INT64 <= value < _INT64:
                event.features[name] = None

    def _check_segment(self, segment: dict[str, str]) -> None:
        if len(segment) > self._limits.max_features:
            raise Refusal(
                "too_many_features", f"segment: {len(segment)}, over {self._limits.max_features}"
            )
        for key, value in segment.items():
            self._name("segment: name", key)
            self._text(f"segment.{key}", value)

    def _check_label(self, event: Label) -> None:
        self._name("model", event.model)
        if event.version is not None:
            self._name("version", event.version)
        self._identity(event.id)
        self._scalar("label", event.label)
        if event.prediction is not None:
            self._prediction(event.prediction)

    def _check_command(self, event: Command) -> None:
        self._name("model", event.model)
        self._identity(event.id)
        self._text("episode", event.episode)
        self._text("actor", event.actor)
        self._text("reason", event.reason)
        if event.until_ms is not None and not 0 <= event.until_ms <= LATEST_MS:
            raise Refusal("time", "until_ms: not between 1970 and the year 9999")

    def _check_topology(self, event: Topology) -> None:
        self._identity(event.id)
        if not 0 < event.generation < _INT64:
            raise Refusal("topology", f"generation: {event.generation}, not from 1 on")
        for partitions, shards in ((event.partitions, event.shards), event.before or (1, {})):
            if not 0 < partitions <= MAX_PARTITIONS:
                raise Refusal("topology", f"partitions: {partitions}, not 1 to {MAX_PARTITIONS}")
            for model, count in shards.items():
                self._name("shards: model", model)
                if not 0 < count <= MAX_SHARDS:
                    raise Refusal("topology", f"shards: {count} of a model, over {MAX_SHARDS}")

    def _prediction(self, prediction: Prediction) -> None:
        if not isinstance(prediction, dict):
            self._scalar("prediction", prediction)
            return
        if len(prediction) > self._limits.max_features:
            raise Refusal(
                "too_many_classes",
                f"prediction: {len(prediction)}, over {self._limits.max_features}",
            )
        self._texts("prediction: class name", prediction)

    def _scalar(self, field: str, value: float | str | bool) -> None:  # noqa: FBT001
        """Unlike a feature's value, this one is the point of the record: it must be storable."""
        if isinstance(value, str):
            self._text(field, value)
        elif isinstance(value, int) and not -_INT64 <= value < _INT64:
            raise Refusal("number_range", f"{field}: an integer beyond 64 bits")

    def _identity(self, text: str) -> None:
        if not text:
            raise Refusal("empty_id", "id: empty, so nothing could be joined or told apart by it")
        self._text("id", text)

    def _name(self, field: str, name: str) -> None:
        if name in self._good_names:
            return
        if (why := why_no_name(name)) is not None:
            raise Refusal("name", f"{field}: {shown(name)} is no name: {why}")
        self._good_names.add(name)

    def _texts(self, field: str, texts: Iterable[str]) -> None:
        for text in texts:
            self._text(field, text)

    def _text(self, field: str, text: str) -> None:
        """Bound a string by its UTF-8 bytes."""
        if len(text) <= self._sure_chars and text.isascii():
            return
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise Refusal("encoding", f"{field}: not valid Unicode") from None
        if size > self._limits.max_string_bytes:
            raise Refusal(
                "string_too_long", f"{field}: {size} bytes, over {self._limits.max_string_bytes}"
            )

    def _refuse_time(self, time_ms: int, timestamp_ms: int) -> None:
        if time_ms < 0:
            raise Refusal("negative_time", "time_ms: before 1970")
        # An integer may have thousands of digits, more than Python is willing to print.
        ahead = f"{time_ms - timestamp_ms} ms" if time_ms <= LATEST_MS else "thousands of years"
        raise Refusal(
            "future", f"time_ms: {ahead} ahead of the record, over {self._limits.max_skew_ms} ms"
        )
