"""What a step of a job changes, to be recorded in one transaction."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import msgspec

from trainer.contracts import RETRAIN_CE_TYPE, RetrainEvent, Step
from trainer.decision import Numbers, event_id
from trainer.jobs import Champion, Job, Letter, crown, move, put


class Told(NamedTuple):
    """An event of a job: which step, decided by which rule, why, on which numbers."""

    step: Step
    rule: str
    reason: str
    numbers: Numbers


class Change(NamedTuple):
    """A job's next state, what to tell of it, and whom it puts into service."""

    after: Job
    told: tuple[Told, ...] = ()
    champion: Champion | None = None
    letters: tuple[Letter, ...] = ()


def apply(rows: sqlite3.Connection, topic: str, before: Job, change: Change) -> None:
    """Record a change; runs inside of a transaction.

    Raises:
        LookupError: the job is not in the state it was, for it was cancelled meanwhile.
    """
    after = change.after
    if after.state == "done" and change.told:
        after = after.to("done", rule=change.told[-1].rule, reason=change.told[-1].reason)
    move(rows, before, after)
    if change.champion is not None:
        crown(rows, change.champion)
    put(rows, [letter_of(change.after, told, topic) for told in change.told])
    put(rows, change.letters)


def letter_of(job: Job, told: Told, topic: str) -> Letter:
    """The event of a step, to be published."""
    event = RetrainEvent(
        id=event_id(job.job_id, told.step),
        job_id=job.job_id,
        step=told.step,
        model=job.model,
        champion=job.champion,
        challenger=job.challenger,
        caused_by=job.caused_by,
        episode_id=job.episode_id,
        rule=told.rule,
        reason=told.reason,
        numbers=told.numbers,
        time_ms=job.now_ms,
    )
    return Letter(event.id, topic, job.model, RETRAIN_CE_TYPE, msgspec.json.encode(event))
