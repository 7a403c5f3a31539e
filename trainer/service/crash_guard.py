"""Finding a job that ends the trainer: whoever works on it dies, and every other job waits.

A crash leaves no word, so word is left before: a process notes that it begins the step of a job,
and takes the note back when it has survived.  What is left is from processes that died of it.
"""

from __future__ import annotations

from typing import Final

from trainer.jobs.database import Database
from trainer.jobs.job import Job, State
from trainer.jobs.job_store import record_attempts
from trainer.service.context import JobWorkspace, StepInputs, TrainerContext
from trainer.service.step_result import StepEvent, StepResult

MAX_CRASHES: Final = 3
"""Trainers that may end in one step of a job."""


class CrashGuard:
    """The notes of this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._before: dict[tuple[str, State], int | None] = {}
        """What was noted before each step that began here; ``None`` once it is survived."""

    def step_started(self, job: Job) -> Job:
        """Note that the step of the job's state begins here; the job, with all such notes."""
        if (job.job_id, job.state) in self._before:
            return job
        before = job.work.attempts.get(job.state, 0)
        with self._database.transaction() as rows:
            noted = record_attempts(rows, job.job_id, job.state, before + 1)
        self._before[job.job_id, job.state] = before
        return noted or job

    def step_interrupted(self, job: Job) -> None:
        """The step has ended, to be taken up again; till then nobody dies of it."""
        before = self._before.get((job.job_id, job.state))
        if before is not None:
            self._note(job.job_id, job.state, before)
            del self._before[job.job_id, job.state]

    def step_survived(self, job: Job) -> None:
        """All that the step may die of is behind it: whoever died, died by chance."""
        if self._before.get((job.job_id, job.state)) is not None:
            self._note(job.job_id, job.state, 0)
            self._before[job.job_id, job.state] = None

    def close(self) -> None:
        """The process ends as it was told to, or for another reason: nothing has killed it."""
        for (job_id, state), before in self._before.items():
            if before is not None:
                self._note(job_id, state, before)

    def _note(self, job_id: str, state: State, count: int) -> None:
        with self._database.transaction() as rows:
            record_attempts(rows, job_id, state, count)


def is_over_crash_limit(job: Job) -> bool:
    """Whether as many processes as may have ended in the step that the job is at.

    A promotion is not given up: the log may hold it already.
    """
    return job.state != "promoting" and job.work.attempts.get(job.state, 0) > MAX_CRASHES


def fail_crashing_job(
    job: Job, _context: TrainerContext, _workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """End a job that ends its trainers."""
    reason = (
        f"{MAX_CRASHES} trainers ended while the job was {job.state}, and no further one tries.  "
        "Look for their last messages, and for what the system logged about their memory; "
        "then request it again with `driftline retrain`."
    )
    return StepResult(
        job.ended("failed"),
        (StepEvent("failed", "crashes_trainer", reason, {"tries": MAX_CRASHES}),),
    )
