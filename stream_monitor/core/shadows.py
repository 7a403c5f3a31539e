"""Shadow predictions of one model: predictions that were made for comparison and not used.

They are no traffic and raise no alert.  Each version that makes them has windows of its own, with
its predictions and its error, and a label join of its own, so no result of the versions in service
depends on them.

A version is admitted at its first shadow prediction after the model has a reference, while fewer
than `MAX_SHADOWS` are known.  One without shadow predictions for a while of the append clock is
removed at the first record of a new span of offsets, so results do not depend on batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
from msgspec import UNSET

from producer.events import Prediction
from producer.names import escape
from stream_monitor.checks.error_estimate import PREDICTION, output_key
from stream_monitor.core.coverage import OTHERS, Coverage
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.core.version import known_losses, label_losses
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.ingest.columns import version_salt
from stream_monitor.ingest.deduplication import DedupWindow
from stream_monitor.ingest.micro_batches import MicroBatch
from stream_monitor.labels.join import LabelJoin, LabelRow, Predictions
from stream_monitor.reference.loss import scores_of
from stream_monitor.reference.outputs import output_columns
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.stored_profile import PROFILE, pack_profile, read_profile
from stream_monitor.reference.transform import Transform, Transformed
from stream_monitor.state_parts import StoredParts, with_prefix
from stream_monitor.windows.closed_window import ClosedWindow
from stream_monitor.windows.tumbling import TumblingWindows

MAX_SHADOWS: Final = 4
"""The most versions of a model with shadow predictions, so that made-up names fill no state."""
LabelsByModel: TypeAlias = dict[str, list[LabelRow]]
_META: Final = "meta"


class References(NamedTuple):
    """The references in use by version, each with the offset after which it is."""

    by_version: Mapping[str, tuple[int, ReferenceProfile]]
    champion: str | None

    @property
    def since(self) -> int | None:
        """The offset after which the earliest reference is in use."""
        return min((since for since, _ in self.by_version.values()), default=None)

    def at(self, offset: int, version: str) -> ReferenceProfile:
        """Return the reference for a version's shadow predictions from the record at ``offset`` on.

        It is the version's own, else the champion's, else the one that came last.
        """
        in_use = {name: of for name, of in self.by_version.items() if of[0] < offset}
        for name in (version, self.champion):
            if name in in_use:
                return in_use[name][1]
        return max(in_use.values(), key=lambda of: of[0])[1]


class NewShadows(NamedTuple):
    """The shadow predictions of a micro-batch after deduplication, and the counts of both kinds."""

    by_model: dict[str, list[EventBatch]]
    n_new: int
    n_repeated: int

    @classmethod
    def of(cls, micro_batch: MicroBatch, recent_ids: DedupWindow) -> NewShadows:
        """The shadow predictions of a micro-batch that are no repeats, by model."""
        by_model: dict[str, list[EventBatch]] = {}
        n_new = n_repeated = 0
        for (model, version), batch in micro_batch.shadows.items():
            salt = version_salt(model, version, shadow=True)
            first = recent_ids.deduplicate(batch.offsets, batch.ids, salt)
            new = np.flatnonzero(first)
            n_new += len(new)
            n_repeated += len(batch) - len(new)
            if len(new):
                by_model.setdefault(model, []).append(batch.take(new))
        return cls(by_model, n_new, n_repeated)


class ShadowRecords(NamedTuple):
    """The shadow predictions of one model in a micro-batch, by version, and the model's labels.

    ``offsets`` and ``clock_ms`` (n,) are those of all records.
    """

    batches: Sequence[EventBatch]
    labels: Sequence[LabelRow]
    offsets: Ints
    clock_ms: Ints

    @classmethod
    def of(
        cls, model: str, new: NewShadows, labels: LabelsByModel, offsets: Ints, clock_ms: Ints
    ) -> ShadowRecords:
        """The shadow predictions and the labels of ``model``."""
        return cls(new.by_model.get(model, ()), labels.get(model, ()), offsets, clock_ms)


class ShadowsState(msgspec.Struct, array_like=True):
    """The versions with the append clock at their latest shadow prediction.

    ``span`` is the span of offsets that was entered last.
    """

    span: int = -1
    latest_ms: dict[str, int] = msgspec.field(default_factory=dict)


def shadow_profile(profile: ReferenceProfile, version: str) -> ReferenceProfile:
    """The reference of shadow predictions: the predictions of ``profile`` in place of features."""
    compared = {output_key(name): output for name, output in profile.outputs.items()}
    if profile.prediction is not None:
        compared[PREDICTION] = profile.prediction
    named = {key: msgspec.structs.replace(of, name=key) for key, of in compared.items()}
    return ReferenceProfile(
        model=profile.model,
        version=version,
        origin=profile.origin,
        n_events=profile.n_events,
        features=named,
        task=profile.task,
        threshold=profile.threshold,
        positive=profile.positive,
        loss=profile.loss,
        labels=profile.labels,
    )


class ShadowVersion:
    """Windows and labels of the shadow predictions of one version."""

    def __init__(self, profile: ReferenceProfile, partition: int, spec: MonitorSpec) -> None:
        self.profile = profile
        self.labels = LabelJoin(spec.labels)
        self.windows = TumblingWindows(spec.windows, profile, partition, spec.labels.horizon_ms)
        self._transforms = {name: Transform(of) for name, of in profile.features.items()}
        self._outputs = [name for name in profile.features if name != PREDICTION]
        self._is_stored = False

    def observe(
        self, batch: EventBatch, latest_ms: int, offsets: Ints, clock_ms: Ints
    ) -> list[ClosedWindow]:
        """Apply shadow predictions; in gaps of the append clock between them, windows close."""
        windows: list[ClosedWindow] = []
        records = np.searchsorted(offsets, batch.offsets)
        appended = clock_ms[records]
        idle = np.diff(appended, prepend=latest_ms) >= self.windows.spec.idle_close_ms
        start = 0
        for gap in [*np.flatnonzero(idle).tolist(), len(batch)]:
            if gap > start:
                part = batch[start:gap]
                windows += self.windows.observe(part.offsets, part.times_ms, self._columns(part))
                latest_ms = int(appended[gap - 1])
            if gap < len(batch):
                end = int(records[gap]) + 1
                windows += self.close_idle(latest_ms, clock_ms[:end], offsets[:end])
            start = gap
        return windows

    def close_idle(self, latest_ms: int, clock_ms: Ints, offsets: Ints) -> list[ClosedWindow]:
        """Close windows for which no shadow prediction has arrived for a while."""
        if int(clock_ms[-1]) - latest_ms < self.windows.spec.idle_close_ms:
            return []
        return self.windows.close_all_idle(latest_ms, clock_ms, offsets)

    def _columns(self, batch: EventBatch) -> dict[str, Transformed]:
        """The predictions, as the windows compare them with the reference."""
        predictions: list[Prediction] = [None if p is UNSET else p for p in batch.predictions]
        found: dict[str, Transformed] = {}
        if PREDICTION in self._transforms:
            scores = scores_of(predictions, self.profile.task, self.profile.positive)
            found[PREDICTION] = self._transforms[PREDICTION].apply(scores)
        if self._outputs:
            names = [name.removeprefix(f"{PREDICTION}/") for name in self._outputs]
            for name, column in output_columns(predictions, names).items():
                found[output_key(name)] = self._transforms[output_key(name)].apply(column)
        return found

    def observe_labels(self, batch: EventBatch | None, labels: Sequence[LabelRow]) -> None:
        """Join labels with these and earlier shadow predictions."""
        joined = self.labels.observe(Predictions.of([] if batch is None else [batch]), labels)
        mine = [label for label in joined if label.version == self.profile.version]
        self.windows.performance.observe(known_losses(label_losses(self.profile, mine)))

    def take_changes(self) -> dict[str, Any]:
        """The parts that changed since the last call."""
        parts: dict[str, Any] = {} if self._is_stored else {PROFILE: pack_profile(self.profile)}
        self._is_stored = True
        parts |= with_prefix("labels|", self.labels.take_changes())
        return parts | with_prefix("window|", self.windows.take_changes())

    def restore(self, parts: StoredParts) -> None:
        """Continue from the parts.  Raises ValueError where one does not fit."""
        self.labels = LabelJoin.restore(self.labels.spec, parts.under("labels|"))
        self.windows.restore(parts.under("window|"))
        self._is_stored = True


class ShadowVersions:
    """All versions of one model that make shadow predictions."""

    def __init__(self, partition: int, spec: MonitorSpec) -> None:
        self.versions: dict[str, ShadowVersion] = {}
        self._partition, self._spec = partition, spec
        self._state = ShadowsState()
        self._deleted_prefixes: set[str] = set()
        self._has_changes = False

    def windows(self) -> Iterator[tuple[str, TumblingWindows, bool]]:
        """The windows of each version; they are of shadow predictions."""
        for version, shadow in self.versions.items():
            yield version, shadow.windows, True

    def observe(
        self, records: ShadowRecords, references: References, coverage: Coverage, since_ms: int
    ) -> list[ClosedWindow]:
        """Apply the next records; returns the closed windows.

        The append clock was at ``since_ms`` before them.  ``coverage`` counts the predictions of
        versions that are not admitted.
        """
        self._remove_idle(int(records.offsets[0]), since_ms)
        if not records.batches and not self.versions:
            return []
        windows: list[ClosedWindow] = []
        mine = {one.version: one for one in records.batches if one.version in self.versions}
        since: dict[str, int] = {}
        new_versions = [one for one in records.batches if one.version not in self.versions]
        for first, batch in _in_order_of_admission(new_versions, references.since):
            admitted = first < len(batch) and len(self.versions) < MAX_SHADOWS
            rest = batch[:first] if admitted else batch
            coverage.count(OTHERS, "shadow_not_recorded", rest.offsets, rest.times_ms)
            if admitted:
                mine[batch.version] = batch[first:]
                since[batch.version] = int(batch.offsets[first])
                self._admit(batch[first:], records, references)
        for version, shadow in self.versions.items():
            latest_ms = self._state.latest_ms[version]
            new = mine.get(version)
            if new is not None:
                windows += shadow.observe(new, latest_ms, records.offsets, records.clock_ms)
                last = np.searchsorted(records.offsets, new.offsets[-1])
                latest_ms = self._state.latest_ms[version] = int(records.clock_ms[last])
                self._has_changes = True
            windows += shadow.close_idle(latest_ms, records.clock_ms, records.offsets)
            after = since.get(version, -1)
            shadow.observe_labels(new, [row for row in records.labels if row[0] > after])
        return [msgspec.structs.replace(window, shadow=True) for window in windows]

    def _remove_idle(self, offset: int, since_ms: int) -> None:
        """Remove idle versions if the record at ``offset`` is the first one of its span."""
        span = offset // self._spec.max_micro_batch_offsets
        if not self.versions or span == self._state.span:
            return
        self._state.span, self._has_changes = span, True
        for version, latest_ms in list(self._state.latest_ms.items()):
            if since_ms - latest_ms >= self._spec.idle_ms:
                del self.versions[version], self._state.latest_ms[version]
                self._deleted_prefixes.add(_prefix(version))

    def _admit(self, batch: EventBatch, records: ShadowRecords, references: References) -> None:
        """Admit the version of ``batch`` at its first record."""
        offset, version, spec = int(batch.offsets[0]), batch.version, self._spec
        profile = shadow_profile(references.at(offset, version), version)
        self.versions[version] = ShadowVersion(profile, self._partition, spec)
        at = np.searchsorted(records.offsets, offset)
        self._state.latest_ms[version] = int(records.clock_ms[at])
        self._state.span = offset // spec.max_micro_batch_offsets
        self._has_changes = True

    def take_deleted_prefixes(self) -> set[str]:
        """The beginnings of the model's parts to delete, unless they are written again."""
        taken, self._deleted_prefixes = self._deleted_prefixes, set()
        return {f"shadow|{prefix}" for prefix in taken}

    def take_changes(self) -> dict[str, Any]:
        """The parts that changed since the last call."""
        parts: dict[str, Any] = {_META: self._state} if self._has_changes else {}
        self._has_changes = False
        for version, shadow in self.versions.items():
            parts |= with_prefix(_prefix(version), shadow.take_changes())
        return parts

    @classmethod
    def of(cls, partition: int, spec: MonitorSpec, parts: StoredParts) -> ShadowVersions | None:
        """Continue from the parts; ``None`` without any: no version made shadow predictions."""
        if _META not in parts:
            return None
        shadows = cls(partition, spec)
        shadows._state = parts.read(_META, ShadowsState)
        for version in shadows._state.latest_ms:
            stored = parts.under(_prefix(version))
            shadows.versions[version] = ShadowVersion(read_profile(stored), partition, spec)
            shadows.versions[version].restore(stored)
        return shadows


def _in_order_of_admission(
    batches: Sequence[EventBatch], since: int | None
) -> list[tuple[int, EventBatch]]:
    """Each batch with the row of its first record after the offset ``since``, by that record."""
    if since is None:
        return [(len(batch), batch) for batch in batches]
    rows = [int(np.searchsorted(batch.offsets, since, side="right")) for batch in batches]
    found = [
        (int(batch.offsets[row]) if row < len(batch) else -1, row, batch)
        for row, batch in zip(rows, batches, strict=True)
    ]
    return [(row, batch) for _, row, batch in sorted(found, key=lambda each: each[0])]


def _prefix(version: str) -> str:
    """How the names of the parts of a version begin."""
    return f"version|{escape(version)}|"
