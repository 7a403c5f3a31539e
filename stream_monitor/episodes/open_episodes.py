"""The open episodes of one model, with snoozes, cooldowns and acknowledgements.

`OpenEpisodes` receives alerts as they are decided and returns those to publish.  It adds who
acknowledged the episode, and suppresses alerts of a series that is snoozed or in a cooldown.  A
snooze ends by the append clock, because event time may be that of a replayed year; a cooldown ends
by event time.  Suppressed alerts are counted, and an episode that is still open at the end of the
suppression is reported once.  The end of a reported episode is always published, because programs
wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from producer.events import Command
from stream_monitor.contracts import ENDED_PHASES, SEVERITY_RANK, DriftAlert, Phase, Severity
from stream_monitor.episodes.alert import later_phase
from stream_monitor.episodes.cooldown import NO_EVENTS, Cooldown, CooldownHold, EventTimes, is_worse
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
from stream_monitor.ingest.batch import Ints


class UnknownEpisode(ValueError):  # noqa: N818 - a finding, named for what it says
    """A command names an episode that is not open here."""


class LogPosition(msgspec.Struct, frozen=True):
    """Where something is decided, and when: append clock and event time.

    ``row`` counts the events of a record.
    """

    offset: int
    clock_ms: int
    event_time_ms: int
    row: int = 0


class OpenEpisodes:
    """Open episodes by id, and snoozes by series: from (version, series) to the end, in ms."""

    def __init__(self, cooldown_ms: int = 0) -> None:
        self.by_id: dict[str, OpenEpisode] = {}
        self._cooldown = Cooldown(cooldown_ms)
        self._snoozes: dict[SeriesKey, int] = {}
        self.suppressed = 0
        self._has_changes = True

    def is_empty(self) -> bool:
        """Whether no episode is open and no series is snoozed."""
        return not self.by_id and not self._snoozes

    def has_due(self, clock_ms: int) -> bool:
        """Whether records alone may end a snooze, at that time of the append clock, or a rest."""
        snoozed = bool(self._snoozes) and min(self._snoozes.values()) <= clock_ms
        return snoozed or any(episode.cooldown_hold is not None for episode in self.by_id.values())

    def process(
        self,
        alerts: Iterable[DriftAlert],
        offsets: Ints,
        clock_ms: Ints,
        events: EventTimes = NO_EVENTS,
    ) -> list[DriftAlert]:
        """Take alerts in the order of ``decided_offset``; gives what goes out.

        ``offsets`` and ``clock_ms`` (n,) are those of the records since the last call; a snooze
        ends at the first of them that reaches its end, a cooldown at the first of the model's
        ``events`` among them that does.
        """
        told: list[DriftAlert] = []
        for alert in alerts:
            i = int(np.searchsorted(offsets, alert.decided_offset))
            told += self._end_snoozes(offsets, clock_ms, int(clock_ms[i]))
            told += self._end_cooldowns(events, alert.decided_offset)
            told += self._take(alert)
        told += self._end_snoozes(offsets, clock_ms, int(clock_ms[-1]))
        return told + self._end_cooldowns(events, int(offsets[-1]))

    def process_at(
        self, offset: int, clock_ms: int, alerts: Iterable[DriftAlert]
    ) -> list[DriftAlert]:
        """Take alerts that one record decided."""
        return self.process(
            alerts, np.array([offset], dtype=np.int64), np.array([clock_ms], dtype=np.int64)
        )

    def _take(self, alert: DriftAlert) -> list[DriftAlert]:
        self._has_changes = True
        self._cooldown.take(alert)
        ends = alert.phase in ENDED_PHASES
        episode = self.by_id.get(alert.episode_id)
        if episode is None:
            episode = OpenEpisode(alert)
            if not ends:
                self.by_id[alert.episode_id] = episode
                episode.cooldown_hold = self._cooldown.hold_for(alert)
        alert = episode.update(alert)
        if ends:
            self.by_id.pop(alert.episode_id, None)
        else:
            episode.worst = max(episode.worst, alert.severity, key=SEVERITY_RANK.__getitem__)
        if (
            episode.cooldown_hold is not None
            and not ends
            and is_worse(alert.severity, episode.cooldown_hold)
        ):
            episode.cooldown_hold = None
            alert = msgspec.structs.replace(alert, phase="started")  # the first that is told of it
        quiet = episode.cooldown_hold is not None or episode.series in self._snoozes
        if quiet and not (ends and episode.reported):
            episode.suppressed += 1
            self.suppressed += 1
            return []
        if alert.phase == "recovered":
            self._cooldown.recovered(alert, episode.worst)
        elif ends:
            self._cooldown.forget(alert)
        return [episode.publish(alert)]

    def _end_cooldowns(self, events: EventTimes, upto: int) -> list[DriftAlert]:
        """End the cooldowns that are over at an event at or before offset ``upto``."""
        over = []
        for episode_id, episode in self.by_id.items():
            if episode.cooldown_hold is not None:
                # What came before the episode, whatever its time, ends nothing.
                position = events.first(
                    episode.latest.decided_offset, upto, episode.cooldown_hold.until_ms
                )
                if position is not None:
                    over.append((position, episode_id))
        return [
            alert
            for position, episode_id in sorted(over)
            for alert in self._end_cooldown(self.by_id[episode_id], *position)
        ]

    def _end_cooldown(self, episode: OpenEpisode, offset: int, time_ms: int) -> list[DriftAlert]:
        self._has_changes = True
        began = episode.after_cooldown(offset, time_ms)
        return [] if episode.series in self._snoozes else [episode.publish(began)]

    def _end_snoozes(self, offsets: Ints, clock_ms: Ints, now_ms: int) -> list[DriftAlert]:
        """End the snoozes that are over; episodes still open say so, in the order of the log."""
        over = sorted(
            (int(np.searchsorted(clock_ms, until)), series)
            for series, until in self._snoozes.items()
            if until <= now_ms
        )
        return [
            alert
            for i, series in over
            for alert in self._end_snooze(series, int(offsets[i]), int(clock_ms[i]))
        ]

    def _end_snooze(self, series: SeriesKey, offset: int, clock_ms: int) -> list[DriftAlert]:
        del self._snoozes[series]
        self._has_changes = True
        told = []
        for episode_id, episode in sorted(self.by_id.items()):
            if episode.series == series:
                awake = msgspec.structs.replace(
                    episode.latest,
                    alert_id=derived_id(episode_id, "awake", offset),
                    phase="ongoing",
                    explanation=after_snooze_message(
                        episode.latest.explanation, clock_ms, episode.suppressed
                    ),
                    decided_offset=offset,
                )
                told.append(episode.publish(awake))
        return told

    def find(self, episode_id: str) -> list[OpenEpisode]:
        """The open episodes a command is about.

        Raises:
            UnknownEpisode: there is none of that id.
        """
        if episode_id not in self.by_id:
            raise UnknownEpisode(
                f"episode: {episode_id!r} is not open here: it is over, or never was; "
                "`driftline alerts list` names those that are"
            )
        return [self.by_id[episode_id]]

    def apply_command(
        self,
        command: Command,
        position: LogPosition,
        end: Callable[[DriftAlert], Iterable[DriftAlert]],
    ) -> list[DriftAlert]:
        """Do what a person decided; ``end`` gives the end of the episode of an alert.

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
        """Mark episodes as known; an answer goes out for each.  Raises UnknownEpisode."""
        told = []
        for episode in self.find(command.episode):
            episode.acknowledged_by, episode.acknowledged_ms = command.actor, command.time_ms
            told.append(self._command_alert(episode, "acknowledged", command, position))
        return told

    def snooze(self, command: Command, position: LogPosition) -> list[DriftAlert]:
        """Withhold the alerts of the series of these episodes; an answer goes out for each.

        An end that lies in the past ends a snooze.  Raises UnknownEpisode.
        """
        if command.until_ms is None:
            raise ValueError("until_ms: a snooze says when it is over")
        episodes = self.find(command.episode)
        for episode in episodes:
            if command.until_ms > position.clock_ms:
                self._snoozes[episode.series] = command.until_ms
            else:
                self._snoozes.pop(episode.series, None)
        return [self._command_alert(episode, "snoozed", command, position) for episode in episodes]

    def _command_alert(
        self, episode: OpenEpisode, phase: Phase, command: Command, position: LogPosition
    ) -> DriftAlert:
        """What goes out as soon as a command is obeyed."""
        self._has_changes = True
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
        """What goes out of episodes that ended because a person resolved them."""
        return [
            told
            for alert in ended
            for told in self._take(
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

    def pending_changes(self) -> list[Any] | None:
        """All of it as plain data, if it changed since `mark_committed`."""
        if not self._has_changes:
            return None
        snoozes = [[*series, until] for series, until in sorted(self._snoozes.items())]
        episodes = msgspec.to_builtins(self.by_id, order="sorted")
        return [episodes, snoozes, self.suppressed, self._cooldown.snapshot()]

    def mark_committed(self) -> None:
        """What `pending_changes` gave is durable."""
        self._has_changes = False

    def restore(self, data: Any) -> None:
        """Restore from `pending_changes`.  Raises ValidationError where it does not fit."""
        episodes, snoozes, suppressed, *cooldown = data  # stored before there was one
        self.by_id = msgspec.convert(episodes, dict[str, OpenEpisode])
        for episode in self.by_id.values():  # stored before it was known how bad it had been
            episode.worst = max(
                episode.worst, episode.latest.severity, key=SEVERITY_RANK.__getitem__
            )
        self._snoozes = {(version, series): int(until) for version, series, until in snoozes}
        self.suppressed = int(suppressed)
        self._cooldown.restore(*cooldown or [[0, []]])
        self.mark_committed()


SeriesKey: TypeAlias = tuple[str, str]
"""Version and series."""


class OpenEpisode(msgspec.Struct):
    """``latest`` is its last alert, told or withheld; ``reported`` whether any was told.

    ``worst`` is how bad it was at most; ``cooldown_hold`` how long it may not be told, after a
    recovery;
    ``drift_explanation`` what drifts, in the words of the last alert that found it drifting.
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
        """Which series it is of."""
        return self.latest.version, self.latest.series

    def update(self, alert: DriftAlert) -> DriftAlert:
        """Take a phase that was decided; gives it as it is to be told.

        One that says that the episode may be over says what drifted, too.
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
        """What drifts; what was stored before this was kept has but its latest alert."""
        return self.drift_explanation or self.latest.explanation

    def command_message(self, action: str) -> str:
        """Describe what drifts, how far the recovery is, and what a person did about it."""
        progress = _progress(self.latest) if self.latest.recovery_events else ""
        return joined(self.drift_message, progress, action)

    def publish(self, alert: DriftAlert) -> DriftAlert:
        """``alert`` as it goes out, with who knows of the episode; from now on it is told."""
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
        """The cooldown is over at an event: report the start it suppressed, as it is by now."""
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


def _progress(alert: DriftAlert) -> str:
    return progress_message(alert.recovery_events or 0, alert.recovery_events_needed or 0)
