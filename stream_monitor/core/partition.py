"""The state of one partition: a pure function of its records.

``state(partition) == apply(records below the next offset)``, however the records were cut into
batches: every sum is an integer, every rule is evaluated at the position of a record, and time is
the records' own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from producer.events import Command, ModelUpdate, Topology
from producer.names import escape, unescape
from stream_monitor.checks.rejected_records import RejectedRecords, RejectedRecordsState
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.control_records import (
    announced_profile,
    control_outcome,
    rejected_controls,
    rejection_reason,
)
from stream_monitor.core.counters import Counters
from stream_monitor.core.coverage import CoverageRow
from stream_monitor.core.eviction import (
    model_to_evict,
    remove_drill_model,
    remove_model,
    split_at_admission,
)
from stream_monitor.core.model import ModelMonitor
from stream_monitor.core.observation import Observation, Steps, finished
from stream_monitor.core.over_limit import ModelsOverLimit, rows_by_model
from stream_monitor.core.placement import Placement, PlacementState
from stream_monitor.core.shadows import LabelsByModel, NewShadows, ShadowRecords
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.core.traffic import AppendClock
from stream_monitor.episodes.open_episodes import EventTimes, UnknownEpisode
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.ingest.columns import version_salt
from stream_monitor.ingest.decode import BatchDecoder
from stream_monitor.ingest.deduplication import DedupWindow
from stream_monitor.ingest.event_numbers import EventNumbers, EventNumbersState, NumberedRecords
from stream_monitor.ingest.micro_batches import ControlRecord, MicroBatch, split_micro_batches
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.ingest.rejection import build_dead_letter
from stream_monitor.state_parts import ChangedParts, CorruptState, StoredParts, with_prefix

_COUNTERS: Final = "counters"
_CLOCKS: Final = "clocks"
_NUMBERS: Final = "numbers"
TOPOLOGY: Final = "topology"
"""The part with the placement of models."""


class PartitionMonitor:
    """All monitoring state of one partition of the event topic."""

    def __init__(self, topic: str, partition: int, spec: MonitorSpec) -> None:
        self.topic, self.partition, self.spec = topic, partition, spec
        self.counters = Counters()
        self.models: dict[str, ModelMonitor] = {}
        self.placement = Placement(partition)
        self.over_limit = ModelsOverLimit(topic, partition, spec)
        self.rejected = RejectedRecords(topic, partition)
        chunks, size = spec.dedup_window_chunks, spec.labels.chunk_events
        self._recent_ids = DedupWindow(chunks, size, spec.micro_batch_chunks)
        self._numbers: EventNumbers | None = None  # from the first batch on
        self._changed_parts = ChangedParts()
        self._decoder = BatchDecoder(spec.limits)

    def observe(self, batch: RecordBatch) -> Observation:
        """Apply the next records.  Total: any record, whatever its bytes, is counted once."""
        return finished(self.apply_in_steps(self.decode(batch)))

    def decode(self, batch: RecordBatch) -> NumberedRecords:
        """Decode and number the next records; `apply_in_steps` must follow, at once or in parts."""
        decoded = self._decoder.decode(batch, as_runs=True)
        if not decoded.columns and self._numbers is None:
            return NumberedRecords(decoded.all(), decoded.rejected)
        self._numbers = self._numbers or EventNumbers()
        return self._numbers.number(decoded, self.spec.max_micro_batch_offsets)

    def apply_in_steps(self, numbered: NumberedRecords) -> Steps[Observation]:
        """Apply decoded records; between the steps this state is undefined."""
        rejected, rows = numbered.rejected, numbered.batch_rows
        out = Observation([], [of for _, of in rejected], [], rejected_controls(rejected), rows)
        self.counters.dead_lettered += len(rejected)
        for micro_batch in split_micro_batches(numbered.records, self.spec.max_micro_batch_offsets):
            rest: MicroBatch | None = micro_batch
            while rest is not None:
                self._admit_and_evict(rest, out)
                since_ms = self.counters.append_clock_ms
                part, rest = split_at_admission(
                    rest, since_ms, self.models, self.spec.max_models, self.placement
                )
                yield
                yield from self._observe_micro_batch(part, out)
        out.alerts.sort(key=lambda alert: (alert.decided_offset, alert.model))  # phases in order
        out.dead_letters.sort(key=lambda dead_letter: dead_letter.offset)
        self.counters.alerts += len(out.alerts)
        suppressed = self.over_limit.open_episodes.suppressed + self.rejected.suppressed
        suppressed += sum(model.open_episodes.suppressed for model in self.models.values())
        self.counters.suppressed = suppressed
        return out if self._numbers is None else out.located(self._numbers)

    def _admit_and_evict(self, micro_batch: MicroBatch, out: Observation) -> None:
        """Evict and admit what the first record decides, before it is applied."""
        offset, first = micro_batch.first_offset, micro_batch.first_event()
        clock_ms = max(self.counters.append_clock_ms, int(micro_batch.timestamps_ms[0]))
        for name, model in self.models.items():
            own = first[1] if first is not None and first[0] == name else None
            idle = model.end_idle_episodes(offset, clock_ms, but=own)
            self._end(model, idle, offset, clock_ms, out)
        if first is None:
            for name, labels in micro_batch.labels.items():
                if labels[0][0] == offset:
                    self._model(name)  # labels alone evict no model
            return
        from_ms = self.placement.admission_from_ms(first[0])
        if from_ms is None or clock_ms < from_ms:
            self._model(first[0])  # nor do events that wait or are misplaced
        elif (claims := self._admit_model(first[0], offset, clock_ms, out)) is not None:
            gone = claims.admit_version(first[1], offset, clock_ms)
            self._end(claims, gone, offset, clock_ms, out)

    def _end(
        self, model: ModelMonitor, ended: list[DriftAlert], at: int, clock_ms: int, out: Observation
    ) -> None:
        if ended:
            published = model.open_episodes.process_at(at, clock_ms, ended)
            out.alerts.extend(model.with_champion(published))

    def _admit_model(
        self, name: str, offset: int, clock_ms: int, out: Observation
    ) -> ModelMonitor | None:
        """The model's state; for a new model beyond the limit an idle one is evicted."""
        model = self._model(name)
        if model is None and (idle := model_to_evict(self.models, clock_ms)) is not None:
            self.over_limit.coverage.absorb(self.models[idle].coverage)
            out.alerts.extend(remove_model(self.models, idle, offset, clock_ms))
            self._changed_parts.delete(_prefix(idle))
            model = self._model(name)
        return model

    def _observe_micro_batch(self, micro_batch: MicroBatch, out: Observation) -> Steps[None]:
        since_ms = self.counters.append_clock_ms
        clock = micro_batch.append_clock_ms(since_ms)
        self.counters.ticks += micro_batch.ticks
        decided = Observation([], out.dead_letters, out.windows, [])
        batches = self._admit(micro_batch, clock)
        for name in {batch.model for batch in batches}:
            for warm_up in self.models[name].warm_ups.values():
                warm_up.count_other_versions([batch for batch in batches if batch.model == name])
        for batch in batches:
            self._observe_events(batch, micro_batch, clock, decided)
            yield
        self._close_idle(micro_batch, clock, decided)
        labels = yield from self._observe_labels(micro_batch, clock, batches, decided)
        self._observe_shadows(micro_batch, clock, labels, decided)
        traffic = AppendClock.of(clock, since_ms, self.spec.traffic)
        for name, model in self.models.items():
            if not self.placement.has_left(name):  # its events go to other partitions
                decided.alerts.extend(model.observe_traffic(micro_batch.offsets, traffic))
            decided.alerts.extend(model.observe_coverage(micro_batch.offsets, clock))
            yield
        out.alerts.extend(self.over_limit.observe(micro_batch.offsets, clock))
        out.alerts.extend(self._publishable(decided.alerts, micro_batch.offsets, clock, batches))
        out.alerts.extend(self.rejected.observe(micro_batch, clock))
        self.counters.append_clock_ms = int(clock[-1])
        if micro_batch.control_record is not None:
            record, control = micro_batch.control_record
            outcome = self._apply_control(record, control, out)
            out.controls.append(control_outcome(record, control, outcome))

    def _publishable(
        self, decided: list[DriftAlert], offsets: Ints, clock: Ints, batches: Sequence[EventBatch]
    ) -> list[DriftAlert]:
        """The alerts to publish of those decided at these records: some may be suppressed."""
        published: list[DriftAlert] = []
        decided.sort(key=lambda alert: (alert.decided_offset, alert.alert_id))
        clock_ms = int(clock[-1])
        for name, model in self.models.items():
            mine = [alert for alert in decided if alert.model == name] if decided else []
            if mine or model.open_episodes.has_due(clock_ms):
                publishable = model.open_episodes.process(
                    mine, offsets, clock, EventTimes.of(name, batches)
                )
                published += model.with_champion(publishable)
        return published

    def _admit(self, micro_batch: MicroBatch, clock: Ints) -> list[EventBatch]:
        """The events to watch, as columns by model and version; the others are only counted.

        The others are repeats, events over a limit, and events that wait for a reference.
        """
        batches = []
        for (model, version), every in micro_batch.events.items():
            batch, salt = every, version_salt(model, version)
            first = self._recent_ids.deduplicate(batch.offsets, batch.ids, salt)
            if not first.all():
                self.counters.duplicate += len(first) - int(first.sum())
                batch = batch.take(np.flatnonzero(first))
            known = self.models.get(model)
            if known is not None and version not in known.admitted_versions:
                batch = self._drop_waiting(known, batch, micro_batch, clock)
            if known is None:
                self.counters.not_watched += len(batch)
                self.over_limit.count(model, batch.offsets, batch.times_ms)
            elif not len(batch):
                continue
            elif version in known.admitted_versions:
                batches.append(batch)
            else:
                self.counters.not_watched += len(batch)
                known.coverage.count(version, "version_over_limit", batch.offsets, batch.times_ms)
        return batches

    def _drop_waiting(
        self, model: ModelMonitor, batch: EventBatch, micro_batch: MicroBatch, clock: Ints
    ) -> EventBatch:
        """The events of a version new to this partition that do not wait for its reference."""
        appended = clock[np.searchsorted(micro_batch.offsets, batch.offsets)]
        n, reason = self.placement.waiting(batch.model, appended)
        model.coverage.count(batch.version, reason, batch.offsets[:n], batch.times_ms[:n])
        self.counters.not_watched += n
        return batch[n:]

    def _model(self, name: str) -> ModelMonitor | None:
        """The model's state, created at its first record; ``None`` over the limit."""
        model = self.models.get(name)
        if model is None and len(self.models) < self.spec.max_models:
            model = ModelMonitor(self.topic, self.partition, name, self.spec)
            self.models[name] = model
        return model

    def _observe_events(
        self, batch: EventBatch, micro_batch: MicroBatch, clock: Ints, out: Observation
    ) -> None:
        """Apply events; in gaps of the append clock between them, idle windows close."""
        model, version = self.models[batch.model], batch.version
        records = np.searchsorted(micro_batch.offsets, batch.offsets)
        appended = clock[records]
        last = model.retention.events_ms.get(version, int(appended[0]))
        idle_ms, gaps, start = self.spec.windows.idle_close_ms, list[int](), 0
        if int(appended[-1]) - last >= idle_ms:  # the clock never goes back
            gaps = np.flatnonzero(np.diff(appended, prepend=last) >= idle_ms).tolist()
        for gap in [*gaps, len(batch)]:
            if gap > start:
                seen = model.observe(batch[start:gap] if gaps else batch)
                out.alerts.extend(seen.alerts)
                out.windows.extend(seen.windows)
                self.counters.late += seen.late
                self.counters.valid += gap - start - seen.late
                last = int(appended[gap - 1])
            if gap < len(batch):
                end = int(records[gap]) + 1
                out.windows.extend(
                    model.close_idle(version, last, clock[:end], micro_batch.offsets[:end])
                )
            start = gap
        model.retention.events_ms[version] = int(appended[-1])

    def _close_idle(self, micro_batch: MicroBatch, clock: Ints, out: Observation) -> None:
        idle_ms, offsets = int(clock[-1]) - self.spec.windows.idle_close_ms, micro_batch.offsets
        for model in self.models.values():
            for version, last_ms in model.retention.events_ms.items():
                if last_ms <= idle_ms:
                    out.windows.extend(model.close_idle(version, last_ms, clock, offsets))

    def _observe_labels(
        self, micro_batch: MicroBatch, clock: Ints, batches: list[EventBatch], out: Observation
    ) -> Steps[LabelsByModel]:
        """Join the labels and the predictions of this micro-batch; returns the labels by model."""
        taken: LabelsByModel = {}
        by_model: dict[str, list[EventBatch]] = {}
        for batch in batches:
            by_model.setdefault(batch.model, []).append(batch)

        def clock_at(offset: int) -> int:
            return int(clock[np.searchsorted(micro_batch.offsets, offset)])

        for name in sorted(by_model.keys() | micro_batch.labels.keys()):
            model = self.models.get(name)
            labels = micro_batch.labels.get(name, [])
            if model is None:
                self.counters.not_watched += len(labels)
                continue
            new = self._recent_ids.new_labels(name, labels)
            self.counters.duplicate += len(labels) - len(new)
            self.counters.labels += len(new)
            taken[name] = new
            alerts, joined = model.observe_labels(by_model.get(name, []), new, clock_at)
            out.alerts.extend(alerts)
            self.counters.joined += joined
            if new and model.labels.unjoined:
                may = self.placement.labels_possibly_elsewhere(name, labels, self.spec.labels)
                model.count_unjoined_labels(*may)
            yield
        return taken

    def _observe_shadows(
        self, micro_batch: MicroBatch, clock: Ints, labels: LabelsByModel, out: Observation
    ) -> None:
        """Apply predictions that were not used; those of unknown models are only counted."""
        makers = {name for name, model in self.models.items() if model.shadows is not None}
        if not micro_batch.shadows and not makers:
            return
        new = NewShadows.of(micro_batch, self._recent_ids)
        self.counters.shadow += new.n_new
        self.counters.duplicate += new.n_repeated
        for name in sorted(makers | (new.by_model.keys() & self.models.keys())):
            records = ShadowRecords.of(name, new, labels, micro_batch.offsets, clock)
            since_ms = self.counters.append_clock_ms
            out.windows.extend(self.models[name].observe_shadows(records, since_ms))

    def _apply_control(
        self, record: ConsumerRecord, control: ControlRecord, out: Observation
    ) -> str:
        """Apply a control record after all records before it; returns the outcome."""
        model = None if isinstance(control, Topology) else self.models.get(control.model)
        if self._is_repeat(control, model, record.offset):
            self.counters.duplicate += 1
            return "repeat"
        try:
            if not isinstance(control, ModelUpdate):
                out.alerts.extend(self._apply_to_episodes(control, model, record.offset))
            elif not self._announce(control, record.offset, out):
                self.counters.not_watched += 1
                return "over the limit"
        except ValueError as error:
            self.counters.dead_lettered += 1
            why = rejection_reason(error, control), str(error)
            max_bytes = self.spec.limits.max_payload_bytes
            dead_letter = build_dead_letter(
                self.topic, self.partition, record, *why, max_bytes, decoded=True
            )
            out.dead_letters.append(dead_letter)
            out.alerts.extend(self.rejected.reject_at(dead_letter, self.counters.append_clock_ms))
            return f"rejected: {dead_letter.reason}"
        self.counters.control += 1
        return "applied"

    def _is_repeat(self, control: ControlRecord, model: ModelMonitor | None, offset: int) -> bool:
        """Whether a control record changes nothing: its id or its reference is known."""
        if not self._recent_ids.is_new_control(control.id, offset):
            return True
        if not isinstance(control, ModelUpdate) or model is None:
            return False
        return model.retention.is_repeat(control) or (
            control.moved_from is not None and not model.accepts_transfer(control.version)
        )

    def _announce(self, update: ModelUpdate, offset: int, out: Observation) -> bool:
        """Apply an announcement; False: its model is over the limit.

        Raises:
            ValueError: its profile is invalid, or its version is over the limit; nothing changed.
        """
        profile = announced_profile(update)
        clock_ms = self.counters.append_clock_ms
        model = self._admit_model(update.model, offset, clock_ms, out)
        if model is None:
            return False
        if update.moved_from is not None:
            ended = model.apply_transfer(update, profile, offset, clock_ms)
        else:
            ended = model.update(update, profile, offset, clock_ms)
        self._end(model, ended, offset, clock_ms, out)
        return True

    def _apply_to_episodes(
        self, control: Command | Topology, model: ModelMonitor | None, offset: int
    ) -> list[DriftAlert]:
        """Apply a command or a topology; returns the alerts to publish.

        Raises:
            ValueError: it cannot be applied; nothing changed.
        """
        clock_ms = self.counters.append_clock_ms
        if isinstance(control, Topology):
            return self._apply_topology(control, offset, clock_ms)
        if control.action == "forget":
            ended = remove_drill_model(self.models, control, offset, clock_ms)
            self._changed_parts.delete(_prefix(control.model))
            return ended
        if control.episode in self.over_limit.open_episodes.by_id:
            return self.over_limit.apply_command(control, offset, clock_ms)
        if self.rejected.is_open(control):
            return self.rejected.apply_command(control, offset, clock_ms)
        if model is None:
            raise UnknownEpisode(f"model: {control.model!r} has no episode in this partition")
        return model.with_champion(model.apply_command(control, offset, clock_ms))

    def _apply_topology(self, topology: Topology, offset: int, clock_ms: int) -> list[DriftAlert]:
        """Change the placement of models from here on."""
        published: list[DriftAlert] = []
        if self.placement.take(topology, offset, clock_ms):
            for name, model in self.models.items():
                moved = self.placement.moved(name)
                ended = model.on_placement_change(offset, clock_ms, moved=moved)
                published += model.with_champion(
                    model.open_episodes.process_at(offset, clock_ms, ended)
                )
        return published

    def last_event_ms(self, model: str) -> int:
        """The append clock (ms) at the last event of a model; 0 before the first."""
        known = self.models.get(model)
        return 0 if known is None else max(known.retention.events_ms.values(), default=0)

    def levels(self) -> dict[tuple[str, str], int]:
        """Drift of every (model@version, series): 0 none, 1 suspected, 2 an open episode."""
        return {
            key: level for model in self.models.values() for key, level in model.levels().items()
        } | self.rejected.levels()

    def coverage(self) -> dict[str, list[CoverageRow]]:
        """Coverage of each model in the last hour: events watched, and reasons of the others."""
        clock_ms = self.counters.append_clock_ms
        rows = {name: model.coverage.last_hour(clock_ms) for name, model in self.models.items()}
        for name, row in rows_by_model(self.over_limit.coverage.last_hour(clock_ms)):
            rows.setdefault(name, []).append(row)
        return rows

    def take_changes(self) -> dict[str, bytes]:
        """Encoded parts that changed since the last call; empty bytes delete a part.

        They have to be stored, or this state has to be dropped: they are not returned again.
        """
        return {name: part for step in self.take_changes_in_steps() for name, part in step.items()}

    def take_changes_in_steps(self) -> Iterator[dict[str, bytes]]:
        """The same parts, model by model; the state must not change between the steps."""
        parts: dict[str, Any] = {
            _COUNTERS: self.counters,
            _CLOCKS: [
                (name, version, last_ms)
                for name, model in sorted(self.models.items())
                for version, last_ms in sorted(model.retention.events_ms.items())
            ],
        }
        if (placement := self.placement.take_changes()) is not None:
            parts[TOPOLOGY] = placement
        if (rejected := self.rejected.take_changes()) is not None:
            parts["rejected"] = rejected
        if self._numbers is not None:
            parts[_NUMBERS] = self._numbers.state
        parts |= with_prefix("seen|", self._recent_ids.take_changes())
        parts |= with_prefix("over-limit|", self.over_limit.take_changes())
        yield self._changed_parts.encode(parts)
        for name, model in self.models.items():  # few parts wait for their encoding
            for prefix in model.take_deleted_prefixes():
                self._changed_parts.delete(f"{_prefix(name)}{prefix}")
            yield self._changed_parts.encode(with_prefix(_prefix(name), model.take_changes()))

    @classmethod
    def restore(
        cls,
        topic: str,
        partition: int,
        spec: MonitorSpec,
        payloads: Mapping[str, bytes | memoryview],
    ) -> PartitionMonitor:
        """Continue from the encoded parts of every commit so far.

        Raises:
            CorruptState: a part is missing or does not fit; the caller rebuilds the state.
        """
        monitor, parts = cls(topic, partition, spec), StoredParts(payloads)
        try:
            monitor._restore(parts)
        except Exception as error:  # any misfit: the state is rebuilt, not repaired
            raise CorruptState(f"{topic}:{partition}: {error!r}") from error
        return monitor

    def _restore(self, parts: StoredParts) -> None:
        self.counters = parts.read(_COUNTERS, Counters)
        self._recent_ids.restore(parts.under("seen|"))
        self.over_limit.restore(parts.under("over-limit|"))
        if "rejected" in parts:
            self.rejected.restore(parts.read("rejected", RejectedRecordsState))
        if _NUMBERS in parts:
            self._numbers = EventNumbers(parts.read(_NUMBERS, EventNumbersState))
        if TOPOLOGY in parts:
            self.placement = Placement(self.partition, parts.read(TOPOLOGY, PlacementState))
        stored = {unescape(name): mine for name, mine in parts.by_owner("model|").items()}
        for name in sorted(stored):
            self.models[name] = ModelMonitor(self.topic, self.partition, name, self.spec)
            self.models[name].restore(stored[name])
        for name, version, last_ms in parts.read(_CLOCKS, list[tuple[str, str, int]]):
            self.models[name].retention.events_ms[version] = last_ms
        self._changed_parts = ChangedParts(parts)


def _prefix(model: str) -> str:
    """How the names of the parts of a model begin."""
    return f"model|{escape(model)}|"
