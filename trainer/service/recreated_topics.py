"""Topics that were deleted and created again: the trainer drops what it recorded of them.

A position in the old topic says nothing of the new one: beyond its end nothing would come for a
long time, and below it the first records would be passed over.  Kafka gives each topic an id, which
is recorded beside the positions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException, TopicCollection

from producer.kafka_client import admin_client
from trainer.contracts import Step
from trainer.jobs.job import Job
from trainer.jobs.job_store import active_jobs, transition
from trainer.jobs.outbox import enqueue
from trainer.jobs.topic_ids import forget_positions, set_topic_id, topic_id_of
from trainer.service.step_result import StepEvent, retrain_record

log = structlog.get_logger(__name__)

TOPIC_RECREATED_RULE: Final = "event_topic_recreated"
DESCRIBE_S: Final = 5.0
_CANCELLED: Final[Step] = "declined"


def topic_ids(client: Mapping[str, Any], topics: list[str]) -> dict[str, str]:
    """The id of each topic, as far as the broker says it within five seconds."""
    asked = admin_client(client).describe_topics(
        TopicCollection(topics), request_timeout=DESCRIBE_S
    )
    found = {}
    for topic, answer in asked.items():
        try:
            found[topic] = str(answer.result(DESCRIBE_S).topic_id)
        except (KafkaException, TimeoutError):
            continue
    return found


def detect_recreated_alert_topic(rows: sqlite3.Connection, topic: str, topic_id: str) -> bool:
    """Record which alerts topic is read; whether it is another one than before.

    Then its positions are gone: it is read from its first record.  Runs inside of a transaction.
    """
    known = topic_id_of(rows, topic)
    if known == topic_id:
        return False
    set_topic_id(rows, topic, topic_id)
    if known is None:
        return False
    forget_positions(rows, topic)
    log.warning(
        "the alerts topic was deleted and made anew",
        topic=topic,
        then="it is read from its first record",
    )
    return True


def cancel_jobs_of_recreated_topic(
    rows: sqlite3.Connection, topic: str, topic_id: str, *, retrain_topic: str
) -> list[Job]:
    """Record which event topic jobs read; the jobs that were cancelled, for theirs is gone.

    Runs inside of a transaction.  A job that promotes needs no events any more, and goes on.
    """
    known = topic_id_of(rows, topic)
    if known == topic_id:
        return []
    set_topic_id(rows, topic, topic_id)
    if known is None:
        return []
    jobs = [job for job in active_jobs(rows) if job.state != "promoting"]
    reason = (
        f"{topic} was deleted and made anew: the events that this job was to train on are gone. "
        "The next alert of the model asks again; `driftline retrain` does so now."
    )
    for job in jobs:
        cancelled = job.to(job.state, rule=TOPIC_RECREATED_RULE, reason=reason).ended("cancelled")
        transition(rows, job, cancelled)
        enqueue(
            rows,
            [
                retrain_record(
                    cancelled,
                    StepEvent(_CANCELLED, TOPIC_RECREATED_RULE, reason, {}),
                    retrain_topic,
                )
            ],
        )
    log.warning("the event topic was deleted and made anew", topic=topic, cancelled_jobs=len(jobs))
    return jobs
