"""The crash guard: fails a job whose step repeatedly ends the trainer's process.

An attempt is recorded before each step and removed after it, so that a crash can be attributed to
the step.
"""

from __future__ import annotations

from typing import Final

from trainer.jobs.database import Database
from trainer.jobs.job import Job, State
from trainer.jobs.job_store import record_attempts
from trainer.service.context import JobWorkspace, StepInputs, TrainerContext
from trainer.service.step_result import StepEvent, StepResult

MAX_CRASHES: Final = 3
"""Processes that may end in one step of a job before the job fails."""


class CrashGuard:
    """Records the attempts of steps by this process, and removes those that ended regularly."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._before: dict[tuple[str, State], int | None] = {}
        """Recorded attempts before each step begun here; ``None`` after the step survived."""

    def step_started(self, job: Job) -> Job:
        """Record an attempt of the step of the job's state; return the job with its attempts."""
        if (job.job_id, job.state) in self._before:
            return job
        before = job.work.attempts.get(job.state, 0)
        with self._database.transaction() as rows:
            recorded = record_attempts(rows, job.job_id, job.state, before + 1)
        self._before[job.job_id, job.state] = before
        return recorded or job

    def step_interrupted(self, job: Job) -> None:
        """Remove the attempt of a step that ended and will be repeated."""
        before = self._before.get((job.job_id, job.state))
        if before is not None:
            self._record(job.job_id, job.state, before)
            del self._before[job.job_id, job.state]

    def step_survived(self, job: Job) -> None:
        """Reset the attempts: this process has passed the part of the step that may crash."""
        if self._before.get((job.job_id, job.state)) is not None:
            self._record(job.job_id, job.state, 0)
            self._before[job.job_id, job.state] = None

    def close(self) -> None:
        """Remove the attempts of this process at its regular end."""
        for (job_id, state), before in self._before.items():
            if before is not None:
                self._record(job_id, state, before)

    def _record(self, job_id: str, state: State, count: int) -> None:
        with self._database.transaction() as rows:
            record_attempts(rows, job_id, state, count)


def is_over_crash_limit(job: Job) -> bool:
    """Whether more than `MAX_CRASHES` processes began the job's step and did not end it.

    A promotion never fails this way: the event topic may already have its update.
    """
    return job.state != "promoting" and job.work.attempts.get(job.state, 0) > MAX_CRASHES


def fail_crashing_job(
    job: Job, _context: TrainerContext, _workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """Fail a job whose step ends the trainer's process."""
    reason = (
        f"{MAX_CRASHES} trainer processes ended while the job was {job.state}, so it is not tried "
        "again.  Check the end of their logs and the system's memory log; then run "
        "`driftline retrain`."
    )
    return StepResult(
        job.ended("failed"),
        (StepEvent("failed", "crashes_trainer", reason, {"tries": MAX_CRASHES}),),
    )
