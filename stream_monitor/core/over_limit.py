"""Models beyond the limit of a partition: their counts, and the episode that reports them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from producer.events import Command
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.coverage import OTHERS, Coverage, CoverageKey, CoverageRow
from stream_monitor.core.coverage_episodes import (
    CoverageEpisodes,
    CoverageSource,
    OpenCoverageEpisodes,
)
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.episodes.open_episodes import LogPosition, OpenEpisodes, OpenEpisodesState
from stream_monitor.ingest.batch import Ints
from stream_monitor.state_parts import StoredParts, with_prefix


def rows_by_model(rows: Iterable[CoverageRow]) -> Iterator[tuple[str, CoverageRow]]:
    """Rows of models over the limit, each under its model's name."""
    for row in rows:
        yield row.key.version, row._replace(key=CoverageKey(OTHERS, row.key.reason))


class ModelsOverLimit:
    """All models over the limit of one partition: one `Coverage` with a row per model.

    They share one episode under the name of the most frequent one, by which commands about it are
    routed to this partition.
    """

    def __init__(self, topic: str, partition: int, spec: MonitorSpec) -> None:
        self.coverage = Coverage()
        self.open_episodes = OpenEpisodes(spec.episodes.cooldown_ms)
        self.open_episodes.has_changes = False  # most partitions never have changes to store
        self._episodes = CoverageEpisodes(CoverageSource(topic, partition, ""), spec.warm_up_events)

    def count(self, model: str, offsets: Ints, times_ms: Ints) -> None:
        """Count accepted events (n,) of a model over the limit; see `Coverage.count`."""
        self.coverage.count(model, "model_over_limit", offsets, times_ms)

    def observe(self, offsets: Ints, clock_ms: Ints) -> list[DriftAlert]:
        """Apply the records (n,) of a micro-batch with the append clock at each; returns alerts."""
        alerts: list[DriftAlert] = []
        for interval in self.coverage.observe(offsets, clock_ms):
            alerts += self._episodes.observe(interval, self.coverage)
            self.coverage.waits = bool(self._episodes)
        if not alerts and not self.open_episodes.has_due(int(clock_ms[-1])):
            return []
        return self.open_episodes.process(alerts, offsets, clock_ms)

    def apply_command(self, command: Command, offset: int, clock_ms: int) -> list[DriftAlert]:
        """Apply a user's command to the open episode; returns the alerts to publish.

        Raises:
            ValueError: the episode is not open here, or a snooze has no end; nothing changed.
        """
        position = LogPosition(offset, clock_ms, self.coverage.time_at(clock_ms))
        return self.open_episodes.apply_command(
            command,
            position,
            lambda alert: self._episodes.resolve(alert, offset, position.event_time_ms),
        )

    def take_changes(self) -> dict[str, Any]:
        """The parts that changed since the last call."""
        parts = with_prefix("coverage|", self.coverage.take_changes())
        if (episodes := self._episodes.take_changes()) is not None:
            parts["uncovered"] = episodes
        register = self.open_episodes.take_changes()
        if register is not None:
            parts["register"] = register
        return parts

    def restore(self, parts: StoredParts) -> None:
        """Continue from the parts, if any."""
        self.coverage.restore(parts.under("coverage|"))
        if "uncovered" in parts:
            self._episodes.restore(parts.read("uncovered", OpenCoverageEpisodes))
        if "register" in parts:
            self.open_episodes.restore(parts.read("register", OpenEpisodesState))
        self.coverage.waits = bool(self._episodes)
