"""The trainer: hears alerts, takes jobs through their states, publishes what it did.

The database belongs to this loop; each turn records at most one step.  Killed anywhere, it starts
from what is recorded.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import structlog
from confluent_kafka import KafkaException

from producer.failpoint import failpoint
from stream_monitor.contracts import DriftAlert
from stream_monitor.presence import EVERY_S, Presence, commits_of, group_of, monitor_group
from trainer.decision import Decision
from trainer.jobs import Database, Job, Letter, active_jobs, find_job, put
from trainer.jobs.deferred import deferred
from trainer.jobs.job import NEXT
from trainer.jobs.ledger import positions, restart, set_positions, spans_of, versions_taken
from trainer.runtime.bench import WORK_FOLDER, Bench, Facts
from trainer.runtime.change import Change, apply
from trainer.runtime.hearing import BATCH, AlertReader, Heard, reconsider, record
from trainer.runtime.monitor_watch import MonitorWatch
from trainer.runtime.relay import Relay
from trainer.runtime.topics import note_alerts, note_events, topic_ids
from trainer.runtime.trials import Trials
from trainer.runtime.web import STALL_S, TrainerMetrics, TrainerWeb
from trainer.runtime.workshop import Finished, Workshop, failure

log = structlog.get_logger(__name__)

IDLE_S: Final = 0.1
LOOK_S: Final = 15.0
"""Between two looks at whether a topic was made anew."""
BUSY_S: Final = 0.01
FIRST_S: Final = 2.0
"""How long the first alert may take: jobs wait for those that would cancel them."""
_ELSEWHERE: Final = (KafkaException, sqlite3.Error, OSError)
"""Errors that say nothing against a job."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _log(alert: DriftAlert, decision: Decision) -> None:
    if decision.action != "ignore":
        log.info(
            decision.action,
            model=alert.model,
            series=alert.series,
            rule=decision.rule,
            reason=decision.reason,
        )


class Trainer:
    """The one trainer of a home; the caller holds its lock.  Use as a context manager.

    Raises:
        KafkaException: nobody answers, or there is no alerts topic.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._topic = bench.topics.alerts
        self._client = bench.kafka.client()
        self._database = Database(bench.home)
        with self._database.transaction() as rows:
            restart(rows)
        self._unsent = True  # what a predecessor left
        self._topics_are_new()
        shutil.rmtree(bench.home / WORK_FOLDER, ignore_errors=True)  # of jobs that start again
        self._alerts = self._reader()
        self._relay = Relay(self._client, self._database)
        group, events = monitor_group(bench.prefix), bench.topics.events
        self._monitor = MonitorWatch(self._client, group, events, self._topic)
        self._workshop = Workshop(bench)
        self._trials = Trials(self._database)
        self._is_new = True
        self._reported_s = self._looked_s = time.monotonic()
        self.metrics = TrainerMetrics()
        self._lags: dict[int, int] = {}
        self._web: TrainerWeb | None = None

    def serve(self) -> str:
        """Serve health and metrics; answers the address, empty where the settings say no.

        Raises:
            PortInUse: the port that was set is in use.
        """
        web = self._bench.web
        if web.enabled:
            self._web = TrainerWeb(web.host, web.port, self.metrics, self.readiness)
            log.info("listening", address=self._web.address)
        return self._web.address if self._web is not None else ""

    def readiness(self) -> dict[str, Any]:
        """Whether it receives alerts and publishes events, for ``/readyz``."""
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

        ``error`` is what ended us, if it was not a person.  Only of those that are no job's doing
        a job is cleared, and at once: whoever waits for the step may lose patience.
        """
        if error is None or not isinstance(error, Exception) or isinstance(error, _ELSEWHERE):
            with contextlib.suppress(sqlite3.Error):  # the disk is full: that is told elsewhere
                self._trials.close()
        self._workshop.close()
        if self._web is not None:
            self._web.close()
        self._alerts.close()
        self._relay.turn()
        self._database.close()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set."""
        while not stop.is_set():
            self.turn()

    def run_job(self, job_id: str, stop: threading.Event) -> Job:
        """Work until one job is done, or ``stop`` is set; answers the job as it is then."""
        while True:
            job = find_job(self._database.rows, job_id)
            if job is None:
                raise LookupError(f"there is no job {job_id}")
            if job.state == "done" or stop.is_set():
                return job
            self.turn()

    def turn(self) -> None:
        """Hear what there is, record the step that is over, begin the next one, publish."""
        busy = not self._is_new and self._workshop.start(*self._work(), self._trials.begin)
        heard = self._hear(FIRST_S if self._is_new else BUSY_S if busy else IDLE_S)
        self._is_new = False
        heard += self._reconsider()
        finished = self._workshop.finished(BUSY_S)
        if finished is not None:
            self._record(finished)
        if heard or finished is not None or self._unsent:
            self._unsent = not self._relay.turn()
        self.metrics.turned()
        self._report()

    def _report(self) -> None:
        """Let others see how far it got, and look whether the topics are still the same."""
        now_s = time.monotonic()
        if now_s - self._reported_s >= EVERY_S:
            self._reported_s = now_s
            jobs = active_jobs(self._database.rows)
            self._measure(jobs)
            presence = Presence(
                time_ms=_wall_ms(),
                models=sorted(self._bench.factories),
                jobs=len(jobs),
                web="" if self._web is None else self._web.address,
            )
            self._alerts.advise(commits_of(presence, self._topic, self._alerts.positions))
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._publish(self._monitor.look(now_s, _wall_ms()))
            self.metrics.see(self._monitor.problem)
            if self._topics_are_new():
                self._alerts.close()
                self._alerts = self._reader()

    def _publish(self, letters: list[Letter]) -> None:
        if letters:
            with self._database.transaction() as rows:
                put(rows, letters)
            self._unsent = True

    def _measure(self, jobs: list[Job]) -> None:
        for state in NEXT:
            if state != "done":
                self.metrics.active.labels(state).set(sum(job.state == state for job in jobs))
        self._lags = self._alerts.lags()
        for partition, lag in self._lags.items():
            self.metrics.lag.labels(str(partition)).set(lag)
        self.metrics.unsent.set(self._unsent)

    def _reader(self) -> AlertReader:
        start = positions(self._database.rows, self._topic)
        return AlertReader(self._client, self._topic, start, group_of(self._bench.prefix))

    def _topics_are_new(self) -> bool:
        """Whether the alerts topic is another than before; jobs on another event topic end."""
        alerts, events = self._topic, self._bench.topics.events
        found = topic_ids(self._client, [alerts, events])
        with self._database.transaction() as rows:
            if events in found:
                retrain = self._bench.topics.retrain
                ended = note_events(rows, events, found[events], retrain_topic=retrain)
                self._unsent = self._unsent or bool(ended)
            return alerts in found and note_alerts(rows, alerts, found[alerts])

    def _work(self) -> tuple[list[Job], Callable[[Job], Facts]]:
        rows = self._database.rows

        def facts(job: Job) -> Facts:
            stored = [manifest.version for manifest in self._bench.registry.versions(job.model)]
            return Facts(spans_of(rows, job.model), [*versions_taken(rows, job.model), *stored])

        return active_jobs(rows), facts

    def _hear(self, timeout_s: float) -> int:
        """Decide on the alerts that are there; how many there were."""
        total = 0
        while heard := self._alerts.poll(0.0 if total else timeout_s):
            for one in heard:
                self._decide(one)
            total += len(heard)
            if len(heard) < BATCH:
                break
        return total

    def _decide(self, heard: Heard) -> None:
        failpoint("trainer.alert.heard")
        with self._database.transaction() as rows:
            set_positions(rows, self._topic, {heard.partition: heard.offset + 1})
            alert = heard.alert
            decision = (
                None if alert is None else record(rows, alert, self._bench, wall_ms=_wall_ms())
            )
        failpoint("trainer.alert.decided")
        if decision is None or alert is None:
            self.metrics.skipped.inc()
        else:
            self.metrics.alerts.labels(alert.model, decision.action, decision.rule).inc()
        if alert is not None and decision is not None:
            _log(alert, decision)

    def _reconsider(self) -> int:
        """Decide again on what was refused for a while; how many were decided on."""
        total = 0
        for waiting in deferred(self._database.rows):
            with self._database.transaction() as rows:
                decision = reconsider(rows, waiting, self._bench, wall_ms=_wall_ms())
            if decision is not None:
                _log(waiting.alert, decision)
                total += 1
        return total

    def _applied(self, job: Job, change: Change) -> Change:
        """Record a change; of one that cannot be recorded the job has failed."""
        try:
            with self._database.transaction() as rows:
                apply(rows, self._bench.topics.retrain, job, change)
        except (LookupError, sqlite3.Error):
            raise
        except Exception as error:  # noqa: BLE001 - numbers no database holds, and the like
            change = failure(job, error)
            with self._database.transaction() as rows:
                apply(rows, self._bench.topics.retrain, job, change)
        return change

    def _record(self, finished: Finished) -> None:
        job, change, caught_up = finished
        if change is None:
            (self._trials.survived if caught_up else self._trials.ended)(job)
            return
        try:
            change = self._applied(job, change)
        except LookupError:  # cancelled while its step ran
            return
        if job.state == "promoting":
            failpoint("trainer.promoting.recorded")
        for told in change.told:
            log.info(told.step, model=job.model, rule=told.rule, reason=told.reason)
        if change.after.state == "done":
            self.metrics.jobs.labels(job.model, change.after.outcome or "done").inc()
            failpoint("trainer.job.finished")
