"""Compare what the model server wrote with what Kafka and Redis hold, for the summary.  Pure.

Events and labels are counted on the event topic, alerts and dead letters on their topics, and
processed records in the monitor's state.  Only `ServerCounts` comes from the model server, in the
last of its messages, and it is compared with the event topic.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from driftline.demo.monthly_errors import ErrorRates
from driftline.demo.scenario import BROKEN_FEATURE, is_in_incident
from driftline.topics.topic_reader import Record
from producer.events import CE_TYPE_OF, InferenceEvent, Label, ModelUpdate, Tick, Topology
from stream_monitor.contracts import DriftAlert, Phase
from stream_monitor.core.counters import Counters
from trainer.contracts import RetrainEvent

_OWNERS = (CE_TYPE_OF[Tick], CE_TYPE_OF[Topology])
"""Records that the owner of a partition writes itself."""


class ServerCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The records that the model server logged, and that its logger acknowledged or dropped."""

    events: int
    labels: int
    acknowledged: int
    dropped: int


class EventTopicCounts:
    """The records of the event topic, by id."""

    def __init__(self) -> None:
        self.events: dict[str, InferenceEvent] = {}
        self.scores: dict[str, float] = {}
        self.truths: dict[str, int] = {}
        self.updates = 0
        self.ticks = 0
        self.repeats = 0
        self.offsets: dict[int, list[int]] = {}
        self.ends: dict[int, int] = {}
        """By partition: the position after the last record that its owner did not write."""

    def take(self, record: Record) -> None:
        """Count a record.

        Raises:
            ValueError: the demo does not write such a record.
        """
        self.offsets.setdefault(record.partition, []).append(record.offset)
        if record.kind in _OWNERS:
            self.ticks += 1
            return
        self.ends[record.partition] = record.offset + 1
        if record.kind == CE_TYPE_OF[InferenceEvent]:
            event = msgspec.json.decode(record.value or b"", type=InferenceEvent)
            self.repeats += event.id in self.scores
            self.events[event.id] = event
            self.scores[event.id] = _score(event)
        elif record.kind == CE_TYPE_OF[Label]:
            label = msgspec.json.decode(record.value or b"", type=Label)
            self.repeats += label.id in self.truths
            self.truths[label.id] = int(label.label)
        elif record.kind == CE_TYPE_OF[ModelUpdate]:
            self.updates += 1
        else:
            raise ValueError(f"{record.partition}:{record.offset}: a record of kind {record.kind}")

    def holds(self, written: ServerCounts) -> bool:
        """Whether all events and labels that the model server logged were read."""
        return len(self.scores) >= written.events and len(self.truths) >= written.labels

    def reaches(self, state: Mapping[int, PartitionCounts]) -> bool:
        """Whether all records were read that the monitor has processed."""
        return all(
            (self.offsets.get(partition) or [-1])[-1] + 1 >= found.next
            for partition, found in state.items()
        )

    def below(self, partition: int, next_offset: int) -> int:
        """The number of records below an offset."""
        return sum(offset < next_offset for offset in self.offsets.get(partition, ()))


def _score(event: InferenceEvent) -> float:
    if not isinstance(event.prediction, int | float):
        raise ValueError(f"{event.id}: the demo's model predicts a number")  # noqa: TRY004
    return float(event.prediction)


class PartitionCounts(NamedTuple):
    """The state of a partition in Redis: the next offset, and the counters."""

    next: int
    counters: Counters


class MissingRecords(NamedTuple):
    """Numbers of missing records, by place."""

    never_written: int
    """Logged or acknowledged, and not on the event topic."""
    unread: int
    """On the event topic, at or above the monitor's next offset."""
    uncounted: int
    """Below that offset, and in no counter of the monitor, or counted twice."""
    alerts: int
    """Alerts or dead letters in the monitor's counters that are not on their topics."""

    @property
    def total(self) -> int:
        """The number of all missing records; the exit code is 0 if it is 0."""
        return sum(self)


def count_missing(
    written: ServerCounts,
    log: EventTopicCounts,
    state: Mapping[int, PartitionCounts],
    n_alerts: int,
    n_dead_letters: int,
) -> MissingRecords:
    """Compare the independent counts."""
    in_log = len(log.scores) + len(log.truths)
    missing = max(0, written.events - len(log.scores)) + max(0, written.labels - len(log.truths))
    nothing = PartitionCounts(0, Counters())
    unread = uncounted = 0
    for partition, end in log.ends.items():
        found = state.get(partition, nothing)
        below = log.below(partition, found.next)
        unread += max(0, log.below(partition, end) - below)
        uncounted += abs(below - found.counters.records)
    counted = [found.counters for found in state.values()]
    return MissingRecords(
        never_written=max(missing, written.acknowledged - in_log, 0),
        unread=unread,
        uncounted=uncounted,
        alerts=max(0, sum(c.alerts for c in counted) - n_alerts)
        + max(0, sum(c.dead_lettered for c in counted) - n_dead_letters),
    )


def unique_alerts(alerts: Iterable[DriftAlert]) -> list[DriftAlert]:
    """Each alert once, by its id; a worker that was killed may publish an alert twice."""
    return list({alert.alert_id: alert for alert in alerts}.values())


def episodes_by_phase(alerts: Sequence[DriftAlert]) -> dict[str, int]:
    """The numbers of drift episodes that started, recovered and were superseded."""
    counted: tuple[Phase, ...] = ("started", "recovered", "superseded")
    drift = [alert for alert in alerts if alert.kind != "coverage"]
    return {
        phase: len({alert.episode_id for alert in drift if alert.phase == phase})
        for phase in counted
    }


def is_unit_break(alert: DriftAlert) -> bool:
    """Whether the alert is about the demo's incident, with the right cause and feature."""
    return (
        alert.cause == "unit_change"
        and alert.feature == BROKEN_FEATURE
        and alert.phase == "started"
        and is_in_incident(alert.detected_ms)
    )


class Seconds(NamedTuple):
    """Seconds from the start of the command to the first alert, and to the end."""

    first_alert: float | None
    total: float


def summary(
    broker: str,
    log: EventTopicCounts,
    state: Collection[PartitionCounts],
    alerts: Sequence[DriftAlert],
    n_dead_letters: int,
    lost: MissingRecords,
    retrains: Mapping[str, int],
    errors: ErrorRates,
    seconds: Seconds,
) -> dict[str, Any]:
    """The summary of the demo, as data.  ``alerts`` are `unique_alerts`."""
    counted = [found.counters for found in state]
    return {
        "broker": broker,
        "events": {
            "produced": len(log.scores),
            "processed": sum(c.valid + c.late for c in counted),
            "dead_lettered": n_dead_letters,
            "lost": lost.total,
        },
        "labels": {"produced": len(log.truths), "joined": sum(c.joined for c in counted)},
        "episodes": episodes_by_phase(alerts),
        "alerts": len(alerts),
        "unit_break_found": any(map(is_unit_break, alerts)),
        "retrains": dict(retrains),
        "error_rate": {
            "frozen": errors.frozen,
            "scheduled": errors.scheduled,
            "driftline": errors.driftline,
        },
        "seconds": {
            "first_alert": None if seconds.first_alert is None else round(seconds.first_alert, 1),
            "total": round(seconds.total, 1),
        },
    }


_ENDS = ("promoted", "rejected", "proposed", "failed", "declined", "rolled_back")


def unique_events(events: Iterable[RetrainEvent]) -> list[RetrainEvent]:
    """Each event once, by its id; a trainer that was killed may publish an event twice."""
    return list({event.id: event for event in events}.values())


def counts(events: Sequence[RetrainEvent]) -> dict[str, int]:
    """The numbers of retrain jobs by outcome.  ``events`` are `unique_events`.

    Each requested job is promoted, rejected, failed, cancelled or unfinished.
    """
    requested = {event.job_id for event in events if event.step == "requested"}
    ends = {e.job_id: e.step for e in events if e.job_id in requested and e.step in _ENDS}
    steps = [ends.get(job, "unfinished") for job in requested]
    return {
        "requested": len(requested),
        "promoted": steps.count("promoted"),
        "rejected": steps.count("rejected"),
        "failed": steps.count("failed"),
        "cancelled": steps.count("declined"),
        "unfinished": steps.count("unfinished"),
        "refused_data_quality": sum(
            event.step == "declined" and event.rule == "data_quality" for event in events
        ),
    }


def unfinished_jobs(events: Iterable[RetrainEvent]) -> set[str]:
    """Jobs that have started and not ended; a job that waits for labels has not started."""
    started: set[str] = set()
    ended: set[str] = set()
    for event in events:
        if event.step in ("started", "succeeded"):
            started.add(event.job_id)
        elif event.step in _ENDS:
            ended.add(event.job_id)
    return started - ended


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="ready"):
    """The model is trained, announced and in service; the year begins."""

    trained_on: int
    out_of_fold_error: float


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="progress"):
    """The progress of the year."""

    done: int
    of: int
    event_time_ms: int


class VersionChanged(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="swapped"):
    """Another version is in service from now on."""

    version: str
    event_time_ms: int


class Done(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="done"):
    """The last message: everything is written."""

    written: ServerCounts


ServerMessage: TypeAlias = Ready | Progress | VersionChanged | Done
