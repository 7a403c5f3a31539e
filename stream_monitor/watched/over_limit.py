"""Models beyond the limit of a partition: their counts, and the episode that reports them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from producer.events import Command
from stream_monitor.alerts.register import Place, Register
from stream_monitor.contracts import DriftAlert
from stream_monitor.ingest.batch import Ints
from stream_monitor.spec import MonitorSpec
from stream_monitor.watched.coverage import OTHERS, Coverage, HourRow, Key
from stream_monitor.watched.coverage_episodes import CoverageEpisodes, Source


def rows_by_model(rows: Iterable[HourRow]) -> Iterator[tuple[str, HourRow]]:
    """Rows of models over the limit, each under its model's name."""
    for row in rows:
        yield row.key.version, row._replace(key=Key(OTHERS, row.key.reason))


class OverLimit:
    """All models over the limit of one partition: one `Coverage` with a row a model.

    There is one episode for all of them, under the name of the most frequent one: commands about it
    are routed to this partition by that name.
    """

    def __init__(self, topic: str, partition: int, spec: MonitorSpec) -> None:
        self.coverage = Coverage()
        self.register = Register(spec.episodes.cooldown_ms)
        self.register.clean()  # most partitions never have anything to store here
        self._episodes = CoverageEpisodes(Source(topic, partition, ""), spec.warm_up_events)

    def count(self, model: str, offsets: Ints, times_ms: Ints) -> None:
        """Count accepted events (n,) of a model that has no place; see `Coverage.count`."""
        self.coverage.count(model, "model_over_limit", offsets, times_ms)

    def observe(self, offsets: Ints, clock_ms: Ints) -> list[DriftAlert]:
        """Take the records of a segment, and the append clock at each; gives what goes out."""
        alerts: list[DriftAlert] = []
        for slot in self.coverage.observe(offsets, clock_ms):
            alerts += self._episodes.judge(slot, self.coverage)
            self.coverage.waits = bool(self._episodes)
        if not alerts and not self.register.due(int(clock_ms[-1])):
            return []
        return self.register.tell(alerts, offsets, clock_ms)

    def obey(self, command: Command, offset: int, clock_ms: int) -> list[DriftAlert]:
        """Do what a person decided about the open episode.

        Raises:
            ValueError: the episode is not open here, or a snooze has no end; nothing changed.
        """
        place = Place(offset, clock_ms, self.coverage.time_at(clock_ms))
        return self.register.carry_out(
            command,
            place,
            lambda alert: self._episodes.resolve(alert, offset, place.event_time_ms),
        )

    def dirty(self) -> dict[str, Any]:
        """The parts that changed since `clean`."""
        parts = {f"coverage|{name}": part for name, part in self.coverage.dirty().items()}
        if (episodes := self._episodes.dirty()) is not None:
            parts["uncovered"] = episodes
        register = self.register.dirty()
        if register is not None:
            parts["register"] = register
        return parts

    def clean(self) -> None:
        """What `dirty` gave is durable."""
        self.coverage.clean()
        self._episodes.clean()
        self.register.clean()

    def restore(self, parts: dict[str, Any]) -> None:
        """Continue from the parts; states of before had none."""
        below = "coverage|"
        self.coverage.restore(
            {name[len(below) :]: part for name, part in parts.items() if name.startswith(below)}
        )
        self._episodes.restore(parts.get("uncovered", ()))
        if "register" in parts:
            self.register.restore(parts["register"])
        self.coverage.waits = bool(self._episodes)
        self.clean()
