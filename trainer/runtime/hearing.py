"""Hearing alerts: what was decided on one, and the position behind it, in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

from stream_monitor.contracts import DriftAlert
from trainer.dataset.log import partitions_of_topic, plain_consumer
from trainer.decision import Decision, decide, is_broken, job_id_of
from trainer.jobs import Job, Work, add_job, find_job, history_of, move, put
from trainer.jobs.ledger import has_span, note_span
from trainer.runtime.bench import Bench
from trainer.runtime.change import Told, letter_of

log = structlog.get_logger(__name__)

BATCH: Final = 500
_decode: Final = msgspec.json.Decoder(DriftAlert).decode


class Heard(NamedTuple):
    """A record of the alerts topic; ``alert`` is None where it is none."""

    partition: int
    offset: int
    alert: DriftAlert | None


class AlertReader:
    """Reads the alerts from recorded positions on; from the beginning where there are none.

    An installation that starts its first trainer late hears what happened before: episodes that
    are over cancel themselves.

    Raises:
        KafkaException: nobody answers, or there is no such topic.
    """

    def __init__(self, client: Mapping[str, Any], topic: str, start: Mapping[int, int]) -> None:
        self._consumer = plain_consumer(client)
        try:
            numbers = partitions_of_topic(self._consumer, topic)
        except BaseException:
            self._consumer.close()
            raise
        places = [TopicPartition(topic, p, start.get(p, OFFSET_BEGINNING)) for p in numbers]
        self._consumer.assign(places)

    def poll(self, timeout_s: float) -> list[Heard]:
        """Alerts as they lie; an empty list after ``timeout_s`` without any."""
        first = self._consumer.consume(1, timeout_s)
        heard = []
        for message in (*first, *(self._consumer.consume(BATCH, 0) if first else ())):
            if message.error() is not None:
                raise KafkaException(message.error())
            partition, offset = message.partition(), message.offset()
            if partition is None or offset is None:
                continue
            try:
                alert = _decode(message.value() or b"")
            except msgspec.MsgspecError as error:
                log.warning("not an alert", partition=partition, offset=offset, why=str(error))
                alert = None
            heard.append(Heard(partition, offset, alert))
        return heard

    def close(self) -> None:
        """Let the connection go."""
        self._consumer.close()


def record(rows: sqlite3.Connection, alert: DriftAlert, bench: Bench) -> Decision:
    """Decide on an alert and record what follows; runs inside of a transaction."""
    if is_broken(alert) or has_span(rows, alert.episode_id):
        note_span(rows, alert)
    history = history_of(
        rows,
        alert.model,
        episode_id=alert.episode_id,
        now_ms=alert.decided_ms,
        has_factory=alert.model in bench.factories,
    )
    decision = decide(alert, history, bench.spec)
    if decision.action == "cancel" and history.running_job is not None:
        _cancel(rows, history.running_job, alert, decision, bench.topics.retrain)
    elif decision.action in ("ask", "refuse"):
        job = _job(alert, history.champion or alert.version)
        asks = decision.action == "ask"
        told = Told(
            "requested" if asks else "refused", decision.rule, decision.reason, decision.numbers
        )
        job = job.to("asked", rule=decision.rule, reason=decision.reason)
        if add_job(rows, job if asks else job.ended("refused")):
            put(rows, [letter_of(job, told, bench.topics.retrain)])
    return decision


def _job(alert: DriftAlert, champion: str) -> Job:
    return Job(
        job_id=job_id_of(alert.alert_id),
        caused_by=alert.alert_id,
        model=alert.model,
        episode_id=alert.episode_id,
        champion=champion,
        state="asked",
        asked_ms=alert.decided_ms,
        work=Work(
            partition=alert.partition, onset_offset=alert.onset_offset, onset_ms=alert.onset_ms
        ),
    )


def _cancel(
    rows: sqlite3.Connection, job_id: str, alert: DriftAlert, decision: Decision, topic: str
) -> None:
    job = find_job(rows, job_id)
    if job is None:
        return
    cancelled = job.to(job.state, now_ms=alert.decided_ms).ended("cancelled")
    move(rows, job, cancelled)
    told = Told("refused", decision.rule, decision.reason, decision.numbers)
    put(rows, [letter_of(cancelled, told, topic)])
