"""The records of one model whose events and labels arrive at set rates, with a tick every 5 s."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from producer.events import Command, Event, InferenceEvent, Label, ModelUpdate, Tick
from stream_monitor.checks.traffic_spec import TrafficSpec
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import RecordBatch
from tests.builders import inference_event, record_of

SECOND = 1_000
MINUTE = 60 * SECOND
# Hours of a minute, days of two hours: what takes weeks takes minutes here.
SPEC = MonitorSpec(
    traffic=TrafficSpec(
        bucket_ms=5 * SECOND,
        cell_ms=MINUTE,
        period_ms=2 * MINUTE,
        baseline_ms=5 * MINUTE,
        label_baseline_ms=10 * MINUTE,
        max_gap_ms=30 * SECOND,
    )
)


class Partition:
    """A monitor, and a log that is written as it is read."""

    def __init__(self, spec: MonitorSpec = SPEC, seed: int = 0) -> None:
        self.monitor = PartitionMonitor("log", 0, spec)
        self.now_ms = 0
        self.alerts: list[DriftAlert] = []
        self._offset = self._n_events = 0
        self._rng = random.Random(seed)  # noqa: S311
        self._ids: list[tuple[str, int]] = []

    def append(self, *events: Event) -> list[DriftAlert]:
        """Write records at this moment; returns the alerts."""
        return self._write([(event, self.now_ms) for event in events])

    def _write(self, events: list[tuple[Event, int]]) -> list[DriftAlert]:
        start = self._offset + 1
        records = [
            record_of(offset, event, time_ms)
            for offset, (event, time_ms) in enumerate(events, start)
        ]
        self._offset += len(records)
        batch = RecordBatch("log", 0, "e", start, self._offset + 1, records)
        reported = self.monitor.observe(batch).alerts
        self.alerts += reported
        return reported

    def event(self, version: str = "1") -> InferenceEvent:
        """The next event."""
        name = f"e{self._n_events}"
        self._n_events += 1
        self._ids.append((name, self.now_ms))
        return inference_event(
            name, {"x": self._rng.gauss(0, 1)}, version=version, time_ms=self.now_ms
        )

    def live(
        self,
        minutes: float,
        every_ms: int | None = 1_000,
        *,
        labels_after_ms: int | None = None,
        version: str = "1",
        ticks: bool = True,
    ) -> list[DriftAlert]:
        """Time passes: an event every so often on average, and labels of those that are due."""
        written: list[tuple[Event, int]] = []
        end_ms = self.now_ms + round(minutes * MINUTE)
        while self.now_ms < end_ms:
            self.now_ms += 500
            new: list[Event] = []
            due = 0.0 if every_ms is None else 500 / every_ms
            n = int(due) + (self._rng.random() < due % 1)
            new += [self.event(version) for _ in range(n)]
            if labels_after_ms is not None:
                new += self._labels(labels_after_ms)
            if ticks and self.now_ms % (5 * SECOND) == 0:
                new.append(Tick(time_ms=self.now_ms))
            written += [(event, self.now_ms) for event in new]
        return self._write(written)

    def _labels(self, after_ms: int) -> Iterator[Label]:
        while self._ids and self._ids[0][1] + after_ms <= self.now_ms:
            name, _ = self._ids.pop(0)
            yield Label(id=name, model="m", label=1, time_ms=self.now_ms)

    def update(self, version: str) -> list[DriftAlert]:
        """A version goes into service."""
        return self.append(
            ModelUpdate(id=f"u{version}", model="m", version=version, time_ms=self.now_ms)
        )

    def command(self, action: Any, episode: str, until_ms: int | None = None) -> list[DriftAlert]:
        """A command of a person on an episode."""
        return self.append(
            Command(
                id=f"c{self._offset}",
                model="m",
                action=action,
                episode=episode,
                actor="ann",
                time_ms=self.now_ms,
                until_ms=until_ms,
            )
        )

    def restart(self) -> None:
        """A new process takes over."""
        parts = {name: part for name, part in self.monitor.take_changes().items() if part}
        self.monitor = PartitionMonitor.restore("log", 0, self.monitor.spec, parts)


def phases(alerts: Iterable[DriftAlert]) -> list[tuple[str, str]]:
    """Channel and phase of alerts about the traffic."""
    return [(a.channel, a.phase) for a in alerts if a.kind in ("volume", "labels")]
