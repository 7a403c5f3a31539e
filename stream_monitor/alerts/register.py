"""The open episodes of one model, and what people said about them.

Alerts come in as they are decided and go out as they are told: with who acknowledged the episode,
or not at all while its series is snoozed, or rests after a recovery (`Cooldown`).  A snooze ends by
the append clock, the clock of the person who set it, for event time may be that of a replayed year;
a rest ends by event time.  What is kept back is counted, and at the end of it an episode that is
still open says so once.  The end of an episode somebody was told of is always told: it asks nothing
of anybody, and programs wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from producer.events import Command
from stream_monitor.alerts.alert import derived_id, later_phase
from stream_monitor.alerts.cooldown import NO_EVENTS, Cooldown, Events, is_worse
from stream_monitor.alerts.open_episode import OpenEpisode, SeriesKey
from stream_monitor.alerts.wording import moment
from stream_monitor.contracts import ENDED, RANK, DriftAlert, Phase
from stream_monitor.ingest.batch import Ints


class UnknownEpisode(ValueError):  # noqa: N818 - a finding, named for what it says
    """A command names an episode that is not open here."""


class Place(msgspec.Struct, frozen=True):
    """Where in the log something is decided, and when: append clock and event time."""

    offset: int
    clock_ms: int
    event_time_ms: int


class Register:
    """Open episodes by id, and snoozes by series: from (version, series) to the end, in ms."""

    def __init__(self, cooldown_ms: int = 0) -> None:
        self.open: dict[str, OpenEpisode] = {}
        self._cooldown = Cooldown(cooldown_ms)
        self._snoozes: dict[SeriesKey, int] = {}
        self.withheld = 0
        self._dirty = True

    def is_empty(self) -> bool:
        """Whether no episode is open and no series is snoozed."""
        return not self.open and not self._snoozes

    def due(self, clock_ms: int) -> bool:
        """Whether records alone may end a snooze, at that time of the append clock, or a rest."""
        snoozed = bool(self._snoozes) and min(self._snoozes.values()) <= clock_ms
        return snoozed or any(episode.rest is not None for episode in self.open.values())

    def tell(
        self,
        alerts: Iterable[DriftAlert],
        offsets: Ints,
        clock_ms: Ints,
        events: Events = NO_EVENTS,
    ) -> list[DriftAlert]:
        """Take alerts in the order of ``decided_offset``; gives what goes out.

        ``offsets`` and ``clock_ms`` (n,) are those of the records since the last call; a snooze
        ends at the first of them that reaches its end, a cooldown at the first of the model's
        ``events`` among them that does.
        """
        told: list[DriftAlert] = []
        for alert in alerts:
            i = int(np.searchsorted(offsets, alert.decided_offset))
            told += self._wake(offsets, clock_ms, int(clock_ms[i]))
            told += self._end_rests(events, alert.decided_offset)
            told += self._take(alert)
        told += self._wake(offsets, clock_ms, int(clock_ms[-1]))
        return told + self._end_rests(events, int(offsets[-1]))

    def tell_at(self, offset: int, clock_ms: int, alerts: Iterable[DriftAlert]) -> list[DriftAlert]:
        """Take alerts that one record decided."""
        return self.tell(
            alerts, np.array([offset], dtype=np.int64), np.array([clock_ms], dtype=np.int64)
        )

    def _take(self, alert: DriftAlert) -> list[DriftAlert]:
        self._dirty = True
        self._cooldown.take(alert)
        ends = alert.phase in ENDED
        episode = self.open.get(alert.episode_id)
        if episode is None:
            episode = OpenEpisode(alert)
            if not ends:
                self.open[alert.episode_id] = episode
                episode.rest = self._cooldown.rest_of(alert)
        alert = episode.heard(alert)
        if ends:
            self.open.pop(alert.episode_id, None)
        else:
            episode.worst = max(episode.worst, alert.severity, key=RANK.__getitem__)
        if episode.rest is not None and not ends and is_worse(alert.severity, episode.rest):
            episode.rest = None
            alert = msgspec.structs.replace(alert, phase="started")  # the first that is told of it
        quiet = episode.rest is not None or episode.series in self._snoozes
        if quiet and not (ends and episode.told):
            episode.withheld += 1
            self.withheld += 1
            return []
        if alert.phase == "recovered":
            self._cooldown.recovered(alert, episode.worst)
        elif ends:
            self._cooldown.forget(alert)
        return [episode.out(alert)]

    def _end_rests(self, events: Events, upto: int) -> list[DriftAlert]:
        """End the cooldowns that are over at an event at or before offset ``upto``."""
        over = []
        for episode_id, episode in self.open.items():
            if episode.rest is not None:
                # What came before the episode, whatever its time, ends nothing.
                place = events.first(episode.latest.decided_offset, upto, episode.rest.until_ms)
                if place is not None:
                    over.append((place, episode_id))
        return [
            alert for place, episode_id in sorted(over)
            for alert in self._rested(self.open[episode_id], *place)
        ]  # fmt: skip

    def _rested(self, episode: OpenEpisode, offset: int, time_ms: int) -> list[DriftAlert]:
        self._dirty = True
        began = episode.after_rest(offset, time_ms)
        return [] if episode.series in self._snoozes else [episode.out(began)]

    def _wake(self, offsets: Ints, clock_ms: Ints, now_ms: int) -> list[DriftAlert]:
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
        self._dirty = True
        told = []
        for episode_id, episode in sorted(self.open.items()):
            if episode.series == series:
                kept = f", {episode.withheld} alerts were withheld" if episode.withheld else ""
                awake = msgspec.structs.replace(
                    episode.latest,
                    alert_id=derived_id(episode_id, "awake", offset),
                    phase="ongoing",
                    explanation=f"{episode.latest.explanation}; still so after the snooze that "
                    f"ended {moment(clock_ms)}{kept}",
                    decided_offset=offset,
                )
                told.append(episode.out(awake))
        return told

    def find(self, episode_id: str) -> list[OpenEpisode]:
        """The open episodes a command is about.

        Raises:
            UnknownEpisode: there is none of that id.
        """
        if episode_id not in self.open:
            raise UnknownEpisode(
                f"episode: {episode_id!r} is not open here: it is over, or never was; "
                "`driftline alerts list` names those that are"
            )
        return [self.open[episode_id]]

    def carry_out(
        self, command: Command, place: Place, end: Callable[[DriftAlert], Iterable[DriftAlert]]
    ) -> list[DriftAlert]:
        """Do what a person decided; ``end`` gives the end of the episode of an alert.

        Raises:
            ValueError: the episode is not open here, or a snooze has no end; nothing changed.
        """
        if command.action == "acknowledge":
            return self.acknowledge(command, place)
        if command.action == "snooze":
            return self.snooze(command, place)
        ended = [alert for episode in self.find(command.episode) for alert in end(episode.latest)]
        return self.resolve(ended, command)

    def acknowledge(self, command: Command, place: Place) -> list[DriftAlert]:
        """Mark episodes as known; an answer goes out for each.  Raises UnknownEpisode."""
        told = []
        for episode in self.find(command.episode):
            episode.acknowledged_by, episode.acknowledged_ms = command.actor, command.time_ms
            told.append(self._answer(episode, "acknowledged", command, place))
        return told

    def snooze(self, command: Command, place: Place) -> list[DriftAlert]:
        """Withhold the alerts of the series of these episodes; an answer goes out for each.

        An end that lies in the past ends a snooze.  Raises UnknownEpisode.
        """
        if command.until_ms is None:
            raise ValueError("until_ms: a snooze says when it is over")
        episodes = self.find(command.episode)
        for episode in episodes:
            if command.until_ms > place.clock_ms:
                self._snoozes[episode.series] = command.until_ms
            else:
                self._snoozes.pop(episode.series, None)
        return [self._answer(episode, "snoozed", command, place) for episode in episodes]

    def _answer(
        self, episode: OpenEpisode, phase: Phase, command: Command, place: Place
    ) -> DriftAlert:
        """What goes out as soon as a command is obeyed."""
        self._dirty = True
        did: str = phase
        if phase == "snoozed":
            awake = (command.until_ms or 0) <= place.clock_ms
            did = "snooze ended" if awake else f"snoozed until {moment(command.until_ms or 0)}"
        why = f": {command.reason}" if command.reason else ""
        answer = msgspec.structs.replace(
            later_phase(
                episode.latest, phase, place.offset, place.event_time_ms,
                episode.answered(f"{did} by {command.actor}{why}"),
            ),
            actor=command.actor,
            reason=command.reason,
            until_ms=command.until_ms if phase == "snoozed" else None,
        )  # fmt: skip
        return episode.out(answer)

    def resolve(self, ended: Sequence[DriftAlert], command: Command) -> list[DriftAlert]:
        """What goes out of episodes that ended because a person resolved them."""
        why = f": {command.reason}" if command.reason else ""
        return [
            told
            for alert in ended
            for told in self._take(
                msgspec.structs.replace(
                    alert,
                    explanation=f"{alert.explanation} by {command.actor}{why}",
                    actor=command.actor,
                    reason=command.reason,
                )
            )
        ]

    def dirty(self) -> list[Any] | None:
        """All of it as plain data, if it changed since `clean`."""
        if not self._dirty:
            return None
        snoozes = [[*series, until] for series, until in sorted(self._snoozes.items())]
        episodes = msgspec.to_builtins(self.open, order="sorted")
        return [episodes, snoozes, self.withheld, self._cooldown.snapshot()]

    def clean(self) -> None:
        """What `dirty` gave is durable."""
        self._dirty = False

    def restore(self, data: Any) -> None:
        """Continue from what `dirty` gave.  Raises ValidationError where it does not fit."""
        episodes, snoozes, withheld, *cooldown = data  # stored before there was one
        self.open = msgspec.convert(episodes, dict[str, OpenEpisode])
        for episode in self.open.values():  # stored before it was known how bad it had been
            episode.worst = max(episode.worst, episode.latest.severity, key=RANK.__getitem__)
        self._snoozes = {(version, series): int(until) for version, series, until in snoozes}
        self.withheld = int(withheld)
        self._cooldown.restore(*cooldown or [[0, []]])
        self.clean()
