"""Read the demo's result back from Kafka and Redis, independently of its processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pandas as pd

from driftline.demo import flights
from driftline.demo.model import probabilities
from driftline.demo.monthly_errors import Flight
from driftline.demo.reconciliation import (
    EventTopicCounts,
    PartitionCounts,
    unfinished_jobs,
    unique_events,
)
from driftline.demo.scenario import MODEL, VERSION
from driftline.demo.schedule import scheduled_scores
from driftline.monitor_state.partition_state import read_partition
from driftline.topics.topic_reader import TopicDecoder, TopicReader
from stream_monitor.contracts import ALERT_CE_TYPE, DEAD_LETTER_CE_TYPE, DeadLetter, DriftAlert
from trainer.contracts import RetrainEvent
from trainer.registry.registry import Registry

if TYPE_CHECKING:
    from redis import Redis

IDLE_TIMEOUT_S: Final = 10.0
STALL_TIMEOUT_S: Final = 30.0
"""A monitor without progress for longer has stalled."""
POLL_S: Final = 0.2
JOB_S: Final = 60.0
_CE_TYPE: Final[dict[type[Any], str]] = {DriftAlert: ALERT_CE_TYPE, DeadLetter: DEAD_LETTER_CE_TYPE}


class StalledError(RuntimeError):
    """The monitor or the trainer made no progress for too long."""


def read_event_topic(
    reader: TopicReader, log: EventTopicCounts, is_complete: Callable[[], bool]
) -> None:
    """Count the next records of the event topic, until ``is_complete`` or no more arrive."""
    for record in reader.read_until(is_complete, idle_timeout_s=IDLE_TIMEOUT_S):
        log.take(record)


def wait_until_processed(
    redis: Redis, topic: str, ends: Mapping[int, int], meanwhile: Callable[[], None]
) -> dict[int, PartitionCounts]:
    """Wait until the monitor has processed every partition, and published everything.

    ``ends`` is the end offset of each partition; ``meanwhile`` is called while waiting.

    Raises:
        StalledError: the monitor made no progress for `STALL_TIMEOUT_S`.
    """
    last: object = None
    moved = time.monotonic()
    while True:
        states = [read_partition(redis, topic, partition) for partition in sorted(ends)]
        behind = [s for s in states if (s.next or 0) < ends[s.partition] or s.unpublished]
        if not behind:
            return {s.partition: PartitionCounts(s.next or 0, s.counters) for s in states}
        now = [(s.next, s.unpublished) for s in states]
        if now != last:
            last, moved = now, time.monotonic()
        elif time.monotonic() - moved > STALL_TIMEOUT_S:
            positions = ", ".join(f"{s.partition}: {s.next} of {ends[s.partition]}" for s in behind)
            raise StalledError(f"no progress for {STALL_TIMEOUT_S:.0f} s (partition {positions})")
        meanwhile()
        time.sleep(POLL_S)


class PublishedRecords(NamedTuple):
    """The published alerts (repeats included), and the ids of the dead letters."""

    alerts: list[DriftAlert]
    dead_letters: set[str]


def read_retrains(client: Mapping[str, Any], topic: str) -> list[RetrainEvent]:
    """Read the retrain events until no job is running; each event once.

    Raises:
        StalledError: a job made no progress for `JOB_S`.
    """
    found: list[RetrainEvent] = []
    events = TopicDecoder(topic, RetrainEvent)
    with TopicReader(client, topic) as reader:
        records = reader.read_until(
            lambda: not unfinished_jobs(found), idle_timeout_s=JOB_S, settle_s=1.0
        )
        for record in records:
            found.extend(events.values([record]))
    if open_jobs := unfinished_jobs(found):
        raise StalledError(f"no progress for {JOB_S:.0f} s (jobs {', '.join(sorted(open_jobs))})")
    return unique_events(found)


class ComparedFlights(NamedTuple):
    """The labelled flights of the event topic, and the number of fits of the monthly schedule."""

    flights: list[Flight]
    scheduled_fits: int


def compare_policies(log: EventTopicCounts, registry: Path) -> ComparedFlights:
    """Predict every labelled flight with the first version, and with a monthly schedule.

    Both use the features as they were logged, broken ones included.
    """
    store = Registry(registry)
    frozen = store.load(store.manifest(MODEL, VERSION).artifact_sha256)
    events = [event for key, event in log.events.items() if key in log.truths]
    if not events:
        return ComparedFlights([], 0)
    events.sort(key=lambda event: (event.time_ms, event.id))
    frame = pd.DataFrame([event.features for event in events]).astype({"temp": "float64"})
    late = [log.truths[event.id] for event in events]
    served = frame.assign(time_ms=[event.time_ms for event in events], late=late)
    training, _ = flights.split(flights.load())
    scheduled = scheduled_scores(training, served)
    return ComparedFlights(
        [
            Flight(e.time_ms, e.version, log.scores[e.id], first, monthly, truth == 1)
            for e, first, monthly, truth in zip(
                events, probabilities(frozen, frame).tolist(), scheduled.scores, late, strict=True
            )
        ],
        scheduled.n_fits,
    )


def read_published(
    client: Mapping[str, Any], alerts: str, dead_letters: str, state: Mapping[int, PartitionCounts]
) -> PublishedRecords:
    """Read alerts and dead letters, until there are as many as in the monitor's counters."""
    n_alerts = sum(found.counters.alerts for found in state.values())
    n_dead_letters = sum(found.counters.dead_lettered for found in state.values())
    rejected = _read(client, dead_letters, DeadLetter, n_dead_letters)
    return PublishedRecords(
        alerts=_read(client, alerts, DriftAlert, n_alerts),
        dead_letters={each.dead_letter_id for each in rejected},
    )


def _read(client: Mapping[str, Any], topic: str, of: type[Any], n: int) -> list[Any]:
    found: list[Any] = []
    decoder = TopicDecoder(topic, of, kind=_CE_TYPE.get(of))
    with TopicReader(client, topic) as reader:
        records = reader.read_until(
            lambda: len(found) >= n, idle_timeout_s=IDLE_TIMEOUT_S, settle_s=1.0
        )
        for record in records:
            found.extend(decoder.values([record]))
    return found
