"""The notifier's loop: reads alerts, decides the messages of each target, and sends them.

Alerts and positions are stored before anything is sent, and a message counts as sent when its
target has accepted it.  After a crash at any moment the notifier continues from what is stored.
It only reads the alerts topic: a target that fails delays nothing but its own messages.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import structlog

from driftline.notify.alert_feed import AlertFeed, FeedProblem
from driftline.notify.alert_history import AlertHistory, Unreadable, stored_record_of
from driftline.notify.delivery import Message, sender_of
from driftline.notify.failing_targets import concerns, subjects_of_targets
from driftline.notify.heartbeat import (
    NotifierHeartbeat,
    heartbeat_of,
    heartbeat_text,
    notifier_group,
    notifier_heartbeat,
)
from driftline.notify.messages import digest_text
from driftline.notify.metrics import STALL_S, NotifyMetrics
from driftline.notify.notice_store import FirstSeen, NoticeStore
from driftline.notify.plan import Pace, Sent, TargetState, closes_silently, due_action
from driftline.notify.routing import Route, targets_of
from driftline.notify.settings import Settings
from driftline.notify.standby import RoleDecision
from driftline.notify.subjects import Subject
from driftline.notify.target import Digest, Outcome, Target
from driftline.topics.incident_digest import digests
from stream_monitor.web import WebServer

log = structlog.get_logger(__name__)

DEFAULT_PORT: Final = 8795
IDLE_S: Final = 1.0
BUSY_S: Final = 0.05
CHECK_INTERVAL_S: Final = 5.0
START_CHECK_INTERVAL_S: Final = 0.5
"""Time between two checks until alerts are read."""
DAY_MS: Final = 86_400_000
KEPT_MS: Final = 30 * DAY_MS
"""Ended incidents are forgotten after this time: no later episode can belong to them."""
MAX_RECORDS: Final = 100_000
"""Above it the oldest ended incidents are forgotten sooner."""
PRUNE_INTERVAL_S: Final = 3_600.0
MAX_THREADS: Final = 16


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Notifier:
    """The notifier of a data directory; a context manager.  ``wall_ms`` is the clock (ms).

    Of several notifiers of a prefix one sends; the others read alerts, and take over at its end.

    Raises:
        NotifierAlreadyRunning: another notifier uses the data directory.
        InvalidSetting: the URL or a secret of a target cannot be used.
    """

    def __init__(self, settings: Settings, *, wall_ms: Callable[[], int] = _wall_ms) -> None:
        notify = settings.notify
        self._wall_ms = wall_ms
        self._settings = notify
        self._topic = settings.topics.alerts
        self._routes = [
            Route(
                targets=route.targets,
                models=route.models,
                kinds=route.kinds,
                min_severity=route.min_severity,
            )
            for route in notify.routes
        ] or [Route(targets=sorted(notify.targets))]
        self._pace = Pace(
            group_wait_ms=int(notify.group_wait_s * 1000),
            update_interval_ms=int(notify.update_interval_s * 1000),
        )
        senders = {
            name: sender_of(
                name, target, dashboard_url=notify.dashboard_url, timeout_s=notify.timeout_s
            )
            for name, target in notify.targets.items()
        }
        self._store = NoticeStore(notify.data_dir)
        states = self._store.target_states()
        routing = msgspec.json.encode([self._routes, sorted(senders)]).decode()
        self._routing_since_ms = self._store.routing_since_ms(routing, self._wall_ms())
        self.targets = {
            name: Target(
                name,
                senders[name],
                target.schedule(),
                states.get(name, TargetState()),
                sends_resolved=target.resolved,
            )
            for name, target in notify.targets.items()
        }
        self._sent = self._store.sent()
        self._seen = self._store.first_seen()
        self._has_caught_up = self._store.has_caught_up()
        self._history = AlertHistory(settings.incident_policy(), self._store.members())
        self._history.add(self._store.records())
        self._feed = AlertFeed(
            settings.kafka.client(),
            self._topic,
            notifier_group(settings.topics.prefix),
            self._store.positions(self._topic),
        )
        self._id, self._started_ms = self._store.notifier_id(), self._wall_ms()
        self._decision = RoleDecision(self._id, self._started_ms)
        self.metrics = NotifyMetrics()
        self.problem: FeedProblem | None = FeedProblem("it was not asked yet", "wait a moment")
        self._checked_s = self._pruned_s = -PRUNE_INTERVAL_S
        self._executor = ThreadPoolExecutor(max(1, min(MAX_THREADS, len(self.targets))), "send")
        self._web: WebServer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def serve(self) -> str:
        """Serve health and metrics; return the address, empty if the settings disable it.

        Raises:
            PortInUse: the port that was set is in use.
        """
        if self._settings.web.enabled:
            self._web = WebServer(
                self._settings.web,
                "notify.web",
                DEFAULT_PORT,
                health=self.health,
                readiness=self.readiness,
                metrics=self.metrics.text,
            )
            log.info("listening", address=self._web.address)
        return "" if self._web is None else self._web.address

    def health(self) -> dict[str, Any]:
        """Whether the loop runs, and what is wrong with each target, for ``/healthz``."""
        age_s = self.metrics.loop_age_s()
        return {
            "alive": age_s < STALL_S,
            "loop_age_s": round(age_s, 1),
            "role": self._decision.role,
            **_described_sender(self._decision.other),
            "targets": {name: _described(target.state) for name, target in self.targets.items()},
        }

    def readiness(self) -> dict[str, Any]:
        """Whether alerts are read, for ``/readyz``; a failing target does not change it."""
        problem = self.problem
        return {
            **self.health(),
            "ready": problem is None and self._has_caught_up,
            "kafka": "connected" if problem is None else f"{problem.why}. {problem.fix}",
            "alerts_lag": self._feed.lags,
        }

    def close(self) -> None:
        """Wait for messages in transit, at most their timeout, and close everything."""
        self._executor.shutdown(wait=True)
        for target in self.targets.values():
            self._record(target, target.finished(wait=True))
        if self.problem is None and self._decision.role != "standby":
            self._feed.commit(heartbeat_text(self._heartbeat(stopped=True)))
        if self._web is not None:
            self._web.close()
        self._feed.close()
        self._store.close()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set."""
        while not stop.is_set():
            self.run_once()

    def run_once(self) -> None:
        """Read new records, and send the messages that are due."""
        now_s = time.monotonic()
        is_starting = not self._has_caught_up or self._decision.role == "candidate"
        is_reading = self.problem is None and not is_starting
        interval_s = CHECK_INTERVAL_S if is_reading else START_CHECK_INTERVAL_S
        if now_s - self._checked_s >= interval_s:
            self._check()
            self._checked_s = time.monotonic()
        is_busy = any(not target.is_free(1 << 62) for target in self.targets.values())
        self._receive(BUSY_S if is_busy else IDLE_S)
        self._regroup(self._wall_ms())
        for target in self.targets.values():
            self._record(target, target.finished())
        if self._has_caught_up and self._decision.role == "sender":
            self._send_due(self._wall_ms())
        if now_s - self._pruned_s >= PRUNE_INTERVAL_S or len(self._history) > MAX_RECORDS:
            self._pruned_s = now_s
            self._prune(self._wall_ms())
        self.metrics.mark_loop_ran()

    def _check(self) -> None:
        """Ask Kafka for the end of the topic; report when it is away, and when it is back."""
        problem = self._feed.check()
        if problem is not None and (problem != self.problem):
            log.warning(
                "alerts cannot be read; notifications resume automatically",
                why=problem.why,
                fix=problem.fix,
            )
        elif problem is None and self.problem is not None:
            log.info("alerts are read", topic=self._topic, targets=sorted(self.targets))
        self.problem = problem
        self.metrics.connected.set(problem is None)
        if problem is None:
            for partition, lag in self._feed.lags.items():
                self.metrics.lag.labels(str(partition)).set(lag)
            self._decide_role(heartbeat_of(self._feed.committed_texts()))
            if self._decision.role != "standby":
                self._feed.commit(heartbeat_text(self._heartbeat()))
            if not self._has_caught_up and not any(self._feed.lags.values()):
                self._catch_up()
        elif self._decision.role == "candidate":
            self._decide_role(None)  # messages that wait are sent without Kafka, too

    def _decide_role(self, seen: NotifierHeartbeat | None) -> None:
        """Become the notifier that sends, or the standby of another; report a change."""
        before = self._decision.role
        role = self._decision.decide(seen, self._wall_ms())
        self.metrics.sending.set(role == "sender")
        if role == "standby" and before != "standby":
            for target in self.targets.values():
                self.metrics.pending.labels(target.name).set(0)
            log.info(
                "another notifier sends the messages; this one takes over when that one ends",
                **_described_sender(self._decision.other)["sender"],
                fix="none if a standby is intended; else stop one of them, or give them different "
                "[topics] prefixes",
            )
        elif role != "standby" and before == "standby":
            log.warning("the other notifier has ended; this one takes over")
            if self._has_caught_up:
                self._catch_up()

    def _heartbeat(self, *, stopped: bool = False) -> NotifierHeartbeat:
        states = {name: target.state for name, target in self.targets.items()}
        address = "" if self._web is None else self._web.address
        return msgspec.structs.replace(
            notifier_heartbeat(states, self._wall_ms(), address),
            notifier_id=self._id,
            started_ms=self._started_ms,
            host=socket.gethostname(),
            pid=os.getpid(),
            sends=self._decision.role == "sender",
            stopped=stopped,
        )

    def _catch_up(self) -> None:
        """All earlier alerts have been read: what has ended by now needs no message.

        Called at the first start, and when a standby takes over.
        """
        self._regroup(self._wall_ms())
        ended = [one for one in self._history.subjects() if one.closed_ms is not None]
        old = {one.subject_id: FirstSeen(self._wall_ms(), is_old=True) for one in ended}
        with self._store.transaction():
            self._store.set_first_seen(old)
            self._store.set_caught_up()
        self._seen |= old
        self._has_caught_up = True

    def _receive(self, timeout_s: float) -> None:
        """Store the next alerts together with the positions after them."""
        received = self._feed.poll(timeout_s)
        if not received:
            return
        stored = []
        for record in received:
            found = stored_record_of(record)
            if isinstance(found, Unreadable):
                self.metrics.records.labels("unreadable").inc()
                log.warning("skipped a record that is not an alert", **found._asdict())
            elif found is None:
                self.metrics.records.labels("drill").inc()
            else:
                self.metrics.records.labels("health" if found.is_health else "alert").inc()
                stored.append(found)
        with self._store.transaction():
            self._store.add_records(stored)
            self._store.set_positions(self._topic, self._feed.positions)
        self._history.add(stored)

    def _regroup(self, now_ms: int) -> None:
        """Group new alerts into subjects, and record those that are new."""
        changed = self._history.regroup()
        new = [s for s in self._history.subjects() if s.subject_id not in self._seen]
        if not changed and not new:
            return
        seen = {one.subject_id: FirstSeen(now_ms, is_old=False) for one in new}
        with self._store.transaction():
            self._store.set_members(changed)
            self._store.set_first_seen(seen)
        self._seen |= seen
        for subject in new:
            is_news = self._has_caught_up or subject.closed_ms is None
            if is_news and not targets_of(subject, self._routes):
                self.metrics.unrouted.inc()
                log.info(
                    "no route matches",
                    model=subject.model,
                    kinds=subject.kinds,
                    severity=subject.severity,
                    fix="none if it should not be sent; else add a route to [[notify.routes]]",
                )

    def _send_due(self, now_ms: int) -> None:
        reported = [s for (_, s), sent in self._sent.items() if sent.is_open]
        states = {name: target.state for name, target in self.targets.items()}
        subjects = self._history.subjects() + subjects_of_targets(states, reported, now_ms)
        routed = {s.subject_id: targets_of(s, self._routes) for s in subjects}
        for target in self.targets.values():
            due = [
                message
                for subject in subjects
                if not concerns(subject, target.name)
                and (message := self._due(subject, target, routed[subject.subject_id], now_ms))
            ]
            self.metrics.pending.labels(target.name).set(len(due))
            self.metrics.failing.labels(target.name).set(target.state.failures > 0)
            if target.is_free(now_ms):
                item = target.next_of(due) or self._due_digest(target, now_ms)
                if item is not None:
                    target.start(item, self._executor)
        self.metrics.open.set(sum(one.closed_ms is None for one in subjects))

    def _due(
        self, subject: Subject, target: Target, routed: set[str], now_ms: int
    ) -> Message | None:
        sent = self._sent.get((target.name, subject.subject_id))
        seen = self._seen.get(subject.subject_id, FirstSeen(0, is_old=False))
        is_past = seen.is_old or seen.time_ms < self._routing_since_ms
        if sent is None and (
            target.name not in routed or (is_past and subject.closed_ms is not None)
        ):
            return None  # also where the target, or the route to it, is newer than the incident
        if closes_silently(subject, sent, sends_resolved=target.sends_resolved):
            self._mark_sent(target, subject, now_ms)
            return None
        action = due_action(
            subject,
            sent,
            in_place=target.sender.in_place,
            sends_resolved=target.sends_resolved,
            schedule=target.schedule,
            pace=self._pace,
            first_seen_ms=seen.time_ms,
            now_ms=now_ms,
        )
        return None if action is None else Message(subject, action)

    def _due_digest(self, target: Target, now_ms: int) -> Digest | None:
        due_ms = target.schedule.latest_digest_ms(now_ms)
        if due_ms is None:
            return None
        if target.state.digest_ms is None:  # the first digest comes at its next time
            self._set_state(target, target.state.with_digest(due_ms))
        if (target.state.digest_ms or due_ms) >= due_ms:
            return None
        since_ms = due_ms - DAY_MS
        recent = [
            incident
            for incident in self._history.incidents()
            if incident.closed_ms is None or incident.closed_ms >= since_ms
        ]
        return Digest(digest_text(digests(recent, DAY_MS), self._settings.dashboard_url), due_ms)

    def _record(self, target: Target, outcome: Outcome | None) -> None:
        """Record what a target has accepted, or why it has not."""
        if outcome is None:
            return
        now_ms, before = self._wall_ms(), target.state
        if outcome.error is None:
            self.metrics.messages.labels(target.name, "sent").inc()
            state = before.after_success(now_ms)
            if isinstance(outcome.item, Digest):
                state = state.with_digest(outcome.item.due_ms)
            with self._store.transaction():
                self._set_state(target, state)
                if isinstance(outcome.item, Message):
                    self._mark_sent(target, outcome.item.subject, now_ms)
            _log_sent(target.name, outcome.item, is_recovery=before.failures > 0)
            return
        self.metrics.messages.labels(target.name, "failed").inc()
        error, fix = str(outcome.error), outcome.error.fix
        longest_ms = int(self._settings.max_retry_interval_s * 1000)
        state = before.after_failure(error, fix, now_ms, longest_ms)
        self._set_state(target, state)
        if error != before.error:
            log.warning(
                "a message could not be sent; it is retried until the target accepts it",
                target=target.name,
                why=error,
                fix=fix,
                retry_in_s=(state.next_attempt_ms - now_ms) / 1000,
            )

    def _mark_sent(self, target: Target, subject: Subject, now_ms: int) -> None:
        sent = Sent(
            severity=subject.severity,
            is_open=subject.closed_ms is None,
            content=subject.content,
            sent_ms=now_ms,
        )
        self._store.set_sent(target.name, subject.subject_id, sent)
        self._sent[target.name, subject.subject_id] = sent

    def _set_state(self, target: Target, state: TargetState) -> None:
        self._store.set_target_state(target.name, state)
        target.state = state

    def _prune(self, now_ms: int) -> None:
        """Forget subjects that ended long ago, and whose end no target waits for."""
        waiting = {s for (t, s), sent in self._sent.items() if sent.is_open and t in self.targets}
        ended = [
            one
            for one in self._history.subjects()
            if one.closed_ms is not None and one.subject_id not in waiting
        ]
        ended.sort(key=lambda one: self._seen[one.subject_id].time_ms)
        for subject in ended:
            is_old = now_ms - self._seen[subject.subject_id].time_ms >= KEPT_MS
            if not is_old and len(self._history) <= MAX_RECORDS:
                break
            records = self._history.forget(subject)
            with self._store.transaction():
                self._store.forget([subject.subject_id], records)
            del self._seen[subject.subject_id]
            for target in self.targets:
                self._sent.pop((target, subject.subject_id), None)


def _log_sent(target: str, item: Message | Digest, *, is_recovery: bool) -> None:
    what: dict[str, str] = {"action": "digest"}
    if isinstance(item, Message):
        subject = item.subject
        what = {"action": item.action, "model": subject.model, "title": subject.title}
    if is_recovery:
        log.info("the target accepts messages once more", target=target)
    log.info("message sent", target=target, **what)


def _described_sender(other: NotifierHeartbeat | None) -> dict[str, Any]:
    """The notifier that sends instead of this one, for logs and ``/healthz``."""
    if other is None:
        return {}
    return {"sender": {"host": other.host, "pid": other.pid, "pages": other.web}}


def _described(state: TargetState) -> dict[str, Any]:
    """The state of a target for ``/healthz``: what is wrong, and what to do."""
    if not state.failures:
        return {"state": "ok", "last_success_ms": state.succeeded_ms}
    return {
        "state": "failing",
        "failures": state.failures,
        "failing_since_ms": state.failing_since_ms,
        "why": state.error,
        "fix": state.fix,
    }
