"""What a step of a job changes, to be recorded in one transaction."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import msgspec

from trainer.contracts import RETRAIN_CE_TYPE, RetrainEvent, Step
from trainer.jobs.champions import Champion, set_champion
from trainer.jobs.job import Job
from trainer.jobs.job_store import transition
from trainer.jobs.outbox import OutboundRecord, enqueue
from trainer.policy.decide import Numbers
from trainer.policy.naming import event_id


class StepEvent(NamedTuple):
    """An event of a job: which step, decided by which rule, why, on which numbers."""

    step: Step
    rule: str
    reason: str
    numbers: Numbers


class StepResult(NamedTuple):
    """A job's next state, what to tell of it, and whom it puts into service."""

    after: Job
    step_events: tuple[StepEvent, ...] = ()
    champion: Champion | None = None
    outbound_records: tuple[OutboundRecord, ...] = ()


def record_result(rows: sqlite3.Connection, topic: str, before: Job, result: StepResult) -> None:
    """Record a change; runs inside of a transaction.

    Raises:
        LookupError: the job is not in the state it was, for it was cancelled meanwhile.
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
    """The event of a step, to be published."""
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
