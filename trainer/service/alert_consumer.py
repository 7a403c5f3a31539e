"""Hearing alerts: what was decided on one, and the position behind it, in one transaction."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from producer.cloudevents import ce_type_of
from producer.kafka_client import consumer_of
from producer.permission import explained_denial
from stream_monitor.contracts import ENDED_PHASES, HEALTH_CE_TYPE, REJECTED, DriftAlert
from trainer.contracts import Step
from trainer.dataset.range_reader import partitions_of_topic
from trainer.jobs.deferred_alerts import DeferredAlert, advance_event_time, defer, remove_deferred
from trainer.jobs.job import Job, JobData
from trainer.jobs.job_store import (
    add_job,
    find_job,
    has_excluded_range,
    has_job,
    history_of,
    record_excluded_range,
    transition,
)
from trainer.jobs.outbox import enqueue
from trainer.jobs.quality_episodes import quality_episodes_of, record_quality_episode
from trainer.policy.data_quality_guard import valid_since_ms
from trainer.policy.decide import DEFERRABLE, Decision, History, decide, requeue
from trainer.policy.excluded_ranges import excludes_data
from trainer.policy.naming import job_id_of
from trainer.service.context import TrainerContext
from trainer.service.step_result import StepEvent, retrain_record

log = structlog.get_logger(__name__)

BATCH: Final = 500
_OUT_OF_RANGE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001
_decode: Final = msgspec.json.Decoder(DriftAlert).decode


class ReceivedRecord(NamedTuple):
    """A record of the alerts topic; ``alert`` is None where it is none."""

    partition: int
    offset: int
    alert: DriftAlert | None


class AlertConsumer:
    """Reads the alerts from recorded positions on; from the beginning where there are none.

    An installation that starts its first trainer late receives what happened before: episodes that
    are over cancel themselves.  A position that the topic does not have is reported, and reading
    goes on at the first record that is left.  ``group`` is committed to by `commit_advisory`,
    never joined.

    Raises:
        KafkaException: nobody answers, or there is no such topic.
    """

    def __init__(
        self, client: Mapping[str, Any], topic: str, start: Mapping[int, int], group: str
    ) -> None:
        self._client, self._topic, self._group = client, topic, group
        self._consumer = consumer_of(client, group=group, required={"auto.offset.reset": "error"})
        try:
            numbers = partitions_of_topic(self._consumer, topic)
        except BaseException:
            self._consumer.close()
            raise
        self.positions = {p: start.get(p, OFFSET_BEGINNING) for p in numbers}
        self._consumer.assign([TopicPartition(topic, *at) for at in self.positions.items()])

    def poll(self, timeout_s: float) -> list[ReceivedRecord]:
        """Alerts as they lie; an empty list after ``timeout_s`` without any."""
        first = self._consumer.consume(1, timeout_s)
        received = []
        for message in (*first, *(self._consumer.consume(BATCH, 0) if first else ())):
            error = message.error()
            partition, offset = message.partition(), message.offset()
            if error is not None and error.code() in _OUT_OF_RANGE and partition is not None:
                self._begin_at_earliest(partition)
                continue
            if error is not None:
                of_group = error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
                resource = f"group {self._group}" if of_group else f"topic {self._topic}"
                raise KafkaException(explained_denial(error, "Read", resource, self._client))
            if partition is None or offset is None:
                continue
            alert = None
            try:
                if ce_type_of(message) != HEALTH_CE_TYPE:  # it is about processes, and for people
                    alert = _decode(message.value() or b"")
            except msgspec.MsgspecError as wrong:
                log.warning("not an alert", partition=partition, offset=offset, why=str(wrong))
            self.positions[partition] = offset + 1
            received.append(ReceivedRecord(partition, offset, alert))
        return received

    def _begin_at_earliest(self, partition: int) -> None:
        log.warning(
            "the alerts topic does not have the position that was read to",
            partition=partition,
            position=self.positions[partition],
            why="retention removed what was not read yet, or the topic was made anew",
            then="it is read from the first record that is left",
        )
        place = TopicPartition(self._topic, partition, OFFSET_BEGINNING)
        self._consumer.incremental_unassign([place])
        self._consumer.incremental_assign([place])

    def lags(self) -> dict[int, int]:
        """Alerts of each partition that were not received yet, as the last fetch told."""
        lags = {}
        for partition, position in self.positions.items():
            place = TopicPartition(self._topic, partition)
            known = self._consumer.get_watermark_offsets(place, cached=True)
            if known is not None and known[1] >= 0:
                lags[partition] = max(0, known[1] - max(position, known[0], 0))
        return lags

    def commit_advisory(self, commits: list[TopicPartition]) -> None:
        """Commit for others to see; whether it arrives is of no account."""
        with contextlib.suppress(KafkaException):
            self._consumer.commit(offsets=commits, asynchronous=True)

    def close(self) -> None:
        """Let the connection go."""
        self._consumer.close()


def handle_alert(
    rows: sqlite3.Connection, alert: DriftAlert, context: TrainerContext, *, wall_ms: int
) -> Decision:
    """Decide on an alert and record what follows; runs inside of a transaction.

    ``wall_ms`` is the time of the clock on the wall: a refusal for a while counts from it.  Of a
    drill nothing is recorded.  Broken data are noted first: what is told of them holds for the
    alerts behind.  A repeat of an alert that led to something leads to nothing: one that waits
    goes on waiting as it was.
    """
    if alert.drill or alert.cause == REJECTED:  # of times that say nothing of the model's own
        return decide(alert, History(), context.policy)
    if excludes_data(alert) or has_excluded_range(rows, alert.episode_id):
        record_excluded_range(rows, alert)
    record_quality_episode(rows, alert)
    if has_job(rows, alert.alert_id):
        return Decision("ignore", "repeat")
    advance_event_time(rows, alert.model, alert.decided_ms)
    history = _history(rows, alert, context)
    decision = decide(alert, history, context.policy)
    if alert.phase in ENDED_PHASES or decision.action == "request":
        remove_deferred(rows, alert.episode_id)
    elif decision.rule in DEFERRABLE:
        defer(rows, alert, wall_ms)
    if decision.action == "cancel" and history.running_job_id is not None:
        _cancel(rows, history.running_job_id, alert, decision, context.topics.retrain)
    elif decision.action in ("request", "decline"):
        job = _job(alert, history, alert.alert_id)
        _add_job(rows, job, decision, context.topics.retrain)
    if history.running_job_id is not None and decision.rule == "data_quality":
        _requeue_waiting_job(rows, history.running_job_id, alert, context.topics.retrain, wall_ms)
    return decision


def reconsider(
    rows: sqlite3.Connection, waiting: DeferredAlert, context: TrainerContext, *, wall_ms: int
) -> Decision | None:
    """Decide again on an alert that was refused for a while; ``None``: the while is not over.

    Runs inside of a transaction.  An episode that waits this long drifts still, and is retrained
    on at most once.  Where another version was put into service since, what the alert says of the
    champion is of then.
    """
    alert = waiting.as_of(wall_ms)
    history = _history(rows, alert, context)
    if history.champion_ms > waiting.alert.decided_ms:
        alert = msgspec.structs.replace(alert, champion=None)
    decision = decide(alert, history, context.policy)
    if decision.rule in DEFERRABLE:
        return None
    remove_deferred(rows, alert.episode_id)
    if decision.action == "request":
        job = _job(alert, history, _repeat_cause(rows, alert))
        _add_job(rows, job, decision, context.topics.retrain)
    return decision


def _history(rows: sqlite3.Connection, alert: DriftAlert, context: TrainerContext) -> History:
    history = history_of(
        rows,
        alert.model,
        episode_id=alert.episode_id,
        now_ms=alert.decided_ms,
        has_factory=alert.model in context.factories,
    )
    return history._replace(quality=quality_episodes_of(rows, alert))


def _add_job(rows: sqlite3.Connection, job: Job, decision: Decision, topic: str) -> None:
    asks = decision.action == "request"
    step: Step = "requested" if asks else "declined"
    step_event = StepEvent(step, decision.rule, decision.reason, decision.numbers)
    job = job.to("asked", rule=decision.rule, reason=decision.reason)
    if add_job(rows, job if asks else job.ended("declined")):
        enqueue(rows, [retrain_record(job, step_event, topic)])


def _job(alert: DriftAlert, history: History, caused_by: str) -> Job:
    return Job(
        job_id=job_id_of(caused_by),
        caused_by=caused_by,
        model=alert.model,
        episode_id=alert.episode_id,
        champion=history.champion or alert.version,
        state="asked",
        asked_ms=alert.decided_ms,
        work=JobData(
            alert=alert,
            partition=alert.partition,
            onset_offset=alert.onset_offset,
            onset_ms=valid_since_ms(alert, history.quality),
        ),
    )


def _repeat_cause(rows: sqlite3.Connection, alert: DriftAlert) -> str:
    """A cause of its own for a further job of an alert: the first of its kind that no job has."""
    further = (f"{alert.alert_id}/later-{n}" for n in itertools.count(2))
    names = itertools.chain([f"{alert.alert_id}/later"], further)
    return next(name for name in names if not has_job(rows, name))


def _requeue_waiting_job(
    rows: sqlite3.Connection, job_id: str, quality: DriftAlert, topic: str, wall_ms: int
) -> None:
    """End a job that still waits, if what it waits on may come from broken data, and defer that."""
    job = find_job(rows, job_id)
    if job is None or job.state not in ("asked", "waiting") or job.work.alert is None:
        return
    waiting_alert = job.work.alert
    decision = requeue(waiting_alert, quality_episodes_of(rows, waiting_alert))
    if decision is not None:
        _cancel(rows, job_id, quality, decision, topic)
        defer(rows, waiting_alert, wall_ms)
        advance_event_time(rows, waiting_alert.model, quality.decided_ms)


def _cancel(
    rows: sqlite3.Connection, job_id: str, alert: DriftAlert, decision: Decision, topic: str
) -> None:
    job = find_job(rows, job_id)
    if job is None:
        return
    why = {"rule": decision.rule, "reason": decision.reason}
    cancelled = job.to(job.state, now_ms=alert.decided_ms, **why).ended("cancelled")
    transition(rows, job, cancelled)
    step_event = StepEvent("declined", decision.rule, decision.reason, decision.numbers)
    enqueue(rows, [retrain_record(cancelled, step_event, topic)])
