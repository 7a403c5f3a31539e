"""The trainer's loop: receives alerts, runs jobs step by step, publishes events.

Only this loop uses the database; each iteration records at most one step.  After a crash at any
moment the trainer continues from what is recorded.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import structlog
from confluent_kafka import KafkaException

from producer.failpoints import failpoint
from producer.names import escape
from stream_monitor.contracts import DriftAlert
from stream_monitor.health import changes
from stream_monitor.trainer_heartbeat import (
    HEARTBEAT_INTERVAL_S,
    TrainerHeartbeat,
    heartbeat_offsets,
    monitor_group,
    trainer_group,
)
from stream_monitor.web import WebServer
from trainer.jobs.champions import aliases_of, champions
from trainer.jobs.comparisons import forget_positions, label_positions
from trainer.jobs.database import Database
from trainer.jobs.deferred_alerts import deferred_alerts
from trainer.jobs.job import TRANSITIONS, Job
from trainer.jobs.job_store import (
    active_jobs,
    excluded_ranges_of,
    excluded_sources_of,
    find_job,
    positions,
    reset_interrupted_jobs,
    set_positions,
    used_version_names,
)
from trainer.jobs.outbox import OutboundRecord, enqueue
from trainer.policy.decide import Decision
from trainer.service.alert_consumer import (
    BATCH,
    AlertConsumer,
    ReceivedRecord,
    handle_alert,
    reconsider,
)
from trainer.service.compare_versions import record_scored
from trainer.service.context import WORK_FOLDER, StepInputs, TrainerContext
from trainer.service.job_executor import CrashGuard, FinishedStep, JobExecutor, failure
from trainer.service.metrics import STALL_S, TrainerMetrics
from trainer.service.monitor_watch import MonitorWatch, health_record
from trainer.service.outbox_relay import OutboxRelay
from trainer.service.publication import MlflowPublisher
from trainer.service.recreated_topics import (
    cancel_jobs_of_recreated_topic,
    detect_recreated_alert_topic,
    topic_ids,
)
from trainer.service.step_result import StepResult, record_result
from trainer.service.version_scoring import VersionScoring

log = structlog.get_logger(__name__)

DEFAULT_PORT: Final = 8785
IDLE_S: Final = 0.1
CHECK_INTERVAL_S: Final = 15.0
"""Time between two checks for recreated topics and for workers of the monitor."""
BUSY_S: Final = 0.01
FIRST_POLL_S: Final = 2.0
"""How long the first alert may take; jobs start after it, because it may cancel them."""
_ENVIRONMENT_ERRORS: Final = (KafkaException, sqlite3.Error, OSError)
"""Errors of the environment, for which no job is to blame."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _log_decision(alert: DriftAlert, decision: Decision) -> None:
    if decision.action != "ignore":
        log.info(
            decision.action,
            model=alert.model,
            series=alert.series,
            rule=decision.rule,
            reason=decision.reason,
        )


class Trainer:
    """The trainer of a data directory, whose lock the caller has; a context manager.

    Raises:
        KafkaException: Kafka does not answer, or there is no alerts topic.
    """

    def __init__(self, context: TrainerContext) -> None:
        self._context = context
        self._topic = context.topics.alerts
        self._client = context.kafka.client()
        self._database = Database(context.data_dir)
        with self._database.transaction() as rows:
            reset_interrupted_jobs(rows)
        self._unsent = True  # an earlier process may have left records
        self._detect_recreated_topics()
        shutil.rmtree(context.data_dir / WORK_FOLDER, ignore_errors=True)
        self._alerts = self._reader()
        self._relay = OutboxRelay(self._client, self._database)
        group, events = monitor_group(context.prefix), context.topics.events
        self._monitor = MonitorWatch(self._client, group, events, self._topic)
        self._executor = JobExecutor(context)
        self._crash_guard = CrashGuard(self._database)
        self._scoring = VersionScoring(context)
        self._mlflow = MlflowPublisher(context.registry, context.published, self._aliases)
        self._is_scoring = False
        self._is_new = True
        self._reported_s = self._checked_s = time.monotonic()
        self.metrics = TrainerMetrics()
        self._lags: dict[int, int] = {}
        self._web: WebServer | None = None

    def serve(self) -> str:
        """Serve health and metrics; return the address, empty if the settings disable it.

        Raises:
            PortInUse: the port that was set is in use.
        """
        web = self._context.web
        if web.enabled:
            self._web = WebServer(
                web,
                "trainer.web",
                DEFAULT_PORT,
                health=self.metrics.health,
                readiness=self.readiness,
                metrics=self.metrics.text,
            )
            log.info("listening", address=self._web.address)
        return self._web.address if self._web is not None else ""

    def readiness(self) -> dict[str, Any]:
        """Return whether the trainer receives alerts and publishes events, for ``/readyz``."""
        waits_s = round(self.metrics.loop_age_s(), 1)
        return {
            "ready": not self._is_new and waits_s < STALL_S and not self._unsent,
            "loop_age_s": waits_s,
            "events_unsent": self._unsent,
            "alerts_lag": self._lags,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close(error)

    def close(self, error: BaseException | None = None) -> None:
        """Stop after the step under way; the rest is recorded.

        ``error`` is what ended the trainer, if it was not a person.  Unless a job may have caused
        it, the attempts of this process are removed first: a supervisor may end the process during
        the wait for the step.
        """
        if (
            error is None
            or not isinstance(error, Exception)
            or isinstance(error, _ENVIRONMENT_ERRORS)
        ):
            with contextlib.suppress(sqlite3.Error):  # the disk is full, which is logged elsewhere
                self._crash_guard.close()
        self._executor.close()
        self._scoring.close()
        self._mlflow.close()
        if self._web is not None:
            self._web.close()
        self._alerts.close()
        self._relay.send_pending()
        self._database.close()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, and score stored versions meanwhile."""
        self._is_scoring = True
        while not stop.is_set():
            self.run_once()

    def run_job(self, job_id: str, stop: threading.Event) -> Job:
        """Work until one job is done or ``stop`` is set; return the job as it is then."""
        while True:
            job = find_job(self._database.rows, job_id)
            if job is None:
                raise LookupError(f"there is no job {job_id}")
            if job.state == "done" or stop.is_set():
                return job
            self.run_once()

    def run_once(self) -> None:
        """Receive alerts and scored events, record the ended step, begin the next one, publish."""
        busy = not self._is_new and self._executor.start(
            *self._active_jobs(), self._crash_guard.step_started
        )
        received = self._receive_alerts(
            FIRST_POLL_S if self._is_new else BUSY_S if busy else IDLE_S
        )
        self._is_new = False
        received += self._reconsider()
        if self._is_scoring and not self._is_new:
            received += self._record_scored()
        finished = self._executor.poll_finished(BUSY_S)
        if finished is not None:
            self._record_finished_step(finished)
        changed = finished is not None and finished.result is not None
        self._mlflow.follow(time.monotonic(), _wall_ms(), changed=changed)
        if received or finished is not None or self._unsent:
            self._unsent = not self._relay.send_pending()
        self.metrics.mark_loop_ran()
        self._report()

    def _report(self) -> None:
        """Send the heartbeat and check topics and workers, each when due."""
        now_s = time.monotonic()
        if now_s - self._reported_s >= HEARTBEAT_INTERVAL_S:
            self._reported_s = now_s
            jobs = active_jobs(self._database.rows)
            self._measure(jobs)
            heartbeat = TrainerHeartbeat(
                time_ms=_wall_ms(),
                models=sorted(self._context.factories),
                jobs=len(jobs),
                web="" if self._web is None else self._web.address,
            )
            self._alerts.commit_advisory(
                heartbeat_offsets(heartbeat, self._topic, self._alerts.positions)
            )
        if now_s - self._checked_s >= CHECK_INTERVAL_S:
            self._checked_s = now_s
            self._publish(self._monitor.check(now_s, _wall_ms()))
            self._publish(self._health(now_s))
            problems = (self._monitor.problem, self._scoring.problem, *self._mlflow.problems)
            self.metrics.see([problem for problem in problems if problem is not None])
            if self._detect_recreated_topics():
                self._alerts.close()
                self._alerts = self._reader()

    def _health(self, now_s: float) -> list[OutboundRecord]:
        """Return the health events of changes in the scoring of events, and in MLflow."""
        now_ms = _wall_ms()
        before = [self._scoring.problem, *self._mlflow.problems]
        now = [self._scoring.check(now_s, now_ms), *self._mlflow.check(now_s)]
        changed = changes([p for p in before if p], [p for p in now if p])
        return [health_record(self._topic, one, phase, now_ms) for phase, one in changed]

    def _publish(self, outbound_records: list[OutboundRecord]) -> None:
        if outbound_records:
            with self._database.transaction() as rows:
                enqueue(rows, outbound_records)
            self._unsent = True

    def _measure(self, jobs: list[Job]) -> None:
        for state in TRANSITIONS:
            if state != "done":
                self.metrics.active.labels(state).set(sum(job.state == state for job in jobs))
        self._lags = self._alerts.lags()
        for partition, lag in self._lags.items():
            self.metrics.lag.labels(str(partition)).set(lag)
        self.metrics.unsent.set(self._unsent)
        if self._scoring.status is not None:
            self.metrics.see_scoring(self._scoring.status)

    def _aliases(self) -> dict[str, dict[str, str]]:
        rows = self._database.rows
        return {model: aliases_of(rows, model) for model in champions(rows)}

    def _reader(self) -> AlertConsumer:
        start = positions(self._database.rows, self._topic)
        return AlertConsumer(self._client, self._topic, start, trainer_group(self._context.prefix))

    def _detect_recreated_topics(self) -> bool:
        """Return whether the alerts topic was recreated; cancel jobs of a recreated event topic."""
        alerts, events = self._topic, self._context.topics.events
        found = topic_ids(self._client, [alerts, events])
        with self._database.transaction() as rows:
            if events in found:
                retrain = self._context.topics.retrain
                ended = cancel_jobs_of_recreated_topic(
                    rows, events, found[events], retrain_topic=retrain
                )
                self._unsent = self._unsent or bool(ended)
            return alerts in found and detect_recreated_alert_topic(rows, alerts, found[alerts])

    def _active_jobs(self) -> tuple[list[Job], Callable[[Job], StepInputs]]:
        rows = self._database.rows

        def inputs(job: Job) -> StepInputs:
            stored = [manifest.version for manifest in self._context.registry.versions(job.model)]
            return StepInputs(
                excluded_ranges_of(rows, job.model, partial(self._context.features_of, job.model)),
                [*used_version_names(rows, job.model), *stored],
                excluded_sources_of(rows, job.model),
            )

        return active_jobs(rows), inputs

    def _receive_alerts(self, timeout_s: float) -> int:
        """Decide on the waiting alerts; return their number."""
        total = 0
        while received := self._alerts.poll(0.0 if total else timeout_s):
            for one in received:
                self._decide(one)
            total += len(received)
            if len(received) < BATCH:
                break
        return total

    def _decide(self, received: ReceivedRecord) -> None:
        failpoint("trainer.alert.received")
        with self._database.transaction() as rows:
            set_positions(rows, self._topic, {received.partition: received.offset + 1})
            alert = received.alert
            decision = (
                None
                if alert is None
                else handle_alert(rows, alert, self._context, wall_ms=_wall_ms())
            )
        failpoint("trainer.alert.decided")
        if decision is None or alert is None:
            self.metrics.skipped.inc()
        else:
            self.metrics.alerts.labels(escape(alert.model), decision.action, decision.rule).inc()
        if alert is not None and decision is not None:
            _log_decision(alert, decision)

    def _reconsider(self) -> int:
        """Decide again on deferred alerts; return how many were decided on."""
        total = 0
        for waiting in deferred_alerts(self._database.rows):
            with self._database.transaction() as rows:
                decision = reconsider(rows, waiting, self._context, wall_ms=_wall_ms())
            if decision is not None:
                _log_decision(waiting.alert, decision)
                total += 1
        return total

    def _record_scored(self) -> int:
        """Record what the scorer process has sent; return the number of jobs that it caused."""
        now_s, rows = time.monotonic(), self._database.rows
        in_service = champions(rows)
        if self._scoring.must_skip:
            with self._database.transaction() as rows:
                forget_positions(rows)
        self._scoring.follow(in_service, lambda model: label_positions(rows, model), now_s)
        n_jobs = 0
        for scored in self._scoring.poll(now_s):
            failpoint("trainer.labels.scored")
            with self._database.transaction() as rows:
                recorded = record_scored(rows, scored, self._context)
            failpoint("trainer.labels.recorded")
            if recorded is None:
                self._scoring.restart()
                break
            self.metrics.count_scored(scored, recorded)
            for job in recorded.jobs:
                log.info(job.work.rule, model=job.model, reason=job.work.reason)
            n_jobs += len(recorded.jobs)
        return n_jobs

    def _record_result(self, job: Job, result: StepResult) -> StepResult:
        """Record a result; a result that cannot be recorded fails the job."""
        try:
            with self._database.transaction() as rows:
                record_result(rows, self._context.topics.retrain, job, result)
        except (LookupError, sqlite3.Error):
            raise
        except Exception as error:  # noqa: BLE001 - such as numbers that SQLite cannot store
            result = failure(job, error)
            with self._database.transaction() as rows:
                record_result(rows, self._context.topics.retrain, job, result)
        return result

    def _record_finished_step(self, finished: FinishedStep) -> None:
        job, result, caught_up = finished
        if result is None:
            (self._crash_guard.step_survived if caught_up else self._crash_guard.step_interrupted)(
                job
            )
            return
        try:
            result = self._record_result(job, result)
        except LookupError:  # cancelled while its step ran
            return
        if job.state == "promoting":
            failpoint("trainer.promoting.recorded")
        for step_event in result.step_events:
            log.info(
                step_event.step, model=job.model, rule=step_event.rule, reason=step_event.reason
            )
        if result.after.state == "done":
            self.metrics.jobs.labels(escape(job.model), result.after.outcome or "done").inc()
            failpoint("trainer.job.finished")
