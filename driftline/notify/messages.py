"""Messages about a subject: text for people, JSON for Alertmanager and PagerDuty.  Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from driftline.notify.plan import Action
from driftline.notify.subjects import Episode, Subject
from driftline.topics.incident_digest import Digest, lines_of
from stream_monitor.contracts import Severity

MAX_EPISODES: Final = 5
"""Episodes that a message names; it counts the others."""
_STATE: Final[dict[Action, str]] = {"open": "", "update": "now ", "resolve": "resolved, was "}


class Text(NamedTuple):
    """The title and the body of a message, as plain text."""

    title: str
    body: str
    severity: Severity
    is_resolved: bool


def link_to(dashboard_url: str, subject: Subject) -> str:
    """The page of the subject in the dashboard; empty without a dashboard."""
    base = dashboard_url.rstrip("/")
    if not base or subject.source == "health":
        return base
    if subject.source == "incident":
        return f"{base}/incidents/{subject.incident_id}"
    return f"{base}/"


def title_of(subject: Subject, action: Action) -> str:
    """One line: state, severity, model, and the likeliest cause."""
    state = f"[{_STATE[action]}{subject.severity}]"
    where = f"{subject.model}: " if subject.model else ""
    n = len(subject.episodes)
    many = f" ({n} episodes)" if n > 1 else ""
    return f"{state} {where}{subject.title}{many}"


def text_of(subject: Subject, action: Action, dashboard_url: str) -> Text:
    """The message for a chat or a mail."""
    lines = [subject.explanation]
    if subject.fix:
        lines.append(f"To do: {subject.fix}")
    if len(subject.episodes) > 1:
        shown = sorted(subject.episodes, key=lambda one: one.ended_ms is not None)[:MAX_EPISODES]
        lines.append("")
        lines += [
            f"- {one.explanation}{'' if one.ended_ms is None else ' (resolved)'}" for one in shown
        ]
        if len(subject.episodes) > MAX_EPISODES:
            lines.append(f"- and {len(subject.episodes) - MAX_EPISODES} more")
    if subject.acknowledged_by:
        lines += ["", f"Acknowledged by {subject.acknowledged_by}."]
    link = link_to(dashboard_url, subject)
    if link:
        lines += ["", link]
    return Text(title_of(subject, action), "\n".join(lines), subject.severity, action == "resolve")


def digest_text(digests: list[Digest], dashboard_url: str) -> Text:
    """The daily summary: the incidents of each model in the last 24 hours."""
    n = sum(one.opened for one in digests)
    still_open = sum(one.still_open for one in digests)
    lines: list[str] = []
    for one in digests:
        lines += [*lines_of(one), ""]
    if not digests:
        lines = ["No incident was open in the last 24 hours.", ""]
    if dashboard_url:
        lines.append(dashboard_url)
    title = f"[digest] {n} incidents opened in the last 24 hours, {still_open} open"
    return Text(title, "\n".join(lines).strip(), "low", is_resolved=True)


MAX_ALERTS: Final = 100
"""Episodes in one webhook; the others are counted in ``truncatedAlerts``."""
MAX_SUMMARY: Final = 1_024
"""The longest summary that PagerDuty accepts."""
NO_TIME: Final = "0001-01-01T00:00:00Z"
"""The end of an alert that has not ended, as Alertmanager writes it."""
_PAGERDUTY_SEVERITY: Final[dict[Severity, str]] = {
    "low": "warning",
    "medium": "error",
    "high": "critical",
}


def webhook_of(subject: Subject, action: Action, target: str, dashboard_url: str) -> dict[str, Any]:
    """The body of Alertmanager's webhook, version 4: a group with one alert for each episode.

    ``groupKey`` is the same in every message about the subject, and ``fingerprint`` in every
    message about the episode.
    """
    shown = subject.episodes[:MAX_ALERTS]
    alerts = [_alert(subject, episode, dashboard_url) for episode in shown]
    if not alerts:
        alerts = [_alert(subject, _as_episode(subject), dashboard_url)]
    labels = [alert["labels"] for alert in alerts]
    annotations = [alert["annotations"] for alert in alerts]
    return {
        "version": "4",
        "groupKey": f'{{}}:{{subject="{subject.subject_id}"}}',
        "truncatedAlerts": len(subject.episodes) - len(shown),
        "status": "firing" if subject.closed_ms is None else "resolved",
        "receiver": target,
        "groupLabels": {"subject": subject.subject_id},
        "commonLabels": _common(labels),
        "commonAnnotations": {
            **_common(annotations),
            "title": title_of(subject, action),
            "explanation": subject.explanation,
        },
        "externalURL": dashboard_url,
        "alerts": alerts,
    }


def _as_episode(subject: Subject) -> Episode:
    """A subject without episodes as one: a problem of driftline's own processes."""
    return Episode(
        episode_id=subject.subject_id,
        version="",
        series="",
        kind=subject.kinds[0],
        severity=subject.severity,
        started_ms=subject.opened_ms,
        ended_ms=subject.closed_ms,
        explanation=subject.explanation,
    )


def _alert(subject: Subject, episode: Episode, dashboard_url: str) -> dict[str, Any]:
    labels = {
        "alertname": "DriftlineHealth" if subject.source == "health" else "DriftlineDrift",
        "subject": subject.subject_id,
        "severity": episode.severity,
        "kind": episode.kind,
        "model": subject.model,
        "version": episode.version,
        "series": episode.series,
    }
    annotations = {"summary": episode.explanation}
    if subject.fix:
        annotations["fix"] = subject.fix
    if subject.acknowledged_by:
        annotations["acknowledged_by"] = subject.acknowledged_by
    return {
        "status": "firing" if episode.ended_ms is None else "resolved",
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": annotations,
        "startsAt": _rfc3339(episode.started_ms),
        "endsAt": NO_TIME if episode.ended_ms is None else _rfc3339(episode.ended_ms),
        "generatorURL": link_to(dashboard_url, subject),
        "fingerprint": episode.episode_id[:16],
    }


def _common(rows: list[dict[str, str]]) -> dict[str, str]:
    """The pairs that all rows have."""
    first, *others = rows
    return {k: v for k, v in first.items() if all(row.get(k) == v for row in others)}


def pagerduty_event_of(
    subject: Subject, action: Action, routing_key: str, dashboard_url: str
) -> dict[str, Any]:
    """An event of PagerDuty's Events API v2; its ``dedup_key`` is the same for all messages."""
    text = text_of(subject, action, dashboard_url)
    kind = "trigger"
    if action == "resolve":
        kind = "resolve"
    elif subject.acknowledged_by and action == "update":
        kind = "acknowledge"
    link = link_to(dashboard_url, subject)
    return {
        "routing_key": routing_key,
        "event_action": kind,
        "dedup_key": f"driftline/{subject.subject_id}",
        "payload": {
            "summary": f"{text.title}: {subject.explanation}"[:MAX_SUMMARY],
            "source": subject.model or "driftline",
            "severity": _PAGERDUTY_SEVERITY[subject.severity],
            "timestamp": _rfc3339(subject.opened_ms),
            "component": subject.model or "driftline",
            "group": subject.source,
            "class": subject.title,
            "custom_details": {"text": text.body, "kinds": subject.kinds},
        },
        "links": [{"href": link, "text": "Dashboard"}] if link else [],
    }


def _rfc3339(time_ms: int) -> str:
    """A time, clipped to the years that a calendar has.

    >>> _rfc3339(1_384_903_980_123)
    '2013-11-19T23:33:00.123Z'
    """
    clipped_ms = min(max(time_ms, 0), 253_402_300_799_999)
    moment = datetime.fromtimestamp(clipped_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
