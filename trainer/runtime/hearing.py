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

from producer.headers import kind_of
from producer.permission import explained_denial
from stream_monitor.contracts import ENDED, HEALTH_CE_TYPE, REJECTED, DriftAlert
from trainer.contracts import Step
from trainer.dataset.log import partitions_of_topic, plain_consumer
from trainer.decision import (
    PASSING,
    Decision,
    History,
    clean_since_ms,
    decide,
    is_broken,
    job_id_of,
    set_back,
)
from trainer.jobs import Job, Work, add_job, find_job, history_of, move, put
from trainer.jobs.deferred import Deferred, advance, defer, forget
from trainer.jobs.ledger import has_job, has_span, note_span
from trainer.jobs.quality import note_quality, quality_beside
from trainer.runtime.bench import Bench
from trainer.runtime.change import Told, letter_of

log = structlog.get_logger(__name__)

BATCH: Final = 500
_OUT_OF_RANGE: Final = (
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - its public name
    KafkaError.OFFSET_OUT_OF_RANGE,
)
_decode: Final = msgspec.json.Decoder(DriftAlert).decode


class Heard(NamedTuple):
    """A record of the alerts topic; ``alert`` is None where it is none."""

    partition: int
    offset: int
    alert: DriftAlert | None


class AlertReader:
    """Reads the alerts from recorded positions on; from the beginning where there are none.

    An installation that starts its first trainer late receives what happened before: episodes that
    are over cancel themselves.  A position that the topic does not have is reported, and reading
    goes on at the first record that is left.  ``group`` is committed to by `advise`, never joined.

    Raises:
        KafkaException: nobody answers, or there is no such topic.
    """

    def __init__(
        self, client: Mapping[str, Any], topic: str, start: Mapping[int, int], group: str
    ) -> None:
        self._client, self._topic, self._group = client, topic, group
        self._consumer = plain_consumer(client, group_id=group, auto_offset_reset="error")
        try:
            numbers = partitions_of_topic(self._consumer, topic)
        except BaseException:
            self._consumer.close()
            raise
        self.positions = {p: start.get(p, OFFSET_BEGINNING) for p in numbers}
        self._consumer.assign([TopicPartition(topic, *at) for at in self.positions.items()])

    def poll(self, timeout_s: float) -> list[Heard]:
        """Alerts as they lie; an empty list after ``timeout_s`` without any."""
        first = self._consumer.consume(1, timeout_s)
        heard = []
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
                if kind_of(message) != HEALTH_CE_TYPE:  # it is about processes, and for people
                    alert = _decode(message.value() or b"")
            except msgspec.MsgspecError as wrong:
                log.warning("not an alert", partition=partition, offset=offset, why=str(wrong))
            self.positions[partition] = offset + 1
            heard.append(Heard(partition, offset, alert))
        return heard

    def _begin_at_earliest(self, partition: int) -> None:
        log.warning("the alerts topic does not have the position that was read to",
                    partition=partition, position=self.positions[partition],
                    why="retention removed what was not read yet, or the topic was made anew",
                    then="it is read from the first record that is left")  # fmt: skip
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

    def advise(self, commits: list[TopicPartition]) -> None:
        """Commit for others to see; whether it arrives is of no account."""
        with contextlib.suppress(KafkaException):
            self._consumer.commit(offsets=commits, asynchronous=True)

    def close(self) -> None:
        """Let the connection go."""
        self._consumer.close()


def record(rows: sqlite3.Connection, alert: DriftAlert, bench: Bench, *, wall_ms: int) -> Decision:
    """Decide on an alert and record what follows; runs inside of a transaction.

    ``wall_ms`` is the time of the clock on the wall: a refusal for a while counts from it.  Of a
    drill nothing is recorded.  Broken data are noted first: what is told of them holds for the
    alerts behind.  A repeat of an alert that led to something leads to nothing: one that waits
    goes on waiting as it was.
    """
    if alert.drill or alert.cause == REJECTED:  # of times that say nothing of the model's own
        return decide(alert, History(), bench.spec)
    if is_broken(alert) or has_span(rows, alert.episode_id):
        note_span(rows, alert)
    note_quality(rows, alert)
    if has_job(rows, alert.alert_id):
        return Decision("ignore", "repeat")
    advance(rows, alert.model, alert.decided_ms)
    history = _history(rows, alert, bench)
    decision = decide(alert, history, bench.spec)
    if alert.phase in ENDED or decision.action == "ask":
        forget(rows, alert.episode_id)
    elif decision.rule in PASSING:
        defer(rows, alert, wall_ms)
    if decision.action == "cancel" and history.running_job is not None:
        _cancel(rows, history.running_job, alert, decision, bench.topics.retrain)
    elif decision.action in ("ask", "refuse"):
        job = _job(alert, history, alert.alert_id)
        _enter(rows, job, decision, bench.topics.retrain)
    if history.running_job is not None and decision.rule == "data_quality":
        _set_back(rows, history.running_job, alert, bench.topics.retrain, wall_ms)
    return decision


def reconsider(
    rows: sqlite3.Connection, waiting: Deferred, bench: Bench, *, wall_ms: int
) -> Decision | None:
    """Decide again on an alert that was refused for a while; ``None``: the while is not over.

    Runs inside of a transaction.  An episode that waits this long drifts still, and is retrained
    on at most once.  Where another version was put into service since, what the alert says of the
    champion is of then.
    """
    alert = waiting.at(wall_ms)
    history = _history(rows, alert, bench)
    if history.champion_ms > waiting.alert.decided_ms:
        alert = msgspec.structs.replace(alert, champion=None)
    decision = decide(alert, history, bench.spec)
    if decision.rule in PASSING:
        return None
    forget(rows, alert.episode_id)
    if decision.action == "ask":
        job = _job(alert, history, _again(rows, alert))
        _enter(rows, job, decision, bench.topics.retrain)
    return decision


def _history(rows: sqlite3.Connection, alert: DriftAlert, bench: Bench) -> History:
    history = history_of(
        rows,
        alert.model,
        episode_id=alert.episode_id,
        now_ms=alert.decided_ms,
        has_factory=alert.model in bench.factories,
    )
    return history._replace(quality=quality_beside(rows, alert))


def _enter(rows: sqlite3.Connection, job: Job, decision: Decision, topic: str) -> None:
    asks = decision.action == "ask"
    step: Step = "requested" if asks else "refused"
    told = Told(step, decision.rule, decision.reason, decision.numbers)
    job = job.to("asked", rule=decision.rule, reason=decision.reason)
    if add_job(rows, job if asks else job.ended("refused")):
        put(rows, [letter_of(job, told, topic)])


def _job(alert: DriftAlert, history: History, caused_by: str) -> Job:
    return Job(
        job_id=job_id_of(caused_by),
        caused_by=caused_by,
        model=alert.model,
        episode_id=alert.episode_id,
        champion=history.champion or alert.version,
        state="asked",
        asked_ms=alert.decided_ms,
        work=Work(
            alert=alert,
            partition=alert.partition,
            onset_offset=alert.onset_offset,
            onset_ms=clean_since_ms(alert, history.quality),
        ),
    )


def _again(rows: sqlite3.Connection, alert: DriftAlert) -> str:
    """A cause of its own for a further job of an alert: the first of its kind that no job has."""
    further = (f"{alert.alert_id}/later-{n}" for n in itertools.count(2))
    names = itertools.chain([f"{alert.alert_id}/later"], further)
    return next(name for name in names if not has_job(rows, name))


def _set_back(
    rows: sqlite3.Connection, job_id: str, quality: DriftAlert, topic: str, wall_ms: int
) -> None:
    """End a job that still waits, if what it waits on may come from broken data, and defer that."""
    job = find_job(rows, job_id)
    if job is None or job.state not in ("asked", "waiting") or job.work.alert is None:
        return
    waits = job.work.alert
    decision = set_back(waits, quality_beside(rows, waits))
    if decision is not None:
        _cancel(rows, job_id, quality, decision, topic)
        defer(rows, waits, wall_ms)
        advance(rows, waits.model, quality.decided_ms)


def _cancel(
    rows: sqlite3.Connection, job_id: str, alert: DriftAlert, decision: Decision, topic: str
) -> None:
    job = find_job(rows, job_id)
    if job is None:
        return
    why = {"rule": decision.rule, "reason": decision.reason}
    cancelled = job.to(job.state, now_ms=alert.decided_ms, **why).ended("cancelled")
    move(rows, job, cancelled)
    told = Told("refused", decision.rule, decision.reason, decision.numbers)
    put(rows, [letter_of(cancelled, told, topic)])
