"""Messages for people: a title and a text for each subject.  Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from driftline.notify.plan import Action
from driftline.notify.subjects import Subject
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
