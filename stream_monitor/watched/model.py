"""One watched model: its versions, their windows, and the labels that join to its predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from producer.drill import is_shadow
from producer.events import Command, Label, ModelUpdate
from producer.names import escape, reference_of
from stream_monitor.alerts.register import Place, Register
from stream_monitor.alerts.traffic import TRAFFIC
from stream_monitor.contracts import DriftAlert
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.labels.join import JoinedLabel, Labels, prediction_rows
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data, profile_to_data
from stream_monitor.spec import MonitorSpec
from stream_monitor.traffic.arrivals import arrivals_of
from stream_monitor.traffic.chance import alone_arl0
from stream_monitor.watched.coverage import WATCHED, Coverage, CoverageReason
from stream_monitor.watched.coverage_episodes import CoverageEpisodes, Source
from stream_monitor.watched.flow import Flow
from stream_monitor.watched.places import Places
from stream_monitor.watched.version import WatchedVersion
from stream_monitor.watched.warm_up import WarmUp
from stream_monitor.windows.closed import ClosedWindow
from stream_monitor.windows.tumbling import Windows


class Seen(NamedTuple):
    """What some records led to."""

    alerts: list[DriftAlert]
    windows: list[ClosedWindow]
    late: int


class WatchedModel:
    """All state of one model in one partition of the log."""

    def __init__(self, topic: str, partition: int, name: str, spec: MonitorSpec) -> None:
        self.name = name
        self._topic, self._partition, self._spec = topic, partition, spec
        self.versions: dict[str, WatchedVersion] = {}
        self.warm_ups: dict[str, WarmUp] = {}
        self.windows: dict[str, Windows] = {}
        self.labels = Labels(spec.labels)
        self.register = Register(spec.episodes.cooldown_ms)
        self.flow = Flow(topic, partition, name, spec.volume)
        self.places = Places(spec.max_versions, spec.idle_ms)
        self.coverage = Coverage()
        source = Source(topic, partition, name)
        self._uncovered = CoverageEpisodes(source, spec.warm_up_events)
        self._start_offsets: dict[str, int] = {}
        self._moved: set[str] = set()  # since the last change of placement
        self._profile_dirty: set[str] = set()
        self._dead: set[str] = set()
        self._stored: set[str] = set()
        self._gone: set[str] = set()
        self._meta_dirty = True

    @property
    def known(self) -> set[str]:
        """The versions that have a place."""
        return self.versions.keys() | self.warm_ups.keys()

    @property
    def alone(self) -> bool:
        """Whether it has one version, which no other one supersedes."""
        one = len(self.versions) + len(self.warm_ups) <= 1
        return one and (self.places.champion is None or self.places.champion in self.known)

    def place_from_ms(self, version: str) -> int | None:
        """When the append clock lets a version without a place find one; ``None``: it has one."""
        known = self.known
        if version in known:
            return None
        if not self.places.is_full(len(known)) or version == self.places.champion:
            return 0
        return self.places.newcomer_from_ms(known)

    def claim(
        self, version: str, offset: int, clock_ms: int, *, announced: bool = False
    ) -> list[DriftAlert]:
        """Give a version a place, if there is one, by the record at ``offset``; it warms up.

        Gives the ends of the episodes of those that gave way for it.
        """
        if version in self.known:
            return []
        announced = announced or version == self.places.champion
        alerts: list[DriftAlert] = []
        while self.places.is_full(len(known := self.known)):
            gone = self.places.gives_way(known, clock_ms, announced=announced)
            if gone is None:
                return alerts
            alerts += self._supersede(gone, offset, clock_ms)
            self._forget_parts(gone)
            for of_versions in (self.versions, self.windows, self.warm_ups, self._start_offsets):
                of_versions.pop(gone, None)
            self.places.leave(gone, self.known)
        self.warm_ups[version] = WarmUp(self.name, version, self._spec.warm_up_events)
        self._meta_dirty = True
        return alerts

    def active_ms(self) -> int:
        """Where the append clock stood at the latest sign of any version; -1 without one."""
        return max(map(self.places.active_ms, self.known), default=-1)

    def idle_at_ms(self) -> int:
        """When the append clock makes the model idle, if no sign of it comes."""
        return self.active_ms() + self.places.idle_ms

    def end_idle(self, offset: int, clock_ms: int, *, but: str | None) -> list[DriftAlert]:
        """End the episodes of versions that are idle while another one serves.

        Not of the version ``but``, whose event it is.
        """
        if self.alone:
            return []
        alerts: list[DriftAlert] = []
        known = self.known
        for version, watched in self.versions.items():
            if version != but and self.places.is_superseded(
                version, known, clock_ms, idle=watched.idle
            ):
                alerts += self._supersede(version, offset, clock_ms)
        return alerts

    def _supersede(self, version: str, offset: int, clock_ms: int) -> list[DriftAlert]:
        """End what is open of a version, in its event time and what passed since."""
        self.places.settle(version)
        watched = self.versions.get(version)
        if watched is None:
            return []
        passed_ms = max(0, clock_ms - self.places.active_ms(version))
        return watched.supersede(offset, max(0, self.windows[version].watermark_ms) + passed_ms)

    def told_by(self, alerts: Iterable[DriftAlert]) -> list[DriftAlert]:
        """Alerts as they go out: each says which version is the champion, if it is another one."""
        champion = self.places.champion
        return [
            msgspec.structs.replace(alert, champion=other)
            if (other := None if champion == alert.version else champion) != alert.champion
            else alert
            for alert in alerts
        ]

    def end(self, offset: int, clock_ms: int) -> list[DriftAlert]:
        """End all that is open: the model is forgotten."""
        alerts = self.flow.supersede(offset, clock_ms)
        for version in self.versions:
            alerts += self._supersede(version, offset, clock_ms)
        return alerts + self._uncovered.end_all(offset, self.coverage.time_at(clock_ms))

    def observe(self, batch: EventBatch) -> Seen:
        """Take events of one version; the first ones of an unknown version become its reference."""
        alerts: list[DriftAlert] = []
        windows: list[ClosedWindow] = []
        while len(batch):
            version = self.versions.get(batch.version)
            if version is not None:
                if version.idle:
                    version.idle = False
                    self.places.settle(batch.version)
                transformed, found, losses = version.observe(batch)
                self._count(version, batch)
                alerts += found
                open_windows = self.windows[batch.version]
                late_before = open_windows.late
                windows += open_windows.observe(batch.offsets, batch.times_ms, transformed, losses)
                return Seen(alerts, windows, open_windows.late - late_before)
            batch = self._warm_up(batch)
        return Seen(alerts, windows, 0)

    def _warm_up(self, batch: EventBatch) -> EventBatch:
        """Collect what the reference still misses; gives what is left of the batch."""
        warm_up = self.warm_ups[batch.version]
        missing = warm_up.missing
        warm_up.add(batch[:missing])
        self.coverage.count(
            batch.version, "warming_up", batch.offsets[:missing], batch.times_ms[:missing]
        )
        if warm_up.missing == 0:
            self._start(warm_up.profile(), int(batch.offsets[missing - 1]))
        return batch[missing:]

    def _count(self, version: WatchedVersion, batch: EventBatch) -> None:
        """Count events by whether the version compares them, and its features that it does not."""
        outcome = version.unwatched or WATCHED
        self.coverage.count(batch.version, outcome, batch.offsets, batch.times_ms)
        if outcome != WATCHED:
            return
        for name, reason, rows in version.unwatched_features(batch):
            self.coverage.count(
                batch.version, reason, batch.offsets[rows], batch.times_ms[rows], name
            )

    def _start(self, profile: ReferenceProfile, offset: int) -> None:
        """Begin to watch a version on its reference, after the record at ``offset``."""
        version = profile.version
        self._forget_parts(version)
        self.warm_ups.pop(version, None)
        spec = self._spec
        self.versions[version] = WatchedVersion(
            self._topic, self._partition, profile, spec.budget, spec.episodes, spec.loss_warm_up
        )
        self.windows[version] = Windows(
            spec.windows, profile, self._partition, spec.labels.horizon_ms
        )
        self._start_offsets[version] = offset
        self._profile_dirty.add(version)
        self._meta_dirty = True

    def observe_labels(
        self,
        batches: Sequence[EventBatch],
        labels: Sequence[tuple[int, int, Label]],
        clock_at: Callable[[int], int],
    ) -> tuple[list[DriftAlert], int]:
        """Join labels (offset, id hash, label) with predictions: alerts, and how many joined.

        ``clock_at`` gives the append clock at an offset.
        """
        joined = self.labels.observe(prediction_rows(batches), labels)
        delays = [(label.offset, label.delay_ms) for label in joined]
        self.flow.take(arrivals_of(batches, [row[0] for row in labels], delays))
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
                judged = version.judge([label for label in mine if label.offset > since])
                if version.idle and judged:
                    self.places.judge(name, clock_at(judged[-1][0].offset))
                alerts += version.observe_labels(judged)
                self._count_labels(
                    name, "label_not_comparable", [x for x, loss in judged if loss is None]
                )
                self.windows[name].performance.observe(
                    [(x.event_time_ms, x.delay_ms, loss) for x, loss in judged if loss is not None]
                )
        return alerts, len(joined)

    def _count_labels(
        self, version: str, reason: CoverageReason, joined: Sequence[JoinedLabel]
    ) -> None:
        """Count labels that are not watched."""
        offsets = np.array([label.offset for label in joined], dtype=np.int64)
        times_ms = np.array([label.event_time_ms for label in joined], dtype=np.int64)
        self.coverage.count(version, reason, offsets, times_ms)

    def observe_flow(self, offsets: Ints, clock_ms: Ints, since_ms: int) -> list[DriftAlert]:
        """Let time pass over these records, once their events and labels were observed."""
        return self.flow.observe(offsets, clock_ms, since_ms, self._arl0_at, self.places.champion)

    def observe_coverage(self, offsets: Ints, clock_ms: Ints) -> list[DriftAlert]:
        """Let the same records pass over the counts of what was not watched."""
        alerts: list[DriftAlert] = []
        for slot in self.coverage.observe(offsets, clock_ms):
            if not is_shadow(self.name):  # a drill comes and goes
                alerts += self._uncovered.judge(slot, self.coverage)
                self.coverage.waits = bool(self._uncovered)
        return alerts

    def _arl0_at(self, version: str, offset: int) -> float:
        """Of a detector of the version, as far as it was watched before that record."""
        watched = self.versions.get(version)
        if watched is None or self._start_offsets[version] >= offset:
            return alone_arl0(self._spec.budget, self.flow.events_per_week)
        return watched.arl0_events

    def update(
        self, update: ModelUpdate, profile: ReferenceProfile | None, offset: int, clock_ms: int
    ) -> list[DriftAlert]:
        """A version is the champion from here on; the others are watched as before.

        Where it is watched on the very ``profile`` already, it goes on with its state.
        """
        version = update.version
        self.places.announce(update, self.known, clock_ms)
        watched = self.versions.get(version)
        if watched is not None:
            watched.idle = False
        if profile is None or (watched is not None and watched.is_on(profile)):
            return []
        alerts: list[DriftAlert] = []
        if watched is not None:
            alerts += watched.supersede(offset, update.time_ms)
            self.coverage.count_at(version, "reference_replaced", offset, update.time_ms, clock_ms)
        alerts += self.claim(version, offset, clock_ms, announced=True)
        self._start(profile, offset)
        return alerts

    def takes_moved(self, version: str) -> bool:
        """Whether a reference from another partition is news here: there is none, or a made one.

        One that was made of the first events here gives way once after each change of placement.
        """
        watched = self.versions.get(version)
        if watched is None:
            return True
        return watched.profile.origin == "warm_up" and version not in self._moved

    def take_moved(
        self, update: ModelUpdate, profile: ReferenceProfile | None, offset: int, clock_ms: int
    ) -> list[DriftAlert]:
        """A reference of this model lies in another partition: its events are compared with it.

        Nothing else changes: no version comes into service, none goes out.

        Raises:
            ValueError: there is no profile, or all places are taken by versions that have events.
        """
        version = update.version
        if profile is None:
            raise ValueError(f"{reference_of(self.name, version)}: moved without its profile")
        watched = self.versions.get(version)
        ended = [] if watched is None else watched.supersede(offset, update.time_ms)
        ended += self.claim(version, offset, clock_ms)
        if version not in self.known:
            raise ValueError(f"{self.name}: no place for another version")
        self._start(profile, offset)
        self._moved.add(version)
        if update.champion and self.places.champion is None:
            self.places.announce(update, self.known, clock_ms)
        return ended

    def place_anew(self, offset: int, clock_ms: int, *, moved: bool) -> list[DriftAlert]:
        """The placement of models changed; that of this one if ``moved``."""
        self._meta_dirty = self._meta_dirty or bool(self._moved)
        self._moved.clear()
        return self.flow.begin_anew(offset, clock_ms) if moved else []

    def count_elsewhere(self, offsets: Ints, times_ms: Ints) -> None:
        """Of these labels the prediction may lie in another partition, if they did not join."""
        lost = np.isin(offsets, np.array(self.labels.unjoined, dtype=np.int64))
        self.coverage.count("", "label_prediction_elsewhere", offsets[lost], times_ms[lost])

    def held(self) -> Iterator[ReferenceProfile]:
        """The references that would be missed if the events came to another partition.

        Each has the loss that its labels taught it here.
        """
        for watched in self.versions.values():
            if not watched.idle:
                yield watched.learnt_profile()

    def obey(self, command: Command, offset: int, clock_ms: int) -> list[DriftAlert]:
        """Do what a person decided about an open episode; gives what goes out.

        Raises:
            ValueError: the episode is not open here, or a snooze has no end; nothing changed.
        """
        place = Place(offset, clock_ms, max(0, self.labels.watermark_ms))
        return self.register.carry_out(command, place, lambda alert: self._resolve(alert, place))

    def _resolve(self, alert: DriftAlert, place: Place) -> list[DriftAlert]:
        if alert.kind == "coverage":
            return self._uncovered.resolve(alert, place.offset, place.event_time_ms)
        if alert.kind in TRAFFIC:
            return self.flow.resolve(alert, place.offset, place.clock_ms)
        return self.versions[alert.version].resolve(alert, place.offset, place.event_time_ms)

    def levels(self) -> dict[tuple[str, str], int]:
        """Drift of every (model@version, series): 0 none, 1 suspected, 2 an open episode."""
        levels = {
            (reference_of(self.name, version), key): level
            for version, watched in self.versions.items()
            for key, level in watched.levels().items()
        }
        opened = self.flow.open()
        return levels | {
            (reference_of(self.name, alert.version), alert.series): 2 for alert in opened
        }

    def close_idle(
        self, version: str, last_append_ms: int, clock_ms: Ints, offsets: Ints
    ) -> list[ClosedWindow]:
        """Close windows of a version that had no event for a while of the append clock."""
        windows = self.windows.get(version)
        return [] if windows is None else windows.close_all_idle(last_append_ms, clock_ms, offsets)

    def _forget_parts(self, version: str) -> None:
        """The reference was replaced, or the version forgotten: what was stored of it is dead."""
        kinds = ("profile", "version", "window", "warm-up")
        of_version = tuple(f"{kind}|{escape(version)}|" for kind in kinds)
        self._dead.update(part for part in self._stored if f"{part}|".startswith(of_version))

    def part_names(self) -> set[str]:
        """All parts that may be stored, to be forgotten with the model."""
        return self._stored | self._dead

    def dirty(self) -> dict[str, Any]:
        """The parts that changed since `clean`; ``None`` is a part that no longer exists."""
        parts = self._changed()
        self._stored.update(parts)
        self._gone = {name for name, part in parts.items() if part is None}
        return parts

    def _changed(self) -> dict[str, Any]:
        parts: dict[str, Any] = dict.fromkeys(self._dead)
        if (register := self.register.dirty()) is not None:
            parts["register"] = register
        if (places := self.places.dirty()) is not None:
            parts["places"] = places
        if self._meta_dirty:
            parts["model"] = [self._start_offsets, list(self.warm_ups)]
            parts["moved"] = sorted(self._moved)
        for version, watched in self.versions.items():
            if version in self._profile_dirty:
                parts[f"profile|{escape(version)}"] = profile_to_data(watched.profile)
            parts |= {f"version|{escape(version)}|{k}": v for k, v in watched.dirty().items()}
        for version, windows in self.windows.items():
            parts |= {f"window|{escape(version)}|{k}": v for k, v in windows.dirty().items()}
        for version, warm_up in self.warm_ups.items():
            parts |= {f"warm-up|{escape(version)}|{k}": v for k, v in warm_up.dirty().items()}
        parts |= {f"flow|{k}": v for k, v in self.flow.dirty().items()}
        parts |= {f"coverage|{k}": v for k, v in self.coverage.dirty().items()}
        if (uncovered := self._uncovered.dirty()) is not None:
            parts["uncovered"] = uncovered
        return parts | {f"labels|{k}": v for k, v in self.labels.dirty().items()}

    def clean(self) -> None:
        """What `dirty` gave is durable."""
        self._stored -= self._gone
        self._gone = set()
        self._dead.clear()
        self._profile_dirty.clear()
        self._meta_dirty = False
        self.places.clean()
        self.labels.clean()
        self.register.clean()
        self.flow.clean()
        self.coverage.clean()
        self._uncovered.clean()
        for version in self.versions.values():
            version.clean()
        for windows in self.windows.values():
            windows.clean()
        for warm_up in self.warm_ups.values():
            warm_up.clean()

    def restore(self, parts: dict[str, Any]) -> None:
        """Continue from the parts.  Raises ValueError where one is missing or does not fit."""
        start_offsets, warm_ups = parts["model"]
        for version, offset in start_offsets.items():
            self._start(profile_from_data(parts[f"profile|{escape(version)}"]), offset)
            self.versions[version].restore(_below(parts, f"version|{escape(version)}|"))
            self.windows[version].restore(_below(parts, f"window|{escape(version)}|"))
        for version in warm_ups:
            warm_up = WarmUp(self.name, version, self._spec.warm_up_events)
            warm_up.restore(_below(parts, f"warm-up|{escape(version)}|"))
            self.warm_ups[version] = warm_up
        known = {version: watched.idle for version, watched in self.versions.items()}
        self.labels = Labels.restore(self._spec.labels, _below(parts, "labels|"))
        self.register.restore(parts["register"])
        self.flow.restore(_below(parts, "flow|"))
        self.coverage.restore(_below(parts, "coverage|"))
        self._moved = set(parts.get("moved", ()))
        self._uncovered.restore(parts.get("uncovered", ()))
        self.coverage.waits = bool(self._uncovered)
        self._stored = set(parts)
        self.clean()
        self.places.restore(parts.get("places"), known | dict.fromkeys(warm_ups, False))


def _below(parts: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The parts whose names begin with ``prefix``, by the rest of their names."""
    return {name[len(prefix) :]: part for name, part in parts.items() if name.startswith(prefix)}
