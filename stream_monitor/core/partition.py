"""The pure fold of one partition: records in, alerts and state out.

``state(partition) == fold(records below the next offset)``, however the records were cut into
batches: every sum is an integer, every rule is judged at the position of a record, and time is
what the records say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from producer.events import Command, Label, ModelUpdate, Topology
from producer.names import escape, unescape
from stream_monitor.checks.rejected_records import RejectedRecords
from stream_monitor.contracts import ControlOutcome, DeadLetter, DriftAlert
from stream_monitor.core.control_records import (
    announced_profile,
    control_outcome,
    rejected_controls,
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
from stream_monitor.core.over_limit import ModelsOverLimit, rows_by_model
from stream_monitor.core.placement import Placement
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.episodes.cooldown import EventTimes
from stream_monitor.episodes.open_episodes import UnknownEpisode
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.ingest.columns import id_hash, id_hashes, to_batch, version_salt
from stream_monitor.ingest.decode import decode
from stream_monitor.ingest.deduplication import DedupWindow
from stream_monitor.ingest.micro_batches import ControlRecord, MicroBatch, split_micro_batches
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.ingest.rejection import build_dead_letter
from stream_monitor.windows.closed_window import ClosedWindow

_LABEL_SALT: Final = "label"
_COUNTERS: Final = "counters"


class Observation(NamedTuple):
    """What a batch led to, in log order."""

    alerts: list[DriftAlert]
    dead_letters: list[DeadLetter]
    windows: list[ClosedWindow]
    controls: list[ControlOutcome]


def _log_order(alert: DriftAlert) -> tuple[int, str]:
    return alert.decided_offset, alert.alert_id


def _rejection_reason(error: ValueError, order: ControlRecord) -> str:
    """The reason to count a control record by that could not be applied."""
    if isinstance(error, UnknownEpisode):
        return "unknown_episode"
    if isinstance(order, Topology):
        return "invalid_topology"
    return "invalid_profile" if isinstance(order, ModelUpdate) else "invalid_command"


class PartitionMonitor:
    """All state of one partition of the log."""

    def __init__(self, topic: str, partition: int, spec: MonitorSpec) -> None:
        self.topic, self.partition, self.spec = topic, partition, spec
        self.counters = Counters()
        self.models: dict[str, ModelMonitor] = {}
        self.placement = Placement(partition)
        self.over_limit = ModelsOverLimit(topic, partition, spec)
        self.rejected = RejectedRecords(topic, partition)
        self._recent_ids = DedupWindow(
            spec.dedup_window_chunks, spec.labels.chunk_events, spec.micro_batch_chunks
        )
        self._deleted_parts: set[str] = set()

    def observe(self, batch: RecordBatch) -> Observation:
        """Take the next records.  Total: whatever the bytes are, a record is counted once."""
        decoded = decode(batch, self.spec.limits)
        out = Observation([], decoded.dead_letters, [], rejected_controls(decoded.rejected))
        self.counters.dead_lettered += len(decoded.rejected)
        for micro_batch in split_micro_batches(decoded.all(), self.spec.max_micro_batch_offsets):
            rest: MicroBatch | None = micro_batch
            while rest is not None:
                self._admit_and_evict(rest, out)
                since_ms = self.counters.append_clock_ms
                part, rest = split_at_admission(
                    rest, since_ms, self.models, self.spec.max_models, self.placement
                )
                self._observe_micro_batch(part, out)
        out.alerts.sort(key=lambda alert: (alert.decided_offset, alert.model))  # phases in order
        out.dead_letters.sort(key=lambda letter: letter.offset)
        self.counters.alerts += len(out.alerts)
        registers = [
            self.over_limit.open_episodes,
            *(m.open_episodes for m in self.models.values()),
        ]
        suppressed = sum(register.suppressed for register in registers)
        self.counters.suppressed = suppressed + self.rejected.suppressed
        return out

    def _admit_and_evict(self, micro_batch: MicroBatch, out: Observation) -> None:
        """What the first record decides before it is taken: who is idle, and who gets a place."""
        offset, first = micro_batch.first_offset, micro_batch.first_event()
        clock_ms = max(self.counters.append_clock_ms, int(micro_batch.timestamps_ms[0]))
        for name, model in self.models.items():
            own = first[1] if first is not None and first[0] == name else None
            self._end(
                model, model.end_idle_episodes(offset, clock_ms, but=own), offset, clock_ms, out
            )
        if first is None:
            for name, labels in micro_batch.labels.items():
                if labels[0][0] == offset:
                    self._model(name)  # labels alone take no place from anybody
            return
        from_ms = self.placement.admission_from_ms(first[0])
        if from_ms is None or clock_ms < from_ms:
            self._model(first[0])  # what waits, or is misplaced, does not either
        elif (claims := self._admit_model(first[0], offset, clock_ms, out)) is not None:
            gone = claims.admit_version(first[1], offset, clock_ms)
            self._end(claims, gone, offset, clock_ms, out)

    def _end(
        self,
        model: ModelMonitor,
        ended: list[DriftAlert],
        offset: int,
        clock_ms: int,
        out: Observation,
    ) -> None:
        if ended:
            out.alerts.extend(
                model.with_champion(model.open_episodes.process_at(offset, clock_ms, ended))
            )

    def _admit_model(
        self, name: str, offset: int, clock_ms: int, out: Observation
    ) -> ModelMonitor | None:
        """The model's state; one that has none takes the place of one that is idle, if it must."""
        model = self._model(name)
        if model is None and (idle := model_to_evict(self.models, clock_ms)) is not None:
            self.over_limit.coverage.absorb(self.models[idle].coverage)
            gone = remove_model(self.models, idle, offset, clock_ms)
            self._deleted_parts |= gone.parts
            out.alerts.extend(gone.alerts)
            model = self._model(name)
        return model

    def _observe_micro_batch(self, micro_batch: MicroBatch, out: Observation) -> None:
        clock = micro_batch.append_clock_ms(self.counters.append_clock_ms)
        self.counters.ticks += micro_batch.ticks
        decided = Observation([], out.dead_letters, out.windows, [])
        batches = self._admit(micro_batch, clock)
        for name in {batch.model for batch in batches}:
            for warm_up in self.models[name].warm_ups.values():
                warm_up.count_other_versions([batch for batch in batches if batch.model == name])
        for batch in batches:
            self._observe_events(batch, micro_batch, clock, decided)
        self._close_idle(micro_batch, clock, decided)
        self._observe_labels(micro_batch, clock, batches, decided)
        for name, model in self.models.items():
            if not self.placement.has_left(name):  # nothing is to be expected of it here
                decided.alerts.extend(
                    model.observe_traffic(micro_batch.offsets, clock, self.counters.append_clock_ms)
                )
            decided.alerts.extend(model.observe_coverage(micro_batch.offsets, clock))
        out.alerts.extend(self.over_limit.observe(micro_batch.offsets, clock))
        out.alerts.extend(self._publishable(decided.alerts, micro_batch.offsets, clock, batches))
        out.alerts.extend(self.rejected.observe(micro_batch, clock))
        self.counters.append_clock_ms = int(clock[-1])
        if micro_batch.control_record is not None:
            self._control(*micro_batch.control_record, out)

    def _publishable(
        self, decided: list[DriftAlert], offsets: Ints, clock: Ints, batches: Sequence[EventBatch]
    ) -> list[DriftAlert]:
        """What goes out of the alerts decided at these records: there may be reasons for quiet."""
        published: list[DriftAlert] = []
        decided.sort(key=_log_order)
        for name, model in self.models.items():
            mine = [alert for alert in decided if alert.model == name]
            if mine or model.open_episodes.has_due(int(clock[-1])):
                publishable = model.open_episodes.process(
                    mine, offsets, clock, EventTimes.of(name, batches)
                )
                published += model.with_champion(publishable)
        return published

    def _admit(self, micro_batch: MicroBatch, clock: Ints) -> list[EventBatch]:
        """Sort out what is not watched; the rest as columns, by model and version.

        That is repeats, events above a cap, and those that wait for a reference from elsewhere.
        """
        batches = []
        for (model, version), entries in micro_batch.events.items():
            batch = to_batch(model, version, entries)
            first = self._recent_ids.deduplicate(
                batch.offsets, batch.ids, version_salt(model, version)
            )
            if not first.all():
                self.counters.duplicate += len(first) - int(first.sum())
                kept = [entry for entry, new in zip(entries, first, strict=True) if new]
                batch = to_batch(model, version, kept)
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
        """The events of a version that is new here, without those that wait for its reference."""
        appended = clock[np.searchsorted(micro_batch.offsets, batch.offsets)]
        n, reason = self.placement.waiting(batch.model, appended)
        model.coverage.count(batch.version, reason, batch.offsets[:n], batch.times_ms[:n])
        self.counters.not_watched += n
        return batch[n:]

    def _model(self, name: str) -> ModelMonitor | None:
        """The model's state, made at its first record; None above the cap."""
        model = self.models.get(name)
        if model is None and len(self.models) < self.spec.max_models:
            model = ModelMonitor(self.topic, self.partition, name, self.spec)
            self.models[name] = model
        return model

    def _observe_events(
        self, batch: EventBatch, micro_batch: MicroBatch, clock: Ints, out: Observation
    ) -> None:
        """Take events; where the append clock ran on without one, idle windows close in between."""
        model, version = self.models[batch.model], batch.version
        records = np.searchsorted(micro_batch.offsets, batch.offsets)
        appended = clock[records]
        last = model.retention.events_ms.get(version, int(appended[0]))
        idle = np.diff(appended, prepend=last) >= self.spec.windows.idle_close_ms
        start = 0
        for gap in [*np.flatnonzero(idle).tolist(), len(batch)]:
            if gap > start:
                seen = model.observe(batch[start:gap])
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
        for model in self.models.values():
            for version, last_ms in model.retention.events_ms.items():
                if int(clock[-1]) - last_ms >= self.spec.windows.idle_close_ms:
                    out.windows.extend(
                        model.close_idle(version, last_ms, clock, micro_batch.offsets)
                    )

    def _observe_labels(
        self, micro_batch: MicroBatch, clock: Ints, batches: list[EventBatch], out: Observation
    ) -> None:
        """Join what came in this segment: predictions first pending, then labels, by position."""
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
            hashes = id_hashes([label.id for _, _, label in labels])
            offsets = np.array([offset for offset, _, _ in labels], dtype=np.int64)
            first = self._recent_ids.deduplicate(
                offsets, hashes, id_hash(f"{escape(name)}@{_LABEL_SALT}", 1)
            )
            new = [
                (offset, id_of, label)
                for (offset, _, label), id_of, fresh in zip(
                    labels, hashes.tolist(), first.tolist(), strict=True
                )
                if fresh
            ]
            self.counters.duplicate += len(labels) - len(new)
            self.counters.labels += len(new)
            alerts, joined = model.observe_labels(by_model.get(name, []), new, clock_at)
            out.alerts.extend(alerts)
            self.counters.joined += joined
            if new and model.labels.unjoined:
                self._count_unjoined_labels(model, micro_batch.labels[name])

    def _count_unjoined_labels(
        self, model: ModelMonitor, labels: Sequence[tuple[int, int, Label]]
    ) -> None:
        """Count the labels whose prediction may lie in another partition."""
        appended = np.array([appended_ms for _, appended_ms, _ in labels], dtype=np.int64)
        horizon_ms = self.spec.labels.horizon_ms
        may = self.placement.rows_possibly_elsewhere(model.name, appended, horizon_ms)
        if len(may):
            offsets = np.array([offset for offset, _, _ in labels], dtype=np.int64)
            times_ms = np.array([label.time_ms for _, _, label in labels], dtype=np.int64)
            model.count_unjoined_labels(offsets[may], times_ms[may])

    def _control(self, record: ConsumerRecord, order: ControlRecord, out: Observation) -> None:
        """Apply a control record, and note who gave it, whatever became of it."""
        n_letters = len(out.dead_letters)
        counters = self.counters
        before = counters.duplicate, counters.not_watched
        self._apply_command(record, order, out)
        outcome = "applied"
        if len(out.dead_letters) > n_letters:
            outcome = f"rejected: {out.dead_letters[-1].reason}"
        elif counters.duplicate > before[0]:
            outcome = "repeat"
        elif counters.not_watched > before[1]:
            outcome = "over the limit"
        out.controls.append(control_outcome(record, order, outcome))

    def _apply_command(
        self, record: ConsumerRecord, order: ControlRecord, out: Observation
    ) -> None:
        """Apply a control record, after all records before it."""
        order_id = np.array([id_hash(order.id, 2)], dtype=np.uint64)
        position = np.array([record.offset], dtype=np.int64)
        if not self._recent_ids.deduplicate(position, order_id).all():
            self.counters.duplicate += 1
            return
        model = None if isinstance(order, Topology) else self.models.get(order.model)
        if isinstance(order, ModelUpdate) and model is not None:
            moved = order.moved_from is not None
            if model.retention.is_repeat(order) or (
                moved and not model.accepts_transfer(order.version)
            ):
                self.counters.duplicate += 1
                return
        try:
            if isinstance(order, ModelUpdate):
                taken = self._announce(order, record.offset, out)
                self.counters.control += taken
                self.counters.not_watched += not taken
                return
            out.alerts.extend(self._apply_to_episodes(order, model, record.offset))
        except ValueError as error:
            self.counters.dead_lettered += 1
            why = _rejection_reason(error, order), str(error)
            max_bytes = self.spec.limits.max_payload_bytes
            letter = build_dead_letter(
                self.topic, self.partition, record, *why, max_bytes, decoded=True
            )
            out.dead_letters.append(letter)
            out.alerts.extend(self.rejected.reject_at(letter, self.counters.append_clock_ms))
            return
        self.counters.control += 1

    def _announce(self, update: ModelUpdate, offset: int, out: Observation) -> bool:
        """Obey an announcement; False: its model has no place.

        Raises:
            ValueError: its profile is none, or finds no place; nothing has changed.
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
        self, order: Command | Topology, model: ModelMonitor | None, offset: int
    ) -> list[DriftAlert]:
        """Obey; gives the alerts that go out.  Raises ValueError, and nothing has changed."""
        clock_ms = self.counters.append_clock_ms
        if isinstance(order, Topology):
            return self._apply_topology(order, offset, clock_ms)
        if order.action == "forget":
            gone = remove_drill_model(self.models, order, offset, clock_ms)
            self._deleted_parts |= gone.parts
            return gone.alerts
        if order.episode in self.over_limit.open_episodes.by_id:
            return self.over_limit.apply_command(order, offset, clock_ms)
        if isinstance(order, Command) and self.rejected.is_open(order):
            return self.rejected.apply_command(order, offset, clock_ms)
        if model is None:
            raise UnknownEpisode(f"model: {order.model!r} has no episode in this partition")
        return model.with_champion(model.apply_command(order, offset, clock_ms))

    def _apply_topology(self, topology: Topology, offset: int, clock_ms: int) -> list[DriftAlert]:
        """Models are placed in another way from here on."""
        published: list[DriftAlert] = []
        if self.placement.take(topology, offset, clock_ms):
            for name, model in self.models.items():
                ended = model.on_placement_change(
                    offset, clock_ms, moved=self.placement.moved(name)
                )
                published += model.with_champion(
                    model.open_episodes.process_at(offset, clock_ms, ended)
                )
        return published

    def last_event_ms(self, model: str) -> int:
        """The append clock at the last event of a model; 0 before the first."""
        known = self.models.get(model)
        return 0 if known is None else max(known.retention.events_ms.values(), default=0)

    def levels(self) -> dict[tuple[str, str], int]:
        """Drift of every (model@version, series): 0 none, 1 suspected, 2 an open episode."""
        return {
            key: level for model in self.models.values() for key, level in model.levels().items()
        } | self.rejected.levels()

    def coverage(self) -> dict[str, list[CoverageRow]]:
        """What was watched of each model in the last hour, and why not the rest."""
        clock_ms = self.counters.append_clock_ms
        rows = {name: model.coverage.last_hour(clock_ms) for name, model in self.models.items()}
        for name, row in rows_by_model(self.over_limit.coverage.last_hour(clock_ms)):
            rows.setdefault(name, []).append(row)
        return rows

    def changes(self) -> dict[str, Any]:
        """State parts that changed since `committed`; ``None`` is a part that no longer exists."""
        parts: dict[str, Any] = dict.fromkeys(self._deleted_parts) | {
            _COUNTERS: msgspec.structs.asdict(self.counters),
            "clocks": [
                [name, version, last_ms]
                for name, model in sorted(self.models.items())
                for version, last_ms in sorted(model.retention.events_ms.items())
            ],
        }
        parts |= self.placement.pending_changes()
        if (rejected := self.rejected.pending_changes()) is not None:
            parts["rejected"] = rejected
        parts |= {f"seen|{name}": part for name, part in self._recent_ids.pending_changes().items()}
        parts |= {
            f"over-limit|{name}": part for name, part in self.over_limit.pending_changes().items()
        }
        for name, model in self.models.items():
            parts |= {
                f"model|{escape(name)}|{key}": part for key, part in model.pending_changes().items()
            }
        return parts

    def mark_committed(self) -> None:
        """What `changes` gave is durable: forget that it changed."""
        self._deleted_parts.clear()
        self._recent_ids.mark_committed()
        self.placement.mark_committed()
        self.rejected.mark_committed()
        self.over_limit.mark_committed()
        for model in self.models.values():
            model.mark_committed()

    @classmethod
    def restore(
        cls, topic: str, partition: int, spec: MonitorSpec, parts: Mapping[str, Any]
    ) -> PartitionMonitor:
        """Continue from the parts of every commit so far.

        Raises:
            ValueError: a part is missing or does not fit; the caller rebuilds from the log.
        """
        monitor = cls(topic, partition, spec)
        try:
            monitor.counters = msgspec.convert(parts[_COUNTERS], Counters)
            monitor._recent_ids = DedupWindow.restore(
                {name[5:]: part for name, part in parts.items() if name.startswith("seen|")},
                spec.dedup_window_chunks,
                spec.labels.chunk_events,
                spec.micro_batch_chunks,
            )
            monitor.over_limit.restore(
                {name[11:]: part for name, part in parts.items() if name.startswith("over-limit|")}
            )
            if "rejected" in parts:
                monitor.rejected.restore(parts["rejected"])
            if "topology" in parts:
                monitor.placement.restore(parts["topology"])
            below: dict[str, dict[str, Any]] = {}
            for name, part in parts.items():
                if name.startswith("model|"):
                    _, of_model, rest = name.split("|", 2)
                    below.setdefault(unescape(of_model), {})[rest] = part
            for name in sorted(below):
                restored = ModelMonitor(topic, partition, name, spec)
                restored.restore(below[name])
                monitor.models[name] = restored
            for name, version, last_ms in parts["clocks"]:
                monitor.models[name].retention.events_ms[version] = int(last_ms)
        except (KeyError, TypeError, IndexError, msgspec.ValidationError) as error:
            raise ValueError(f"{topic}:{partition}: state does not read back: {error!r}") from error
        return monitor
