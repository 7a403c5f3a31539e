"""The open episodes of one model, with acknowledgements, snoozes and cooldowns.

`OpenEpisodes` receives alerts as they are decided and returns those to publish.  It adds who
acknowledged the episode; `suppression` decides what is suppressed.  A snooze ends by the append
clock, because event time may be that of a replayed year; a cooldown ends by event time.
Suppressed alerts are counted, and an episode that is still open at the end of the suppression is
reported once.  The end of a reported episode is always published, because programs wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from producer.events import Command
from stream_monitor.contracts import ENDED_PHASES, SEVERITY_RANK, DriftAlert, Phase, Severity
from stream_monitor.episodes.alert import later_phase
from stream_monitor.episodes.finding import derived_id
from stream_monitor.episodes.formatting import joined
from stream_monitor.episodes.phase_messages import (
    acknowledged_message,
    action_message,
    after_cooldown_message,
    after_snooze_message,
    progress_message,
    resolved_by_message,
)
from stream_monitor.episodes.suppression import CooldownHold, SeriesKey, Suppressor, SuppressorState
from stream_monitor.ingest.batch import EventBatch, Ints


class EventTimes(NamedTuple):
    """Offsets and event times of the events of one model, (n,) each, in order of the offsets."""

    offsets: Ints
    times_ms: Ints

    @classmethod
    def of(cls, model: str, batches: Sequence[EventBatch]) -> EventTimes:
        """The events of one model, all versions."""
        mine = [batch for batch in batches if batch.model == model]
        if not mine:
            return NO_EVENTS
        offsets = np.concatenate([batch.offsets for batch in mine])
        in_order = np.argsort(offsets)
        times_ms = np.concatenate([batch.times_ms for batch in mine])
        return cls(offsets[in_order], times_ms[in_order])

    def first(self, after: int, upto: int, until_ms: int) -> tuple[int, int] | None:
        """Return the first event of offsets (after, upto] at ``until_ms`` or later."""
        start, end = np.searchsorted(self.offsets, (after, upto), "right").tolist()
        late = np.flatnonzero(self.times_ms[start:end] >= until_ms)
        if not len(late):
            return None
        i = start + int(late[0])
        return int(self.offsets[i]), int(self.times_ms[i])


NO_EVENTS: Final = EventTimes(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


class UnknownEpisode(ValueError):  # noqa: N818 - a finding, named for what it reports
    """Raised if a command names an episode that is not open in this partition."""


class LogPosition(msgspec.Struct, frozen=True):
    """A record that decides something: its offset, the append clock and the event time there.

    ``row`` counts the events of a record.
    """

    offset: int
    clock_ms: int
    event_time_ms: int
    row: int = 0


class OpenEpisode(msgspec.Struct, array_like=True):
    """One open episode: its latest alert, published or suppressed.

    ``reported``: an alert of it was published.  ``worst`` is its highest severity.
    ``cooldown_hold`` is how long it is suppressed after a recovery.  ``drift_explanation`` is the
    sentence of the last alert that found it drifting.
    """

    latest: DriftAlert
    reported: bool = False
    acknowledged_by: str | None = None
    acknowledged_ms: int | None = None
    suppressed: int = 0
    worst: Severity = "low"
    cooldown_hold: CooldownHold | None = None
    drift_explanation: str = ""

    @property
    def series(self) -> SeriesKey:
        """The signal of the episode."""
        return SeriesKey(self.latest.version, self.latest.series)

    def update(self, alert: DriftAlert) -> DriftAlert:
        """Apply a decided phase; returns it as it would be published.

        A phase that reports a possible recovery repeats what drifts.
        """
        if alert.recovery_events:
            alert = msgspec.structs.replace(
                alert,
                severity=self.latest.severity,
                explanation=joined(self.drift_message, _progress(alert)),
            )
        elif alert.phase in ("started", "ongoing"):
            self.drift_explanation = alert.explanation
        self.latest = alert
        return alert

    @property
    def drift_message(self) -> str:
        """The sentence that describes the drift."""
        return self.drift_explanation or self.latest.explanation

    def command_message(self, action: str) -> str:
        """Describe what drifts, how far the recovery is, and what a person did about it."""
        progress = _progress(self.latest) if self.latest.recovery_events else ""
        return joined(self.drift_message, progress, action)

    def publish(self, alert: DriftAlert) -> DriftAlert:
        """Publish ``alert``, with who acknowledged the episode; it is reported from now on."""
        self.reported, self.cooldown_hold = True, None
        explanation = alert.explanation
        if self.acknowledged_by is not None and alert.phase == "ongoing":
            known = acknowledged_message(self.acknowledged_by, self.acknowledged_ms or 0)
            explanation = joined(explanation, known)
        return msgspec.structs.replace(
            alert,
            explanation=explanation,
            acknowledged_by=self.acknowledged_by,
            acknowledged_ms=self.acknowledged_ms,
            suppressed=self.suppressed,
        )

    def after_cooldown(self, offset: int, time_ms: int) -> DriftAlert:
        """Report the start that the cooldown suppressed until an event, with present figures."""
        recovered_ms = None if self.cooldown_hold is None else self.cooldown_hold.recovered_ms
        self.cooldown_hold = None
        return msgspec.structs.replace(
            self.latest,
            alert_id=derived_id(self.latest.episode_id, "rested", offset),
            phase="started",
            explanation=after_cooldown_message(self.latest.explanation, recovered_ms),
            decided_offset=offset,
            decided_ms=time_ms,
        )


class OpenEpisodesState(msgspec.Struct, array_like=True):
    """The open episodes by id, and what is suppressed."""

    by_id: dict[str, OpenEpisode] = {}
    suppressor: SuppressorState = msgspec.field(default_factory=SuppressorState)


class OpenEpisodes:
    """The open episodes of one model, by id."""

    def __init__(self, cooldown_ms: int = 0) -> None:
        self.by_id: dict[str, OpenEpisode] = {}
        self._suppressor = Suppressor(cooldown_ms)
        self.has_changes = True

    @property
    def state(self) -> OpenEpisodesState:
        """All that changes."""
        return OpenEpisodesState(self.by_id, self._suppressor.state)

    @property
    def suppressed(self) -> int:
        """The number of suppressed alerts."""
        return self._suppressor.state.suppressed

    def is_empty(self) -> bool:
        """Whether no episode is open and no series is snoozed."""
        return not self.by_id and not self._suppressor.state.snoozes

    def has_due(self, clock_ms: int) -> bool:
        """Whether a snooze or a cooldown may end at this append-clock time without an alert."""
        if self.is_empty():
            return False
        return bool(self._suppressor.snoozes_until(clock_ms)) or any(
            episode.cooldown_hold is not None for episode in self.by_id.values()
        )

    def process(
        self,
        alerts: Iterable[DriftAlert],
        offsets: Ints,
        clock_ms: Ints,
        events: EventTimes = NO_EVENTS,
    ) -> list[DriftAlert]:
        """Apply alerts in the order of ``decided_offset``; returns those to publish.

        ``offsets`` and ``clock_ms`` (n,) are those of the records since the last call.  A snooze
        ends at the first of them that reaches its end, a cooldown at the first of the model's
        ``events`` among them that does.
        """
        published: list[DriftAlert] = []
        for alert in alerts:
            i = int(np.searchsorted(offsets, alert.decided_offset))
            published += self._end_snoozes(offsets, clock_ms, int(clock_ms[i]))
            published += self._end_cooldowns(events, alert.decided_offset)
            published += self._apply(alert)
        published += self._end_snoozes(offsets, clock_ms, int(clock_ms[-1]))
        return published + self._end_cooldowns(events, int(offsets[-1]))

    def process_at(
        self, offset: int, clock_ms: int, alerts: Iterable[DriftAlert]
    ) -> list[DriftAlert]:
        """Apply alerts that one record decided."""
        return self.process(
            alerts, np.array([offset], dtype=np.int64), np.array([clock_ms], dtype=np.int64)
        )

    def _apply(self, alert: DriftAlert) -> list[DriftAlert]:
        """Apply an alert; returns it where it is published."""
        self.has_changes = True
        suppressor = self._suppressor
        suppressor.advance(alert)
        ends = alert.phase in ENDED_PHASES
        episode = self.by_id.get(alert.episode_id)
        if episode is None:
            episode = OpenEpisode(alert)
            if not ends:
                self.by_id[alert.episode_id] = episode
                episode.cooldown_hold = suppressor.hold_for(alert)
        alert = episode.update(alert)
        if ends:
            self.by_id.pop(alert.episode_id, None)
        else:
            episode.worst = max(episode.worst, alert.severity, key=SEVERITY_RANK.__getitem__)
        hold = episode.cooldown_hold
        if hold is not None and not ends and hold.allows(alert.severity):
            episode.cooldown_hold = None
            alert = msgspec.structs.replace(alert, phase="started")  # the first one published
        suppressed = episode.cooldown_hold is not None or suppressor.is_snoozed(episode.series)
        if suppressed and not (ends and episode.reported):
            episode.suppressed += 1
            suppressor.state.suppressed += 1
            return []
        if alert.phase == "recovered":
            suppressor.recovered(alert, episode.worst)
        elif ends:
            suppressor.forget(alert)
        return [episode.publish(alert)]

    def _end_cooldowns(self, events: EventTimes, upto: int) -> list[DriftAlert]:
        """End the cooldowns that pass at an event at or before offset ``upto``."""
        passed = []
        for episode_id, episode in self.by_id.items():
            if episode.cooldown_hold is not None:
                # Events before the episode end nothing, whatever their time.
                position = events.first(
                    episode.latest.decided_offset, upto, episode.cooldown_hold.until_ms
                )
                if position is not None:
                    passed.append((position, episode_id))
        return [
            alert
            for position, episode_id in sorted(passed)
            for alert in self._end_cooldown(self.by_id[episode_id], *position)
        ]

    def _end_cooldown(self, episode: OpenEpisode, offset: int, time_ms: int) -> list[DriftAlert]:
        self.has_changes = True
        started = episode.after_cooldown(offset, time_ms)
        if self._suppressor.is_snoozed(episode.series):
            return []
        return [episode.publish(started)]

    def _end_snoozes(self, offsets: Ints, clock_ms: Ints, now_ms: int) -> list[DriftAlert]:
        """End the snoozes that have passed; the episodes still open are reported, by offset."""
        passed = sorted(
            (int(np.searchsorted(clock_ms, until)), series)
            for until, series in self._suppressor.snoozes_until(now_ms)
        )
        return [
            alert
            for i, series in passed
            for alert in self._end_snooze(series, int(offsets[i]), int(clock_ms[i]))
        ]

    def _end_snooze(self, series: SeriesKey, offset: int, clock_ms: int) -> list[DriftAlert]:
        self._suppressor.end_snooze(series)
        self.has_changes = True
        return [
            episode.publish(
                msgspec.structs.replace(
                    episode.latest,
                    alert_id=derived_id(episode_id, "awake", offset),
                    phase="ongoing",
                    explanation=after_snooze_message(
                        episode.latest.explanation, clock_ms, episode.suppressed
                    ),
                    decided_offset=offset,
                )
            )
            for episode_id, episode in sorted(self.by_id.items())
            if episode.series == series
        ]

    def find(self, episode_id: str) -> list[OpenEpisode]:
        """The open episodes that a command names.

        Raises:
            UnknownEpisode: none of that id is open.
        """
        if episode_id not in self.by_id:
            raise UnknownEpisode(
                f"episode: {episode_id!r} is not open here; "
                "`driftline alerts list` names those that are"
            )
        return [self.by_id[episode_id]]

    def apply_command(
        self,
        command: Command,
        position: LogPosition,
        end: Callable[[DriftAlert], Iterable[DriftAlert]],
    ) -> list[DriftAlert]:
        """Apply a person's command; ``end`` returns the end of the episode of an alert.

        Raises:
            ValueError: the episode is not open here, or a snooze has no end; nothing changed.
        """
        if command.action == "acknowledge":
            return self.acknowledge(command, position)
        if command.action == "snooze":
            return self.snooze(command, position)
        ended = [alert for episode in self.find(command.episode) for alert in end(episode.latest)]
        return self.resolve(ended, command)

    def acknowledge(self, command: Command, position: LogPosition) -> list[DriftAlert]:
        """Acknowledge episodes; an alert confirms each.  Raises UnknownEpisode."""
        episodes = self.find(command.episode)
        for episode in episodes:
            episode.acknowledged_by, episode.acknowledged_ms = command.actor, command.time_ms
        return [self._command_alert(each, "acknowledged", command, position) for each in episodes]

    def snooze(self, command: Command, position: LogPosition) -> list[DriftAlert]:
        """Suppress the alerts of the series of episodes; an alert confirms each.

        A time in the past ends a snooze.  Raises UnknownEpisode.
        """
        if command.until_ms is None:
            raise ValueError("until_ms: a snooze needs its end")
        episodes = self.find(command.episode)
        for episode in episodes:
            self._suppressor.snooze(episode.series, command.until_ms, position.clock_ms)
        return [self._command_alert(episode, "snoozed", command, position) for episode in episodes]

    def _command_alert(
        self, episode: OpenEpisode, phase: Phase, command: Command, position: LogPosition
    ) -> DriftAlert:
        """The alert that confirms a command."""
        self.has_changes = True
        until_ms = command.until_ms if phase == "snoozed" else None
        action = action_message(
            phase,
            command.actor,
            command.reason,
            until_ms,
            ended=until_ms is not None and until_ms <= position.clock_ms,
        )
        answer = msgspec.structs.replace(
            later_phase(
                episode.latest,
                phase,
                position.offset,
                position.event_time_ms,
                episode.command_message(action),
            ),
            actor=command.actor,
            reason=command.reason,
            until_ms=until_ms,
        )
        return episode.publish(answer)

    def resolve(self, ended: Sequence[DriftAlert], command: Command) -> list[DriftAlert]:
        """Apply the ends of episodes that a person resolved; returns the alerts to publish."""
        return [
            published
            for alert in ended
            for published in self._apply(
                msgspec.structs.replace(
                    alert,
                    explanation=resolved_by_message(
                        alert.explanation, command.actor, command.reason
                    ),
                    actor=command.actor,
                    reason=command.reason,
                )
            )
        ]

    def take_changes(self) -> OpenEpisodesState | None:
        """The state, if it changed since the last call."""
        has_changes, self.has_changes = self.has_changes, False
        return self.state if has_changes else None

    def restore(self, state: OpenEpisodesState) -> None:
        """Continue from what `take_changes` returned."""
        self.by_id, self._suppressor.state = state.by_id, state.suppressor
        self.has_changes = False


def _progress(alert: DriftAlert) -> str:
    return progress_message(alert.recovery_events or 0, alert.recovery_events_needed or 0)
