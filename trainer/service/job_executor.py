"""The job executor: runs one step at a time in a thread, so that alerts are received meanwhile.

The thread reads, fits and compares; it has no access to the database.  The crash guard records an
attempt before each step and removes it after it, so that a crash can be attributed to the step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, TypeAlias

import structlog
from confluent_kafka import KafkaException

from producer.writer import DeliveryError
from trainer.jobs.database import Database
from trainer.jobs.job import Job, State
from trainer.jobs.job_store import record_attempts
from trainer.registry.errors import MlflowFailed
from trainer.service import challenger_storage, pipeline
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


log = structlog.get_logger(__name__)

StepFunction: TypeAlias = Callable[
    [Job, TrainerContext, JobWorkspace, StepInputs], StepResult | None
]

STEPS: Final[dict[State, StepFunction]] = {
    "asked": pipeline.plan_ranges,
    "waiting": pipeline.wait_for_labels,
    "reading": pipeline.build_training_set,
    "fitting": pipeline.fit_windows,
    "evaluating": pipeline.evaluate_challenger,
    "refitting": pipeline.refit_challenger,
    "storing": challenger_storage.store_challenger,
    "promoting": pipeline.promote_challenger,
}
"""The step of each state; its result has the next state."""

RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)


class FinishedStep(NamedTuple):
    """A step that ended.  ``result`` None: the job stays in its state and the step is repeated.

    ``caught_up``: the step has read all known records, any of which might have crashed it.
    """

    job: Job
    result: StepResult | None
    caught_up: bool = False


class JobExecutor:
    """Runs the steps of jobs and returns their results."""

    def __init__(self, context: TrainerContext) -> None:
        self._context = context
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trainer")
        self._workspaces: dict[str, JobWorkspace] = {}
        self._current_step: tuple[Job, Future[StepResult | None]] | None = None
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._last_job_id: str | None = None

    def start(
        self,
        jobs: list[Job],
        inputs: Callable[[Job], StepInputs],
        step_started: Callable[[Job], Job],
    ) -> bool:
        """Begin the next step of one of ``jobs``, in turn; return whether a step is running.

        ``step_started`` records the attempt and returns the job with it.
        """
        if self._current_step is not None:
            return True
        self._clear_workspaces_except({job.job_id for job in jobs})
        due = [job for job in jobs if self._not_before.get(job.job_id, 0.0) <= time.monotonic()]
        if not due:
            return False
        ids = [job.job_id for job in due]
        after = ids.index(self._last_job_id) + 1 if self._last_job_id in ids else 0
        job = step_started(due[after % len(due)])
        self._last_job_id = job.job_id
        workspace = self._workspaces.setdefault(job.job_id, self._context.workspace(job.job_id))
        step = fail_crashing_job if is_over_crash_limit(job) else STEPS[job.state]
        self._current_step = (
            job,
            self._thread.submit(self._run_step, step, job, workspace, inputs(job)),
        )
        return True

    def _run_step(
        self, step: StepFunction, job: Job, workspace: JobWorkspace, inputs: StepInputs
    ) -> StepResult | None:
        try:
            return step(job, self._context, workspace, inputs)
        except KafkaException:
            workspace.stop_reading()  # the consumer may have lost fetched records
            raise

    def poll_finished(self, timeout_s: float = 0.0) -> FinishedStep | None:
        """Return the step if it ends within ``timeout_s``."""
        if self._current_step is None:
            return None
        job, future = self._current_step
        try:
            error = future.exception(timeout_s)
        except TimeoutError:
            return None
        self._current_step = None
        if error is None:
            self._failures.pop(job.job_id, None)
            return FinishedStep(job, future.result(), self._workspaces[job.job_id].caught_up)
        return FinishedStep(job, self._failed(job, error))

    def close(self) -> None:
        """End after the running step."""
        self._clear_workspaces_except(set())
        self._thread.shutdown(wait=True)

    def _clear_workspaces_except(self, job_ids: set[str]) -> None:
        """Clear the workspaces of jobs that are done or cancelled."""
        for job_id in set(self._workspaces) - job_ids:
            self._thread.submit(self._workspaces.pop(job_id).clear)

    def _failed(self, job: Job, error: BaseException) -> StepResult | None:
        """Retry after an error of Kafka or MLflow; fail the job after any other error."""
        if isinstance(error, KafkaException | DeliveryError | MlflowFailed):
            tried = self._failures.get(job.job_id, 0)
            self._failures[job.job_id] = tried + 1
            wait_s = RETRY_S[min(tried, len(RETRY_S) - 1)]
            self._not_before[job.job_id] = time.monotonic() + wait_s
            log.warning(
                "a server does not answer; the step is repeated",
                server="MLflow" if isinstance(error, MlflowFailed) else "Kafka",
                job=job.job_id,
                state=job.state,
                why=str(error),
            )
            return None
        return failure(job, error)


def failure(job: Job, error: BaseException) -> StepResult:
    """Log an error and return the result that fails its job."""
    log.error("a job failed", job=job.job_id, state=job.state, exc_info=error)
    reason = f"While {job.state}: {type(error).__name__}: {error}"
    return StepResult(job.ended("failed"), (StepEvent("failed", "error", reason, {}),))
