"""All state of one watched model: its versions, windows, labels, traffic and open episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from producer.events import Command, Label, ModelUpdate
from producer.names import escape, version_key
from producer.synthetic import is_synthetic
from stream_monitor.checks.traffic_finding import TRAFFIC
from stream_monitor.contracts import CoverageReason, DriftAlert
from stream_monitor.core.alert_budget import arl0_without_reference
from stream_monitor.core.coverage import WATCHED, Coverage
from stream_monitor.core.coverage_episodes import (
    CoverageEpisodes,
    CoverageSource,
    OpenCoverageEpisodes,
)
from stream_monitor.core.retention import RetentionState, VersionRetention
from stream_monitor.core.shadows import References, ShadowRecords, ShadowVersions
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.core.traffic import AppendClock, TrafficMonitor, arrivals_of
from stream_monitor.core.version import VersionMonitor, known_losses
from stream_monitor.core.warm_up import WarmUp
from stream_monitor.episodes.open_episodes import LogPosition, OpenEpisodes, OpenEpisodesState
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.labels.join import JoinedLabel, LabelJoin, Predictions
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.stored_profile import PROFILE, pack_profile, read_profile
from stream_monitor.state_parts import StoredParts, with_prefix
from stream_monitor.windows.closed_window import ClosedWindow
from stream_monitor.windows.tumbling import TumblingWindows


class ModelObservation(NamedTuple):
    """Results of some events of one version."""

    alerts: list[DriftAlert]
    windows: list[ClosedWindow]
    late: int


class ModelState(msgspec.Struct, array_like=True):
    """The versions of a model: watched versions with their start offsets, and versions in warm-up.

    ``moved`` are those whose reference was transferred since the last change of placement.
    """

    start_offsets: dict[str, int]
    warm_ups: list[str]
    moved: list[str]


class ModelMonitor:
    """All state of one model in one partition of the event topic."""

    def __init__(self, topic: str, partition: int, name: str, spec: MonitorSpec) -> None:
        self.name = name
        self._topic, self._partition, self._spec = topic, partition, spec
        self.versions: dict[str, VersionMonitor] = {}
        self.warm_ups: dict[str, WarmUp] = {}
        self.windows: dict[str, TumblingWindows] = {}
        self.labels = LabelJoin(spec.labels)
        self.open_episodes = OpenEpisodes(spec.episodes.cooldown_ms)
        self.traffic = TrafficMonitor(topic, partition, name, spec.traffic)
        self.retention = VersionRetention(spec.max_versions, spec.idle_ms)
        self.coverage = Coverage()
        self.shadows: ShadowVersions | None = None  # from its first shadow prediction on
        source = CoverageSource(topic, partition, name)
        self._coverage_episodes = CoverageEpisodes(source, spec.warm_up_events)
        self._start_offsets: dict[str, int] = {}
        self._moved: set[str] = set()  # since the last change of placement
        self._changed_profiles: set[str] = set()
        self._deleted_prefixes: set[str] = set()
        self._meta_changed = True

    @property
    def admitted_versions(self) -> set[str]:
        """The versions that are watched or warm up."""
        return self.versions.keys() | self.warm_ups.keys()

    @property
    def is_single_version(self) -> bool:
        """Whether the model has at most one version, and no other version is champion."""
        n, champion = len(self.versions) + len(self.warm_ups), self.retention.champion
        return n <= 1 and champion in (None, *self.versions, *self.warm_ups)

    def admission_from_ms(self, version: str) -> int | None:
        """Append clock (ms) from which a version can be admitted; ``None``: it is, or never can."""
        admitted_versions = self.admitted_versions
        if version in admitted_versions:
            return None
        if not self.retention.is_full(len(admitted_versions)) or version == self.retention.champion:
            return 0
        return self.retention.eviction_from_ms(admitted_versions)

    def admit_version(
        self, version: str, offset: int, clock_ms: int, *, announced: bool = False
    ) -> list[DriftAlert]:
        """Admit a version at the record at ``offset``, if the limit allows it; it warms up.

        Returns the alerts that end the episodes of evicted versions.
        """
        if version in self.admitted_versions:
            return []
        announced = announced or version == self.retention.champion
        alerts: list[DriftAlert] = []
        while self.retention.is_full(len(admitted_versions := self.admitted_versions)):
            gone = self.retention.version_to_evict(admitted_versions, clock_ms, announced=announced)
            if gone is None:
                return alerts
            alerts += self._supersede(gone, offset, clock_ms)
            self._mark_parts_deleted(gone)
            for of_versions in (self.versions, self.windows, self.warm_ups, self._start_offsets):
                of_versions.pop(gone, None)
            self.retention.remove(gone, self.admitted_versions)
        self.warm_ups[version] = WarmUp(self.name, version, self._spec.warm_up_events)
        self._meta_changed = True
        return alerts

    def active_ms(self) -> int:
        """The append clock (ms) at the latest activity of any version; -1 without one."""
        return max(map(self.retention.active_ms, self.admitted_versions), default=-1)

    def idle_at_ms(self) -> int:
        """The append clock (ms) at which the model becomes idle without further activity."""
        return self.active_ms() + self.retention.idle_ms

    def end_idle_episodes(self, offset: int, clock_ms: int, *, but: str | None) -> list[DriftAlert]:
        """End the episodes of versions that are idle while another one serves.

        The version ``but`` is left out: the record at ``offset`` is its event.
        """
        if self.is_single_version:
            return []
        alerts: list[DriftAlert] = []
        admitted_versions = self.admitted_versions
        for version, watched in self.versions.items():
            if version != but and self.retention.is_superseded(
                version, admitted_versions, clock_ms, idle=watched.idle
            ):
                alerts += self._supersede(version, offset, clock_ms)
        return alerts

    def _supersede(self, version: str, offset: int, clock_ms: int) -> list[DriftAlert]:
        """End the open episodes of a version, at its event time plus the time since."""
        self.retention.clear_label_time(version)
        watched = self.versions.get(version)
        if watched is None:
            return []
        passed_ms = max(0, clock_ms - self.retention.active_ms(version))
        return watched.supersede(offset, max(0, self.windows[version].watermark_ms) + passed_ms)

    def with_champion(self, alerts: Iterable[DriftAlert]) -> list[DriftAlert]:
        """The alerts with the champion filled in, where it is another version."""
        champion = self.retention.champion
        return [
            msgspec.structs.replace(alert, champion=other)
            if (other := None if champion == alert.version else champion) != alert.champion
            else alert
            for alert in alerts
        ]

    def end(self, offset: int, clock_ms: int) -> list[DriftAlert]:
        """End all open episodes: the model is removed."""
        alerts = self.traffic.supersede(offset, clock_ms)
        for version in self.versions:
            alerts += self._supersede(version, offset, clock_ms)
        return alerts + self._coverage_episodes.end_all(offset, self.coverage.time_at(clock_ms))

    def observe(self, batch: EventBatch) -> ModelObservation:
        """Apply events of one version; the first events of a new version become its reference."""
        while len(batch):
            version = self.versions.get(batch.version)
            if version is not None:
                if version.idle:
                    version.idle = False
                    self.retention.clear_label_time(batch.version)
                transformed, alerts, losses = version.observe(batch)
                self._count(version, batch)
                open_windows = self.windows[batch.version]
                late_before = open_windows.late
                windows = open_windows.observe(batch.offsets, batch.times_ms, transformed, losses)
                return ModelObservation(alerts, windows, open_windows.late - late_before)
            batch = self._warm_up(batch)
        return ModelObservation([], [], 0)

    def _warm_up(self, batch: EventBatch) -> EventBatch:
        """Collect events for the reference; returns the rest of the batch."""
        warm_up = self.warm_ups[batch.version]
        missing = warm_up.missing
        warm_up.add(batch[:missing])
        self.coverage.count(
            batch.version, "warming_up", batch.offsets[:missing], batch.times_ms[:missing]
        )
        if warm_up.missing == 0:
            self._start(warm_up.profile(), int(batch.offsets[missing - 1]))
        return batch[missing:]

    def _count(self, version: VersionMonitor, batch: EventBatch) -> None:
        """Count events as watched or under a coverage reason, and features not compared."""
        outcome = version.not_compared or WATCHED
        self.coverage.count(batch.version, outcome, batch.offsets, batch.times_ms)
        if outcome != WATCHED:
            return
        for name, reason, rows in version.uncompared_features(batch):
            self.coverage.count(
                batch.version, reason, batch.offsets[rows], batch.times_ms[rows], name
            )

    def _start(self, profile: ReferenceProfile, offset: int) -> None:
        """Start to compare a version with its reference, after the record at ``offset``."""
        version = profile.version
        self._mark_parts_deleted(version)
        self.warm_ups.pop(version, None)
        spec = self._spec
        self.versions[version] = VersionMonitor(
            self._topic, self._partition, profile, spec.budget, spec.episodes, spec.warm_up_labels
        )
        self.windows[version] = TumblingWindows(
            spec.windows, profile, self._partition, spec.labels.horizon_ms
        )
        self._start_offsets[version] = offset
        self._changed_profiles.add(version)
        self._meta_changed = True

    def observe_labels(
        self,
        batches: Sequence[EventBatch],
        labels: Sequence[tuple[int, int, Label]],
        clock_at: Callable[[int], int],
    ) -> tuple[list[DriftAlert], int]:
        """Join labels (offset, id hash, label) with predictions; returns alerts and join count.

        ``clock_at`` gives the append clock at an offset.
        """
        joined = self.labels.observe(Predictions.of(batches), labels)
        delays = [(label.offset, label.delay_ms) for label in joined]
        self.traffic.take(arrivals_of(batches, [row[0] for row in labels], delays))
        alerts: list[DriftAlert] = []
        for name in sorted({label.version for label in joined}):
            mine = [label for label in joined if label.version == name]
            version = self.versions.get(name)
            if version is None:
                gone: CoverageReason = "label_version_unwatched"
                self._count_labels(
                    name, "label_warming_up" if name in self.warm_ups else gone, mine
                )
            else:
                since = self._start_offsets[name]
                early = [label for label in mine if label.offset <= since]
                self._count_labels(name, "label_warming_up", early)
                compared = version.compare_labels([label for label in mine if label.offset > since])
                if version.idle and compared:
                    self.retention.note_label(name, clock_at(compared[-1][0].offset))
                alerts += version.observe_labels(compared)
                unknown = [x for x, loss in compared if loss is None]
                self._count_labels(name, "label_not_comparable", unknown)
                self.windows[name].performance.observe(known_losses(compared))
        return alerts, len(joined)

    def _count_labels(
        self, version: str, reason: CoverageReason, joined: Sequence[JoinedLabel]
    ) -> None:
        """Count labels that are not compared, under ``reason``."""
        offsets = np.array([label.offset for label in joined], dtype=np.int64)
        times_ms = np.array([label.event_time_ms for label in joined], dtype=np.int64)
        self.coverage.count(version, reason, offsets, times_ms)

    def observe_shadows(self, records: ShadowRecords, since_ms: int) -> list[ClosedWindow]:
        """Apply shadow predictions and labels; the append clock was at ``since_ms`` before."""
        self.shadows = self.shadows or ShadowVersions(self._partition, self._spec)
        known = {v: (since, self.versions[v].profile) for v, since in self._start_offsets.items()}
        references = References(known, self.retention.champion)
        windows = self.shadows.observe(records, references, self.coverage, since_ms)
        self._deleted_prefixes |= self.shadows.take_deleted_prefixes()
        return windows

    def observe_traffic(self, offsets: Ints, clock: AppendClock) -> list[DriftAlert]:
        """Advance the traffic monitor over these records, after their events and labels."""
        champion = self.retention.champion
        return self.traffic.observe(offsets, clock, self._arl0_at, champion)

    def observe_coverage(self, offsets: Ints, clock_ms: Ints) -> list[DriftAlert]:
        """Advance the coverage counts over the same records."""
        alerts: list[DriftAlert] = []
        for interval in self.coverage.observe(offsets, clock_ms):
            if not is_synthetic(self.name):  # the traffic of a drill starts and stops
                alerts += self._coverage_episodes.observe(interval, self.coverage)
                self.coverage.waits = bool(self._coverage_episodes)
        return alerts

    def _arl0_at(self, version: str, offset: int) -> float:
        """Events between false alarms of one traffic detector, as of the record at ``offset``."""
        watched = self.versions.get(version)
        if watched is None or self._start_offsets[version] >= offset:
            return arl0_without_reference(self._spec.budget, self.traffic.events_per_week)
        return watched.arl0_events

    def update(
        self, update: ModelUpdate, profile: ReferenceProfile | None, offset: int, clock_ms: int
    ) -> list[DriftAlert]:
        """Make a version the champion; the other versions are watched as before.

        A version that is already compared with this ``profile`` keeps its state.
        """
        version = update.version
        self.retention.announce(update, self.admitted_versions, clock_ms)
        watched = self.versions.get(version)
        if watched is not None:
            watched.idle = False
        if profile is None or (watched is not None and watched.is_on(profile)):
            return []
        alerts: list[DriftAlert] = []
        if watched is not None:
            alerts += watched.supersede(offset, update.time_ms)
            self.coverage.count_at(version, "reference_replaced", offset, update.time_ms, clock_ms)
        alerts += self.admit_version(version, offset, clock_ms, announced=True)
        self._start(profile, offset)
        return alerts

    def accepts_transfer(self, version: str) -> bool:
        """Whether a transferred reference is used: there is none, or only a warm-up reference.

        A warm-up reference is replaced once after each change of placement.
        """
        watched = self.versions.get(version)
        if watched is None:
            return True
        return watched.profile.origin == "warm_up" and version not in self._moved

    def apply_transfer(
        self, update: ModelUpdate, profile: ReferenceProfile | None, offset: int, clock_ms: int
    ) -> list[DriftAlert]:
        """Compare events of this model with a reference from another partition.

        The champion does not change.

        Raises:
            ValueError: there is no profile, or the version is over the limit.
        """
        version = update.version
        if profile is None:
            raise ValueError(f"{version_key(self.name, version)}: moved without its profile")
        watched = self.versions.get(version)
        ended = [] if watched is None else watched.supersede(offset, update.time_ms)
        ended += self.admit_version(version, offset, clock_ms)
        if version not in self.admitted_versions:
            raise ValueError(f"{self.name}: over the limit of versions")
        self._start(profile, offset)
        self._moved.add(version)
        if update.champion and self.retention.champion is None:
            self.retention.announce(update, self.admitted_versions, clock_ms)
        return ended

    def on_placement_change(self, offset: int, clock_ms: int, *, moved: bool) -> list[DriftAlert]:
        """Apply a change of placement; ``moved``: it concerns this model."""
        self._meta_changed = self._meta_changed or bool(self._moved)
        self._moved.clear()
        return self.traffic.restart(offset, clock_ms) if moved else []

    def count_unjoined_labels(self, offsets: Ints, times_ms: Ints) -> None:
        """Count unjoined labels (n,) whose prediction may be in another partition."""
        lost = np.isin(offsets, np.array(self.labels.unjoined, dtype=np.int64))
        self.coverage.count("", "label_prediction_elsewhere", offsets[lost], times_ms[lost])

    def transferable_references(self) -> Iterator[ReferenceProfile]:
        """The references that another partition would need for events of this model.

        Each includes the loss reference that was fitted on labels here.
        """
        for watched in tuple(self.versions.values()):
            if not watched.idle:
                yield watched.learnt_profile()

    def apply_command(self, command: Command, offset: int, clock_ms: int) -> list[DriftAlert]:
        """Apply a user's command to an open episode; returns the alerts to publish.

        Raises:
            ValueError: the episode is not open here, or a snooze has no end; nothing changed.
        """
        position = LogPosition(offset, clock_ms, max(0, self.labels.watermark_ms))
        return self.open_episodes.apply_command(
            command, position, lambda alert: self._resolve(alert, position)
        )

    def _resolve(self, alert: DriftAlert, position: LogPosition) -> list[DriftAlert]:
        if alert.kind == "coverage":
            return self._coverage_episodes.resolve(alert, position.offset, position.event_time_ms)
        if alert.kind in TRAFFIC:
            return self.traffic.resolve(alert, position.offset, position.clock_ms)
        return self.versions[alert.version].resolve(alert, position.offset, position.event_time_ms)

    def levels(self) -> dict[tuple[str, str], int]:
        """Drift of every (model@version, series): 0 none, 1 suspected, 2 an open episode."""
        levels = {
            (version_key(self.name, version), key): level
            for version, watched in self.versions.items()
            for key, level in watched.levels().items()
        }
        return levels | {
            (version_key(self.name, finding.source.version), finding.series): 2
            for finding in self.traffic.open()
        }

    def close_idle(
        self, version: str, last_append_ms: int, clock_ms: Ints, offsets: Ints
    ) -> list[ClosedWindow]:
        """Close windows of a version without events for ``idle_close_ms`` of the append clock."""
        windows = self.windows.get(version)
        return [] if windows is None else windows.close_all_idle(last_append_ms, clock_ms, offsets)

    def _mark_parts_deleted(self, version: str) -> None:
        """Delete the stored parts of a version: it was evicted, or its reference replaced."""
        self._deleted_prefixes.add(_prefix(version))

    def take_deleted_prefixes(self) -> set[str]:
        """The beginnings of the names of parts to delete, unless they are written again."""
        taken, self._deleted_prefixes = self._deleted_prefixes, set()
        return taken

    def take_changes(self) -> dict[str, Any]:
        """The parts that changed since the last call; ``None`` is a part that was deleted."""
        parts: dict[str, Any] = {
            "register": self.open_episodes.take_changes(),
            "retention": self.retention.take_changes(),
            "uncovered": self._coverage_episodes.take_changes(),
        }
        parts = {name: part for name, part in parts.items() if part is not None}
        if self._meta_changed:
            parts["model"] = ModelState(
                self._start_offsets, list(self.warm_ups), sorted(self._moved)
            )
            self._meta_changed = False
        for version, watched in self.versions.items():
            prefix = _prefix(version)
            if version in self._changed_profiles:
                parts[f"{prefix}{PROFILE}"] = pack_profile(watched.profile)
            parts |= with_prefix(prefix, watched.take_changes())
            parts |= with_prefix(f"{prefix}window|", self.windows[version].take_changes())
        self._changed_profiles.clear()
        for version, warm_up in self.warm_ups.items():
            parts |= with_prefix(f"{_prefix(version)}warm-up|", warm_up.take_changes())
        parts |= with_prefix("traffic|", self.traffic.take_changes())
        parts |= with_prefix("coverage|", self.coverage.take_changes())
        if self.shadows is not None:
            parts |= with_prefix("shadow|", self.shadows.take_changes())
        return parts | with_prefix("labels|", self.labels.take_changes())

    def restore(self, parts: StoredParts) -> None:
        """Continue from the parts.  Raises ValueError where one is missing or does not fit."""
        state = parts.read("model", ModelState)
        for version, offset in state.start_offsets.items():
            stored = parts.under(_prefix(version))
            self._start(read_profile(stored), offset)
            self.versions[version].restore(stored)
            self.windows[version].restore(stored.under("window|"))
        for version in state.warm_ups:
            self.warm_ups[version] = WarmUp(self.name, version, self._spec.warm_up_events)
            self.warm_ups[version].restore(parts.under(f"{_prefix(version)}warm-up|"))
        self._moved = set(state.moved)
        self.labels = LabelJoin.restore(self._spec.labels, parts.under("labels|"))
        self.open_episodes.restore(parts.read("register", OpenEpisodesState))
        self.traffic.restore(parts.under("traffic|"))
        self.retention.restore(parts.read("retention", RetentionState))
        self.coverage.restore(parts.under("coverage|"))
        self.shadows = ShadowVersions.of(self._partition, self._spec, parts.under("shadow|"))
        if "uncovered" in parts:
            self._coverage_episodes.restore(parts.read("uncovered", OpenCoverageEpisodes))
        self.coverage.waits = bool(self._coverage_episodes)
        self.take_deleted_prefixes()
        self._changed_profiles.clear()
        self._meta_changed = False


def _prefix(version: str) -> str:
    """How the names of the parts of a version begin."""
    return f"version|{escape(version)}|"
