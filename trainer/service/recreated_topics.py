"""Detects topics that were deleted and recreated, and drops their recorded positions.

A position in the old topic has no meaning in the new one.  Kafka gives each topic an id, which the
database records.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException, TopicCollection

from producer.kafka_client import admin_client
from trainer.jobs.comparisons import forget_positions
from trainer.jobs.job import Job
from trainer.jobs.job_store import active_jobs
from trainer.service.step_result import StepEvent, cancel_job

log = structlog.get_logger(__name__)

TOPIC_RECREATED_RULE: Final = "event_topic_recreated"
DESCRIBE_S: Final = 5.0


def topic_ids(client: Mapping[str, Any], topics: list[str]) -> dict[str, str]:
    """Return the id of each topic that the broker describes within `DESCRIBE_S`."""
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


def _record_topic_id(rows: sqlite3.Connection, topic: str, topic_id: str) -> bool:
    """Record the id of a topic; return whether another id was recorded before."""
    known = rows.execute("SELECT topic_id FROM topics WHERE topic = ?", (topic,)).fetchone()
    rows.execute(
        "INSERT INTO topics VALUES (?, ?)"
        " ON CONFLICT (topic) DO UPDATE SET topic_id = excluded.topic_id",
        (topic, topic_id),
    )
    return known is not None and known[0] != topic_id


def detect_recreated_alert_topic(rows: sqlite3.Connection, topic: str, topic_id: str) -> bool:
    """Record the id of the alerts topic; return whether the topic was recreated.

    Then its positions are deleted, and it is read from its first record.  Runs inside the caller's
    transaction.
    """
    if not _record_topic_id(rows, topic, topic_id):
        return False
    rows.execute("DELETE FROM positions WHERE topic = ?", (topic,))
    log.warning(
        "the alerts topic was deleted and recreated",
        topic=topic,
        then="it is read from its first record",
    )
    return True


def cancel_jobs_of_recreated_topic(
    rows: sqlite3.Connection, topic: str, topic_id: str, *, retrain_topic: str
) -> list[Job]:
    """Record the id of the event topic; cancel the jobs of a recreated one.

    Returns the cancelled jobs.  A promotion needs no events and continues.  Runs inside the
    caller's transaction.
    """
    if not _record_topic_id(rows, topic, topic_id):
        return []
    forget_positions(rows)
    jobs = [job for job in active_jobs(rows) if job.state != "promoting"]
    reason = (
        f"{topic} was deleted and recreated: the events of this job are gone. The next alert of "
        "the model requests a retrain; `driftline retrain` requests one now."
    )
    for job in jobs:
        step_event = StepEvent("declined", TOPIC_RECREATED_RULE, reason, {})
        cancel_job(rows, job, step_event, retrain_topic, now_ms=job.now_ms)
    log.warning("the event topic was deleted and recreated", topic=topic, cancelled_jobs=len(jobs))
    return jobs
