"""Joins delayed labels by id with the predictions of one model.

A label may be before or after its prediction in the partition; the join happens at the later of the
two.  A prediction waits until the model's watermark (its largest event time so far) reaches its
event time plus the horizon.  This is decided at the position of the label, and memory is freed only
where a new chunk of offsets begins, so results do not depend on batches.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import compress
from operator import itemgetter
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, cast

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from producer.events import Label, Prediction
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.ingest.columns import id_hashes
from stream_monitor.labels.id_sample import IdSample
from stream_monitor.labels.pending import PendingChunk, PendingEntry, PendingRecords
from stream_monitor.state_parts import StoredParts, with_prefix


class LabelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the label join: the wait for a label, and the number of waiting records.

    Beyond ``max_pending`` only a sample of ids waits.  It is halved each time, and doubled once a
    quarter of ``max_pending`` waits or less.  ``chunk_events`` offsets are one part of the state.
    """

    horizon_ms: int = 7 * 24 * 3_600_000
    max_pending: int = 200_000
    chunk_events: int = 1024

    def __post_init__(self) -> None:
        if self.horizon_ms < 1 or self.max_pending < 1 or self.chunk_events < 1:
            raise ValueError("labels: horizon, max_pending and chunk_events must be positive")


_META: Final = "meta"
_NEVER: Final = -1  # event time is not negative

Truth: TypeAlias = float | int | str | bool | None

LabelRow: TypeAlias = tuple[int, int, Label]
"""Offset, hash of the id, label."""


class JoinedLabel(NamedTuple):
    """A label with its prediction.  ``offset`` is that of the later of the two records."""

    offset: int
    version: str
    event_time_ms: int
    delay_ms: int
    prediction: Prediction
    label: Truth


class Predictions(NamedTuple):
    """The predictions of n events of one model, in offset order, as columns of length n.

    ``ids`` are hashes; an invalid or missing prediction is ``None``.
    """

    offsets: Ints
    times_ms: Ints
    ids: NDArray[np.uint64]
    versions: Sequence[str]
    values: Sequence[Prediction]

    @classmethod
    def of(cls, batches: Sequence[EventBatch]) -> Predictions:
        """The predictions of batches of one model, each of another version."""
        if len(batches) == 1:
            (batch,) = batches
            values, one = _known(batch.predictions), (batch.version,) * len(batch)
            return cls(batch.offsets, batch.times_ms, batch.ids, one, values)
        if not batches:
            none = np.zeros(0, dtype=np.int64)
            return cls(none, none, np.zeros(0, dtype=np.uint64), (), ())
        offsets = np.concatenate([batch.offsets for batch in batches])
        order = np.argsort(offsets)
        versions = [batch.version for batch in batches for _ in range(len(batch))]
        known = [value for batch in batches for value in _known(batch.predictions)]
        return cls(
            offsets[order],
            np.concatenate([batch.times_ms for batch in batches])[order],
            np.concatenate([batch.ids for batch in batches])[order],
            [versions[i] for i in order.tolist()],
            [known[i] for i in order.tolist()],
        )

    def part(self, start: int, end: int) -> Predictions:
        """The predictions from ``start`` to ``end`` (exclusive)."""
        rows = slice(start, end)
        times_ms, ids = self.times_ms[rows], self.ids[rows]
        return Predictions(
            self.offsets[rows], times_ms, ids, self.versions[rows], self.values[rows]
        )


def _known(predictions: Sequence[Prediction | UnsetType]) -> Sequence[Prediction]:
    """The predictions; a missing one waits for its label like an invalid one, as ``None``."""
    if UNSET not in predictions:
        return cast("Sequence[Prediction]", predictions)
    return [None if p is UNSET else p for p in predictions]


_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class LabelCounts(msgspec.Struct, array_like=True):
    """Counts of predictions and labels since the beginning of the partition, by outcome.

    ``joined``: labels with their prediction; ``self_contained`` of them contained it themselves.
    ``expired``: predictions without a label within the horizon; ``unmatched``: labels without a
    prediction within it.  ``repeated``: predictions or labels whose id was already waiting.
    ``sampled_out`` predictions and ``labels_sampled_out`` labels are outside the sample.
    """

    joined: _Count = 0
    self_contained: _Count = 0
    expired: _Count = 0
    unmatched: _Count = 0
    repeated: _Count = 0
    sampled_out: _Count = 0
    labels_sampled_out: _Count = 0


class LabelJoinState(msgspec.Struct, array_like=True):
    """The state of a `LabelJoin` but for the records that wait; ``chunk`` is the current one."""

    watermark_ms: int = _NEVER
    chunk: int = _NEVER
    counts: LabelCounts = msgspec.field(default_factory=LabelCounts)
    sample: IdSample = msgspec.field(default_factory=IdSample)


class LabelJoin:
    """The predictions and labels of one model that wait for each other."""

    watermark_ms: int
    counts: LabelCounts
    _sample: IdSample
    _chunk: int

    def __init__(self, spec: LabelSpec) -> None:
        self.spec = spec
        self._continue(LabelJoinState())
        self._events = PendingRecords()
        self._early = PendingRecords()
        self.unjoined: list[int] = []
        """Offsets of the labels of the last `observe` that found no prediction before them."""
        self._meta_changed = True

    @property
    def pending(self) -> int:
        """The number of predictions that wait for their label."""
        return len(self._events)

    @property
    def early(self) -> int:
        """The number of labels that wait for their prediction."""
        return len(self._early)

    def waits(self, label_id: str) -> bool | None:
        """Whether the label of this id waits for its prediction; ``None``: it is sampled out."""
        hashed = int(id_hashes([label_id])[0])
        if hashed >= self._sample.early_threshold:
            return None
        return self._early.get(hashed) is not None

    @property
    def sampling_ratio(self) -> float:
        """Share of the ids in the sample: 1, unless more than ``max_pending`` would wait."""
        return 0.5**self._sample.halvings

    def observe(
        self, predictions: Predictions, labels: Sequence[LabelRow] = ()
    ) -> list[JoinedLabel]:
        """Apply the next records of this model, of any versions; returns the joins by offset.

        One call must contain all records of the model between its first and last offset, or a
        label could be applied before a prediction that precedes it.
        """
        joined: list[JoinedLabel] = []
        self.unjoined = []
        n = len(predictions.offsets)
        if not n and not labels:
            return joined
        done = 0
        for offset, id_hash, label in sorted(labels, key=itemgetter(0)):
            if done < n and predictions.offsets[done] < offset:
                end = int(predictions.offsets.searchsorted(offset))
                self._take_predictions(predictions.part(done, end), joined)
                done = end
            self._begin_chunk(offset)
            self._take_label(offset, id_hash, label, joined)
        self._take_predictions(predictions.part(done, n), joined)
        self._meta_changed = True
        return joined

    def _take_predictions(self, predictions: Predictions, joined: list[JoinedLabel]) -> None:
        """Apply predictions without a label between them; those of a chunk at once, if possible."""
        offsets, times_ms, ids = (column.tolist() for column in predictions[:3])
        start = 0
        while start < len(offsets):
            self._begin_chunk(offsets[start])
            end = bisect_left(offsets, (self._chunk + 1) * self.spec.chunk_events, start)
            part = slice(start, end)
            run = ids[part], times_ms[part], predictions.versions[part], predictions.values[part]
            if not self._take_run(*run):
                for row in zip(offsets[part], *run, strict=True):
                    self._take_event(*row, joined)
            start = end

    def _take_run(
        self,
        ids: list[int],
        times_ms: list[int],
        versions: Sequence[str],
        values: Sequence[Prediction],
    ) -> bool:
        """Add a run of predictions at once; False, with nothing done, if that is not possible."""
        n, threshold, latest_ms = len(ids), self._sample.threshold, max(times_ms)
        if max(ids) >= threshold:
            kept = [id_hash < threshold for id_hash in ids]
            ids, times_ms = list(compress(ids, kept)), list(compress(times_ms, kept))
            versions, values = list(compress(versions, kept)), list(compress(values, kept))
        different = set(ids)
        if (
            len(different) < len(ids)
            or self._events.has_any(different)
            or self._early.has_any(different)
        ):
            return False
        self.watermark_ms = max(self.watermark_ms, latest_ms)
        self.counts.sampled_out += n - len(ids)
        if ids:
            self._events.add(ids, self._chunk, times_ms, versions, values)
        return True

    def _take_event(
        self,
        offset: int,
        id_hash: int,
        time_ms: int,
        version: str,
        prediction: Prediction,
        joined: list[JoinedLabel],
    ) -> None:
        self.watermark_ms = max(self.watermark_ms, time_ms)
        if id_hash >= self._sample.threshold:
            self.counts.sampled_out += 1
            return
        expiry_ms = self.watermark_ms - self.spec.horizon_ms
        known = self._events.get(id_hash)
        if known is not None:
            if known[0] > expiry_ms:
                self.counts.repeated += 1
                return
            self._events.pop(id_hash)
            self.counts.expired += 1
        early = self._early.get(id_hash)
        if early is not None and early[0] > expiry_ms:
            label_time_ms, _, label = early
            self._early.pop(id_hash)
            event = (time_ms, version, prediction)
            joined.append(self._join(offset, event, label_time_ms, label))
        else:
            self._events.add([id_hash], self._chunk, [time_ms], [version], [prediction])

    def _take_label(
        self, offset: int, id_hash: int, label: Label, joined: list[JoinedLabel]
    ) -> None:
        expiry_ms = self.watermark_ms - self.spec.horizon_ms
        event = self._events.get(id_hash)
        if label.version is not None and label.prediction is not None:
            if event is not None:
                self._events.pop(id_hash)
                if event[0] <= expiry_ms:
                    self.counts.expired += 1
            self.counts.joined += 1
            self.counts.self_contained += 1
            joined.append(
                JoinedLabel(offset, label.version, label.time_ms, 0, label.prediction, label.label)
            )
        elif event is not None and event[0] > expiry_ms:
            self._events.pop(id_hash)
            joined.append(self._join(offset, event, label.time_ms, label.label))
        else:
            self._keep_label(offset, id_hash, label, expiry_ms)

    def _keep_label(self, offset: int, id_hash: int, label: Label, expiry_ms: int) -> None:
        """Keep a label whose prediction may still arrive."""
        if id_hash >= self._sample.early_threshold:
            self.counts.labels_sampled_out += 1
            return
        known = self._early.get(id_hash)
        if known is not None:
            if known[0] > expiry_ms:
                self.counts.repeated += 1
                return
            self._early.pop(id_hash)
            self.counts.unmatched += 1
        self._early.add([id_hash], self._chunk, [label.time_ms], [""], [label.label])
        self.unjoined.append(offset)

    def _join(
        self, offset: int, event: PendingEntry, label_time_ms: int, label: Truth
    ) -> JoinedLabel:
        event_time_ms, version, prediction = event
        delay_ms = max(0, label_time_ms - event_time_ms)
        self.counts.joined += 1
        return JoinedLabel(offset, version, event_time_ms, delay_ms, prediction, label)

    def _begin_chunk(self, offset: int) -> None:
        """Expire and sample before the first record of a chunk of offsets, and only there."""
        chunk = offset // self.spec.chunk_events
        if chunk == self._chunk:
            return
        expiry_ms = self.watermark_ms - self.spec.horizon_ms
        for pending in (self._events, self._early):
            pending.close_chunk(self._chunk)
        self._chunk = chunk
        self.counts.expired += self._events.expire(expiry_ms)
        self.counts.unmatched += self._early.expire(expiry_ms)
        self._sample.expire_widenings(expiry_ms)
        self._fit_sample()

    def _fit_sample(self) -> None:
        """Halve the sample until it fits; where few wait, undo one halving per chunk."""
        sample, most = self._sample, self.spec.max_pending
        if sample.is_sparse(self.pending + self.early, most):
            sample.widen(self.watermark_ms)
        while sample.exceeds(self.pending + self.early, most):
            sample.halve()
            self.counts.sampled_out += self._events.thin(sample.threshold)
            self.counts.labels_sampled_out += self._early.thin(sample.threshold)

    def _continue(self, state: LabelJoinState) -> None:
        self.watermark_ms, self._chunk = state.watermark_ms, state.chunk
        self.counts, self._sample = state.counts, state.sample

    def take_changes(self) -> dict[str, Any]:
        """The parts that changed since the last call; ``None`` is a part that was deleted."""
        parts: dict[str, Any] = {}
        if self._meta_changed:
            parts[_META] = LabelJoinState(self.watermark_ms, self._chunk, self.counts, self._sample)
            self._meta_changed = False
        parts |= with_prefix("event|", self._events.take_changes())
        return parts | with_prefix("label|", self._early.take_changes())

    @classmethod
    def restore(cls, spec: LabelSpec, parts: StoredParts) -> LabelJoin:
        """Continue from the parts.  Raises ValueError where one is missing or does not fit."""
        labels = cls(spec)
        labels._continue(parts.read(_META, LabelJoinState))
        labels._events, labels._early = (
            PendingRecords.restore(
                ((int(name), chunks.read(name, PendingChunk)) for name in chunks), labels._chunk
            )
            for chunks in (parts.under("event|"), parts.under("label|"))
        )
        labels._meta_changed = False
        return labels
