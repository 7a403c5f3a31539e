"""The alert consumer: reads alerts and records the decision on each in one transaction."""

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
from trainer.dataset.range_reader import lags_of, partitions_of_topic
from trainer.jobs.deferred_alerts import DeferredAlert, advance_event_time, defer, remove_deferred
from trainer.jobs.job import Job, JobData
from trainer.jobs.job_store import (
    find_job,
    has_active_job,
    has_excluded_range,
    has_job,
    history_of,
    record_excluded_range,
)
from trainer.jobs.quality_episodes import quality_episodes_of, record_quality_episode
from trainer.policy.data_quality_guard import valid_since_ms
from trainer.policy.decide import DEFERRABLE, Decision, History, decide, labels_since_ms, requeue
from trainer.policy.excluded_ranges import excludes_data
from trainer.policy.naming import job_id_of
from trainer.service.context import TrainerContext
from trainer.service.step_result import StepEvent, add_reported_job, cancel_job

log = structlog.get_logger(__name__)

BATCH: Final = 500
_OUT_OF_RANGE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001
_decode: Final = msgspec.json.Decoder(DriftAlert).decode


class ReceivedRecord(NamedTuple):
    """A record of the alerts topic; ``alert`` is None if it is not an alert."""

    partition: int
    offset: int
    alert: DriftAlert | None


class AlertConsumer:
    """Reads alerts from recorded positions on, or from the beginning without a position.

    So a first trainer that starts late receives all earlier alerts; the jobs of ended episodes are
    cancelled.  A position that the topic no longer has is logged, and reading continues at the
    first record left.  `commit_advisory` commits to ``group``, which is never joined.

    Raises:
        KafkaException: Kafka does not answer, or there is no such topic.
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
        """Return the next records; an empty list after ``timeout_s`` without any."""
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
                if ce_type_of(message) != HEALTH_CE_TYPE:  # health events are for people
                    alert = _decode(message.value() or b"")
            except msgspec.MsgspecError as wrong:
                log.warning(
                    "record is not an alert", partition=partition, offset=offset, why=str(wrong)
                )
            self.positions[partition] = offset + 1
            received.append(ReceivedRecord(partition, offset, alert))
        return received

    def _begin_at_earliest(self, partition: int) -> None:
        log.warning(
            "the alerts topic no longer has the recorded position",
            partition=partition,
            position=self.positions[partition],
            why="retention removed records that were not read, or the topic was recreated",
            then="reading continues at the first record left",
        )
        place = TopicPartition(self._topic, partition, OFFSET_BEGINNING)
        self._consumer.incremental_unassign([place])
        self._consumer.incremental_assign([place])

    def lags(self) -> dict[int, int]:
        """Return the number of alerts not received yet by partition, as of the last fetch."""
        return lags_of(self._consumer, self._topic, self.positions)

    def commit_advisory(self, commits: list[TopicPartition]) -> None:
        """Commit positions and the heartbeat for other processes; errors are ignored."""
        with contextlib.suppress(KafkaException):
            self._consumer.commit(offsets=commits, asynchronous=True)

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


def handle_alert(
    rows: sqlite3.Connection, alert: DriftAlert, context: TrainerContext, *, wall_ms: int
) -> Decision:
    """Decide on an alert and record the effects, inside the caller's transaction.

    ``wall_ms`` is the time of the wall clock; a deferral counts from it.  Nothing is recorded for a
    drill.  Broken data are recorded before the decision, because it depends on them.  A repeat of
    an alert that has a job is ignored; a repeat of a deferred alert stays deferred.
    """
    if alert.drill or alert.cause == REJECTED:  # no information about the model
        return decide(alert, History(), context.policy)
    if excludes_data(alert) or has_excluded_range(rows, alert.episode_id):
        record_excluded_range(rows, alert)
    record_quality_episode(rows, alert)
    if has_job(rows, alert.alert_id):
        return Decision("ignore", "repeat")
    advance_event_time(rows, alert.model, alert.decided_ms)
    history = _history(rows, alert, context)
    decision = decide(alert, history, context.policy)
    if alert.phase in ENDED_PHASES:
        remove_deferred(rows, alert.episode_id)
    elif decision.action == "request" or decision.rule in DEFERRABLE:
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
    """Decide again on a deferred alert, inside the caller's transaction; ``None``: still deferred.

    Its episode is still open.  It causes one retrain, and a further one if the challenger was
    rejected.  If another version was promoted since, the alert's champion is out of date and
    ignored.
    """
    alert = waiting.as_of(wall_ms)
    history = _history(rows, alert, context)
    if history.champion_ms > waiting.alert.decided_ms:
        alert = msgspec.structs.replace(alert, champion=None)
    decision = decide(alert, history, context.policy)
    if decision.rule in DEFERRABLE or has_active_job(rows, alert.episode_id):
        return None
    if decision.action == "request":  # still deferred: the challenger may be rejected
        job = _job(alert, history, _repeat_cause(rows, alert))
        _add_job(rows, job, decision, context.topics.retrain)
    else:
        remove_deferred(rows, alert.episode_id)
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
    requested = decision.action == "request"
    step: Step = "requested" if requested else "declined"
    step_event = StepEvent(step, decision.rule, decision.reason, decision.numbers)
    job = job.to("asked", rule=decision.rule, reason=decision.reason)
    add_reported_job(rows, job if requested else job.ended("declined"), step_event, topic)


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
            labels_since_ms=labels_since_ms(alert, history),
        ),
    )


def _repeat_cause(rows: sqlite3.Connection, alert: DriftAlert) -> str:
    """Return an unused ``caused_by`` for a further job of an alert."""
    further = (f"{alert.alert_id}/later-{n}" for n in itertools.count(2))
    names = itertools.chain([f"{alert.alert_id}/later"], further)
    return next(name for name in names if not has_job(rows, name))


def _requeue_waiting_job(
    rows: sqlite3.Connection, job_id: str, quality: DriftAlert, topic: str, wall_ms: int
) -> None:
    """Cancel a waiting job whose alert broken data may have caused, and defer the alert."""
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
    step_event = StepEvent("declined", decision.rule, decision.reason, decision.numbers)
    cancel_job(rows, job, step_event, topic, now_ms=alert.decided_ms)
