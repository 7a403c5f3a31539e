"""Validation of events, the same for writers and the monitor.

The first rule that an event breaks is the reason of its rejection.  An invalid prediction or label
does not reject the event: it becomes ``None``, and the event counts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from msgspec import UNSET, UnsetType
from msgspec.structs import force_setattr

from producer.codec import RejectedRecord
from producer.events import Command, Event, InferenceEvent, Label, ModelUpdate, Prediction, Topology
from producer.limits import LATEST_MS, Limits
from producer.names import invalid_name_reason, quoted
from producer.routing import MAX_PARTITIONS, MAX_SHARDS
from producer.values import INT64_LIMIT, float_of

_ALWAYS_VALID_TYPES: Final = frozenset({float, bool, type(None)})
_NUMBER_TYPES: Final = frozenset({float, int, bool, type(None)})
_PLAIN_PREDICTIONS: Final = _ALWAYS_VALID_TYPES | {UnsetType}
_MAX_CACHED: Final = 4096


class EventValidator:
    """Validates events one after another.

    Names repeat from event to event, so valid names are cached, up to a bound.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._surely_short_chars = (
            limits.max_string_bytes // 4
        )  # UTF-8 takes at most 4 bytes a character
        self._valid_names: set[str] = set()
        self._valid_feature_keys: set[tuple[str, ...]] = set()

    def validate(self, event: Event, timestamp_ms: int) -> None:
        """Validate an event whose record has the timestamp ``timestamp_ms``.

        Replaces invalid predictions and labels in the event by ``None``, and integers beyond 64
        bits by floats.

        Raises:
            RejectedRecord: the event breaks a rule.
        """
        self._bound_caches()
        if event.__class__ is InferenceEvent:
            self._check_inference(event)
        elif isinstance(event, Label):
            self._check_label(event)
        elif isinstance(event, ModelUpdate):
            self._check_name("model", event.model)
            self._check_name("version", event.version)
            self._check_id(event.id)
            self._check_text("artifact_sha256", event.artifact_sha256 or "")
            self._check_text("caused_by", event.caused_by or "")
        elif isinstance(event, Command):
            self._check_command(event, timestamp_ms)
        elif isinstance(event, Topology):
            self._check_topology(event)
        if not 0 <= event.time_ms <= timestamp_ms + self._limits.max_skew_ms:
            self._reject_time(event.time_ms, timestamp_ms)
        oldest_ms = self._limits.max_event_age_ms
        if oldest_ms is not None and event.time_ms < timestamp_ms - oldest_ms:
            behind = timestamp_ms - event.time_ms
            raise RejectedRecord(
                "too_old", f"time_ms: {behind} ms behind the record, over {oldest_ms}"
            )
        if timestamp_ms > LATEST_MS:
            raise RejectedRecord("timestamp", "the record's timestamp is beyond the year 9999")

    def validate_shared(
        self, model: str, version: str, features: Sequence[str], segments: Sequence[str]
    ) -> None:
        """Validate the names that all events of a batch share.

        Raises:
            RejectedRecord: one breaks a rule.
        """
        self._bound_caches()
        self._check_name("model", model)
        self._check_name("version", version)
        self._check_feature_names(tuple(features))
        self._check_segment(dict.fromkeys(segments, ""))

    def _bound_caches(self) -> None:
        if len(self._valid_names) > _MAX_CACHED or len(self._valid_feature_keys) > _MAX_CACHED:
            self._valid_names.clear()
            self._valid_feature_keys.clear()

    def all_valid(
        self, events: Sequence[InferenceEvent], names: Collection[str], timestamps_ms: Sequence[int]
    ) -> bool:
        """Whether all events of a group are valid; False: validate each event.

        Does what `validate` does for each event, at once for what they share.  ``names`` are those
        of their models and versions.
        """
        limits = self._limits
        ahead_ms = [
            event.time_ms - stamped_ms
            for event, stamped_ms in zip(events, timestamps_ms, strict=True)
        ]
        oldest_ms = limits.max_event_age_ms
        if (
            max(ahead_ms) > limits.max_skew_ms
            or (oldest_ms is not None and min(ahead_ms) < -oldest_ms)
            or max(timestamps_ms) > LATEST_MS
            or not self._valid_names.issuperset(names)
        ):
            return False
        try:
            for event in events:
                if event.segment is not None:
                    self._check_segment(event.segment)
        except RejectedRecord:
            return False
        if not _PLAIN_PREDICTIONS.issuperset({event.prediction.__class__ for event in events}):
            for event in events:
                if event.prediction is not UNSET:
                    self._check_prediction(event)
        return True

    def _check_inference(self, event: InferenceEvent) -> None:
        """Check caches and types first; call a rule only where they do not decide."""
        good = self._valid_names
        if event.model not in good:
            self._check_name("model", event.model)
        if event.version not in good:
            self._check_name("version", event.version)
        features = event.features
        keys = tuple(features)
        if keys not in self._valid_feature_keys:
            self._check_feature_names(keys)
        if not 0 < len(event.id) <= self._surely_short_chars:
            self._check_id(event.id)
        if not _ALWAYS_VALID_TYPES.issuperset(map(type, features.values())):
            self._check_values(event)
        if event.prediction.__class__ is not float and event.prediction is not UNSET:
            self._check_prediction(event)
        if event.segment is not None:
            self._check_segment(event.segment)

    def _check_feature_names(self, keys: tuple[str, ...]) -> None:
        if len(keys) > self._limits.max_features:
            raise RejectedRecord(
                "too_many_features", f"features: {len(keys)}, over {self._limits.max_features}"
            )
        for key in keys:
            self._check_name("features: name", key)
        self._valid_feature_keys.add(keys)

    def _check_values(self, event: InferenceEvent) -> None:
        """Reject long texts; replace an integer beyond 64 bits by the nearest float."""
        sure = self._surely_short_chars
        for name, value in event.features.items():
            if isinstance(value, str):
                if len(value) > sure or not value.isascii():
                    self._check_text(f"features.{name}", value)
            elif value.__class__ is int and not -INT64_LIMIT <= value < INT64_LIMIT:
                event.features[name] = float_of(value)

    def _check_segment(self, segment: dict[str, str]) -> None:
        if len(segment) > self._limits.max_features:
            raise RejectedRecord(
                "too_many_features", f"segment: {len(segment)}, over {self._limits.max_features}"
            )
        for key, value in segment.items():
            self._check_name("segment: name", key)
            self._check_text(f"segment.{key}", value)

    def _check_label(self, event: Label) -> None:
        self._check_name("model", event.model)
        if event.version is not None:
            self._check_name("version", event.version)
        self._check_id(event.id)
        if event.label.__class__ not in _ALWAYS_VALID_TYPES:
            force_setattr(event, "label", self._normalized_label(event.label))
        if event.prediction is not None:
            self._check_prediction(event)

    def _check_command(self, event: Command, timestamp_ms: int) -> None:
        self._check_name("model", event.model)
        self._check_id(event.id)
        self._check_text("episode", event.episode)
        self._check_text("actor", event.actor)
        self._check_text("reason", event.reason)
        if event.until_ms is not None and not 0 <= event.until_ms <= LATEST_MS:
            raise RejectedRecord("time", "until_ms: not between 1970 and the year 9999")
        longest_ms = self._limits.max_snooze_ms
        latest_ms = timestamp_ms + longest_ms + self._limits.max_skew_ms
        if event.action == "snooze" and (event.until_ms or 0) > latest_ms:
            hours = ((event.until_ms or 0) - timestamp_ms) / 3_600_000
            raise RejectedRecord(
                "snooze_too_long",
                f"until_ms: {hours:,.0f} h from now; max_snooze_ms allows "
                f"{longest_ms / 3_600_000:g} h",
            )

    def _check_topology(self, event: Topology) -> None:
        self._check_id(event.id)
        if not 0 < event.generation < INT64_LIMIT:
            raise RejectedRecord(
                "topology", f"generation: {event.generation}, below 1 or over 64 bits"
            )
        for partitions, shards in ((event.partitions, event.shards), event.before or (1, {})):
            if not 0 < partitions <= MAX_PARTITIONS:
                raise RejectedRecord(
                    "topology", f"partitions: {partitions}, not 1 to {MAX_PARTITIONS}"
                )
            for model, count in shards.items():
                self._check_name("shards: model", model)
                if not 0 < count <= MAX_SHARDS:
                    raise RejectedRecord(
                        "topology", f"shards: {count} of a model, over {MAX_SHARDS}"
                    )

    def _check_prediction(self, event: InferenceEvent | Label) -> None:
        prediction = self._normalized_prediction(event.prediction)
        if prediction is not event.prediction:
            force_setattr(event, "prediction", prediction)

    def _normalized_prediction(self, prediction: Any) -> Prediction:
        """Return the prediction as the monitor uses it; ``None`` if it is invalid."""
        while isinstance(prediction, list) and len(prediction) == 1:
            prediction = prediction[0]  # the model predicted one row
        if isinstance(prediction, str):
            return prediction if self._is_valid_text(prediction) else None
        if isinstance(prediction, list):
            outputs = self._are_numeric_outputs(prediction)
            return [float_of(output) for output in prediction] if outputs else None
        if isinstance(prediction, dict):
            return self._named_outputs(prediction)
        if prediction.__class__ is int and not -INT64_LIMIT <= prediction < INT64_LIMIT:
            return float_of(prediction)
        return prediction  # type: ignore[no-any-return]

    def _named_outputs(self, prediction: dict[str, Any]) -> Prediction:
        if not self._are_numeric_outputs(prediction.values()) or not all(
            map(self._is_valid_text, prediction)
        ):
            return None
        if int not in map(type, prediction.values()):
            return prediction
        return {name: float_of(output) for name, output in prediction.items()}

    def _are_numeric_outputs(self, outputs: Collection[Any]) -> bool:
        return 0 < len(outputs) <= self._limits.max_features and _NUMBER_TYPES.issuperset(
            map(type, outputs)
        )

    def _is_valid_text(self, text: str) -> bool:
        """Whether a text is short enough and valid Unicode."""
        try:
            self._check_text("", text)
        except RejectedRecord:
            return False
        return True

    def _normalized_label(self, label: Any) -> float | int | str | bool | None:
        """Return the label as the monitor compares it; ``None`` if it cannot be compared."""
        if isinstance(label, str):
            return label if self._is_valid_text(label) else None
        if label.__class__ is not int:
            return None
        return label if -INT64_LIMIT <= label < INT64_LIMIT else float_of(label)

    def _check_id(self, text: str) -> None:
        if not text:
            raise RejectedRecord(
                "empty_id", "id: empty, so no label or repeat could be matched by it"
            )
        self._check_text("id", text)

    def _check_name(self, field: str, name: str) -> None:
        if name in self._valid_names:
            return
        if (why := invalid_name_reason(name)) is not None:
            raise RejectedRecord("name", f"{field}: {quoted(name)} is not a valid name: {why}")
        self._valid_names.add(name)

    def _check_text(self, field: str, text: str) -> None:
        """Reject a text that is not valid Unicode or has too many UTF-8 bytes."""
        if len(text) <= self._surely_short_chars and text.isascii():
            return
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise RejectedRecord("encoding", f"{field}: not valid Unicode") from None
        if size > self._limits.max_string_bytes:
            raise RejectedRecord(
                "string_too_long", f"{field}: {size} bytes, over {self._limits.max_string_bytes}"
            )

    def _reject_time(self, time_ms: int, timestamp_ms: int) -> None:
        if time_ms < 0:
            raise RejectedRecord("negative_time", "time_ms: before 1970")
        # Python does not print an integer of thousands of digits.
        ahead = f"{time_ms - timestamp_ms} ms" if time_ms <= LATEST_MS else "thousands of years"
        raise RejectedRecord(
            "future", f"time_ms: {ahead} ahead of the record, over {self._limits.max_skew_ms} ms"
        )
