"""Where jobs are worked on: one step at a time, in a thread, so that alerts are heard meanwhile.

The thread reads, fits and compares; it never touches the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, TypeAlias

import structlog
from confluent_kafka import KafkaException

from producer.writer import Undelivered
from trainer.jobs import Job, State
from trainer.runtime import gather, judge
from trainer.runtime.bench import Bench, Desk, Facts
from trainer.runtime.change import Change, Told
from trainer.runtime.trials import give_up, has_killed

log = structlog.get_logger(__name__)

Step: TypeAlias = Callable[[Job, Bench, Desk, Facts], Change | None]

STEPS: Final[dict[State, Step]] = {
    "asked": gather.plan,
    "waiting": gather.wait,
    "reading": gather.read,
    "fitting": judge.train,
    "evaluating": judge.evaluate,
    "storing": judge.store,
    "promoting": judge.promote,
}
"""What is done in each state; the change it answers leads to the next one."""

RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)


class Finished(NamedTuple):
    """A step that is over.  ``change`` None: the job stays where it is, and comes again.

    ``caught_up``: it has read all of the log that it may die of.
    """

    job: Job
    change: Change | None
    caught_up: bool = False


class Workshop:
    """Takes a job a step further, and tells what came of it."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trainer")
        self._desks: dict[str, Desk] = {}
        self._under_way: tuple[Job, Future[Change | None]] | None = None
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._last: str | None = None

    def start(
        self, jobs: list[Job], facts: Callable[[Job], Facts], begin: Callable[[Job], Job]
    ) -> bool:
        """Begin the next step of one of ``jobs``, in turn; whether a step is under way.

        ``begin`` notes that the step begins, and answers the job with the notes of it.
        """
        if self._under_way is not None:
            return True
        self._clear_all_but({job.job_id for job in jobs})
        due = [job for job in jobs if self._not_before.get(job.job_id, 0.0) <= time.monotonic()]
        if not due:
            return False
        ids = [job.job_id for job in due]
        after = ids.index(self._last) + 1 if self._last in ids else 0
        job = begin(due[after % len(due)])
        self._last = job.job_id
        desk = self._desks.setdefault(job.job_id, self._bench.desk(job.job_id))
        step = give_up if has_killed(job) else STEPS[job.state]
        self._under_way = job, self._thread.submit(self._take, step, job, desk, facts(job))
        return True

    def _take(self, step: Step, job: Job, desk: Desk, facts: Facts) -> Change | None:
        try:
            return step(job, self._bench, desk, facts)
        except KafkaException:
            desk.stop_reading()  # it may have fetched what it never took
            raise

    def finished(self, timeout_s: float = 0.0) -> Finished | None:
        """The step that is over, if it is within ``timeout_s``."""
        if self._under_way is None:
            return None
        job, future = self._under_way
        try:
            error = future.exception(timeout_s)
        except TimeoutError:
            return None
        self._under_way = None
        if error is None:
            self._failures.pop(job.job_id, None)
            return Finished(job, future.result(), self._desks[job.job_id].caught_up)
        return Finished(job, self._failed(job, error))

    def close(self) -> None:
        """End after the step under way."""
        self._clear_all_but(set())
        self._thread.shutdown(wait=True)

    def _clear_all_but(self, job_ids: set[str]) -> None:
        """Desks of jobs that are done, or were cancelled, are made free."""
        for job_id in set(self._desks) - job_ids:
            self._thread.submit(self._desks.pop(job_id).clear)

    def _failed(self, job: Job, error: BaseException) -> Change | None:
        """Kafka comes back; anything else would fail again, and ends the job with its reason."""
        if isinstance(error, KafkaException | Undelivered):
            tried = self._failures.get(job.job_id, 0)
            self._failures[job.job_id] = tried + 1
            wait_s = RETRY_S[min(tried, len(RETRY_S) - 1)]
            self._not_before[job.job_id] = time.monotonic() + wait_s
            log.warning("Kafka does not answer", job=job.job_id, state=job.state, why=str(error))
            return None
        return failure(job, error)


def failure(job: Job, error: BaseException) -> Change:
    """The end of a job that an error has ended."""
    log.error("a job failed", job=job.job_id, state=job.state, exc_info=error)
    reason = f"While {job.state}: {type(error).__name__}: {error}"
    return Change(job.ended("failed"), (Told("failed", "error", reason, {}),))
