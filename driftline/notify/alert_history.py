"""The alerts and health events that the notifier has read, grouped into subjects.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from driftline.notify.subjects import Subject, subjects_of_alerts, subjects_of_health
from driftline.topics.topic_reader import Record
from stream_monitor.contracts import HEALTH_CE_TYPE, DriftAlert, HealthEvent
from stream_monitor.episodes.incidents import Incident, IncidentPolicy, incidents_of

HEALTH: Final = ""
"""The group of the health events, which no model is named like."""


class StoredRecord(NamedTuple):
    """A record of the alerts topic that is kept: an alert, or a health event."""

    record_id: str
    is_health: bool
    body: bytes


class Unreadable(NamedTuple):
    """A record that is neither an alert nor a health event."""

    partition: int
    offset: int
    reason: str


def stored_record_of(record: Record) -> StoredRecord | Unreadable | None:
    """A record of the alerts topic to store; ``None`` for an alert of a drill."""
    if record.value is None:
        return Unreadable(record.partition, record.offset, "it has no value")
    try:
        if record.kind == HEALTH_CE_TYPE:
            event = msgspec.json.decode(record.value, type=HealthEvent)
            return StoredRecord(f"health/{event.health_id}", is_health=True, body=record.value)
        alert = msgspec.json.decode(record.value, type=DriftAlert)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Unreadable(record.partition, record.offset, str(error))
    if alert.drill or not alert.model:
        return None
    return StoredRecord(f"alert/{alert.alert_id}", is_health=False, body=record.value)


class AlertHistory:
    """All alerts by model, and the subjects that group them.

    ``members`` maps each episode of an incident to its subject, the earliest subject first.
    """

    def __init__(self, policy: IncidentPolicy, members: dict[str, str]) -> None:
        self._policy = policy
        self.members = members
        self._alerts: dict[str, dict[str, DriftAlert]] = {}
        self._health: dict[str, HealthEvent] = {}
        self._subjects: dict[str, list[Subject]] = {}
        self._stale: set[str] = set()

    def __len__(self) -> int:
        return len(self._health) + sum(map(len, self._alerts.values()))

    def add(self, records: Iterable[StoredRecord]) -> None:
        """Add records; repeats change nothing."""
        for record in records:
            if record.is_health:
                event = msgspec.json.decode(record.body, type=HealthEvent)
                self._health[record.record_id] = event
                self._stale.add(HEALTH)
            else:
                alert = msgspec.json.decode(record.body, type=DriftAlert)
                self._alerts.setdefault(alert.model, {})[record.record_id] = alert
                self._stale.add(alert.model)

    def regroup(self) -> dict[str, str]:
        """Group the records added since the last call; return what changed in ``members``."""
        changed: dict[str, str] = {}
        for group in sorted(self._stale):
            if group == HEALTH:
                self._subjects[group] = subjects_of_health(self._health.values())
                continue
            found = subjects_of_alerts(
                list(self._alerts[group].values()), self._policy, self.members
            )
            self._subjects[group] = found.subjects
            for subject in found.subjects:
                if subject.source != "incident":
                    continue
                for episode in subject.episodes:
                    if self.members.get(episode.episode_id) != subject.subject_id:
                        changed[episode.episode_id] = subject.subject_id
            self._subjects[group] += _ends_of_absorbed(found.subjects, found.absorbed)
        self._stale.clear()
        self.members |= changed
        return changed

    def subjects(self) -> list[Subject]:
        """All subjects, as of the last `regroup`."""
        return [subject for of_group in self._subjects.values() for subject in of_group]

    def incidents(self) -> list[Incident]:
        """All incidents, for the digest."""
        alerts = [alert for of_model in self._alerts.values() for alert in of_model.values()]
        return incidents_of(alerts, self._policy)

    def forget(self, subject: Subject) -> list[str]:
        """Remove an ended subject; return the ids of its records."""
        if subject.source == "health":
            gone = [n for n, e in self._health.items() if e.problem_id == subject.subject_id]
            for name in gone:
                del self._health[name]
        else:
            episodes = {episode.episode_id for episode in subject.episodes}
            of_model = self._alerts.get(subject.model, {})
            gone = [name for name, alert in of_model.items() if alert.episode_id in episodes]
            for name in gone:
                del of_model[name]
            for episode_id in episodes:
                self.members.pop(episode_id, None)
        group = HEALTH if subject.source == "health" else subject.model
        self._subjects[group] = [
            one for one in self._subjects[group] if one.subject_id != subject.subject_id
        ]
        return gone


def _ends_of_absorbed(subjects: list[Subject], absorbed: dict[str, str]) -> list[Subject]:
    """The ends of subjects whose episodes belong to another one now."""
    by_id = {subject.subject_id: subject for subject in subjects}
    return [
        msgspec.structs.replace(
            by_id[new],
            subject_id=old,
            closed_ms=by_id[new].opened_ms,
            explanation="This incident is a part of another one of the model.",
            episodes=[],
        )
        for old, new in absorbed.items()
    ]
