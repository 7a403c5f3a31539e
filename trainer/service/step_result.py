"""The result of a step of a job, which one transaction records."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import msgspec

from trainer.contracts import RETRAIN_CE_TYPE, RetrainEvent, Step
from trainer.jobs.champions import Champion, set_champion
from trainer.jobs.job import Job
from trainer.jobs.job_store import add_job, transition
from trainer.jobs.outbox import OutboundRecord, enqueue
from trainer.policy.decide import Numbers
from trainer.policy.naming import event_id


class StepEvent(NamedTuple):
    """One event of a job: the step, the rule that decided, the reason and its numbers."""

    step: Step
    rule: str
    reason: str
    numbers: Numbers


class StepResult(NamedTuple):
    """A job in its next state, the events about it, and the champion that it promotes."""

    after: Job
    step_events: tuple[StepEvent, ...] = ()
    champion: Champion | None = None
    outbound_records: tuple[OutboundRecord, ...] = ()


def record_result(rows: sqlite3.Connection, topic: str, before: Job, result: StepResult) -> None:
    """Record the result of a step, inside the caller's transaction.

    Raises:
        LookupError: the job left its state, because it was cancelled meanwhile.
    """
    after = result.after
    if after.state == "done" and result.step_events:
        after = after.to(
            "done", rule=result.step_events[-1].rule, reason=result.step_events[-1].reason
        )
    transition(rows, before, after)
    if result.champion is not None:
        set_champion(rows, result.champion)
    enqueue(
        rows, [retrain_record(result.after, step_event, topic) for step_event in result.step_events]
    )
    enqueue(rows, result.outbound_records)


def retrain_record(job: Job, step_event: StepEvent, topic: str) -> OutboundRecord:
    """Build the outbound record of a step event."""
    event = RetrainEvent(
        id=event_id(job.job_id, step_event.step),
        job_id=job.job_id,
        step=step_event.step,
        model=job.model,
        champion=job.champion,
        challenger=job.challenger,
        caused_by=job.caused_by,
        episode_id=job.episode_id,
        rule=step_event.rule,
        reason=step_event.reason,
        numbers=step_event.numbers,
        time_ms=job.now_ms,
    )
    return OutboundRecord(event.id, topic, job.model, RETRAIN_CE_TYPE, msgspec.json.encode(event))


def add_reported_job(rows: sqlite3.Connection, job: Job, step_event: StepEvent, topic: str) -> bool:
    """Record a job with its first event; return False if its cause has a job already.

    Raises:
        sqlite3.IntegrityError: another job of the model runs.
    """
    if not add_job(rows, job):
        return False
    enqueue(rows, [retrain_record(job, step_event, topic)])
    return True


def cancel_job(
    rows: sqlite3.Connection, job: Job, step_event: StepEvent, topic: str, *, now_ms: int
) -> None:
    """Cancel a job at event time ``now_ms``, for the rule and the reason of the event."""
    why = {"rule": step_event.rule, "reason": step_event.reason}
    cancelled = job.to(job.state, now_ms=now_ms, **why).ended("cancelled")
    transition(rows, job, cancelled)
    enqueue(rows, [retrain_record(cancelled, step_event, topic)])
