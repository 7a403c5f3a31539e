"""Checks that a worker of the monitor is alive, because a dead monitor cannot report itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import ConsumerGroupState, KafkaException

from producer.kafka_client import admin_client
from stream_monitor.contracts import HEALTH_CE_TYPE, HealthPhase
from stream_monitor.health import HealthProblem, no_worker
from trainer.jobs.outbox import OutboundRecord

log = structlog.get_logger(__name__)

EMPTY_GROUP_S: Final = 25.0
"""A group without a member for this time has no worker; a restart takes less.

A killed member stays for the session timeout (10 s), and the trainer checks every 15 s, so the
event is published within a minute.
"""
_TIMEOUT_S: Final = 3.0
_WITHOUT_MEMBERS: Final = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)


class MonitorWatch:
    """Follows the members of the monitor's group; ``now_s`` is monotonic seconds."""

    def __init__(self, client: Mapping[str, Any], group: str, events: str, alerts: str) -> None:
        self._client, self._group = client, group
        self._events, self._alerts = events, alerts
        self._empty_since: tuple[float, int] | None = None
        self._open: HealthProblem | None = None
        self._failure = ""

    @property
    def problem(self) -> HealthProblem | None:
        """The problem that no worker is alive; ``None`` if a worker is."""
        return self._open

    def check(self, now_s: float, now_ms: int) -> list[OutboundRecord]:
        """Query Kafka; return the records to publish, none if Kafka does not answer."""
        try:
            has_members = self._has_members()
        except (KafkaException, TimeoutError) as error:
            self._note_failure(error)
            return []
        self._failure = ""
        return self.observe(now_s, now_ms, has_members=has_members)

    def _has_members(self) -> bool:
        """Whether Kafka lists the group, with members.

        It leaves out groups that the user must not describe: `driftline train` checks at its start
        that this user may.  Do not describe the group instead: see `admin_client`.
        """
        asked = admin_client(self._client).list_consumer_groups(request_timeout=_TIMEOUT_S)
        found = asked.result(2 * _TIMEOUT_S)
        states = [group.state for group in found.valid if group.group_id == self._group]
        if not states and found.errors:  # the broker that did not answer may be its coordinator
            raise KafkaException(found.errors[0])
        return any(state not in _WITHOUT_MEMBERS for state in states)

    def observe(self, now_s: float, now_ms: int, *, has_members: bool) -> list[OutboundRecord]:
        """Apply whether the group has members now; return the records to publish."""
        if has_members:
            over, self._open, self._empty_since = self._open, None, None
            if over is None:
                return []
            return [health_record(self._alerts, over, "resolved", now_ms)]
        since_s, since_ms = self._empty_since = self._empty_since or (now_s, now_ms)
        if self._open is not None or now_s - since_s <= EMPTY_GROUP_S:
            return []
        self._open = no_worker(self._group, self._events, since_ms)
        return [health_record(self._alerts, self._open, "started", now_ms)]

    def _note_failure(self, error: Exception) -> None:
        """Log once why Kafka does not return the members."""
        why = str(error) or type(error).__name__
        if why != self._failure:
            log.warning("cannot check whether a worker of the monitor is alive", why=why)
        self._failure = why


def health_record(
    topic: str, problem: HealthProblem, phase: HealthPhase, now_ms: int
) -> OutboundRecord:
    """Build the health event of a problem, for the alerts topic."""
    event = problem.event(phase, now_ms)
    value = msgspec.json.encode(event)
    return OutboundRecord(event.health_id, topic, problem.subject, HEALTH_CE_TYPE, value)
