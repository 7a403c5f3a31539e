"""Subjects about targets that do not accept messages, for the other targets.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from driftline.notify.plan import TargetState
from driftline.notify.subjects import Subject
from stream_monitor.episodes.formatting import format_time

REPORTED_AFTER_MS: Final = 5 * 60_000
"""A target that fails for so long is reported to the others."""
_PREFIX: Final = "target/"


def subjects_of_targets(
    states: Mapping[str, TargetState], reported: Iterable[str], now_ms: int
) -> list[Subject]:
    """A subject for each target that fails, and the end of each that no longer does.

    ``reported`` are ids of subjects that some target has accepted as open.
    """
    found = {}
    for target, state in states.items():
        since_ms = state.failing_since_ms
        if since_ms is not None and now_ms - since_ms >= REPORTED_AFTER_MS:
            subject_id = f"{_PREFIX}{target}/{since_ms}"
            found[subject_id] = _subject(
                subject_id,
                since_ms,
                None,
                f"Target {target} accepts no messages since {format_time(since_ms)}: "
                f"{state.error}.",
                state.fix,
            )
    for subject_id in reported:
        if subject_id.startswith(_PREFIX) and subject_id not in found:
            _, target, since = subject_id.split("/")
            text = f"Target {target} accepts messages, or was removed from the settings."
            found[subject_id] = _subject(subject_id, int(since), now_ms, text, "")
    return list(found.values())


def concerns(subject: Subject, target: str) -> bool:
    """Whether the subject reports the failure of this target."""
    return subject.subject_id.startswith(f"{_PREFIX}{target}/")


def _subject(
    subject_id: str, since_ms: int, closed_ms: int | None, explanation: str, fix: str
) -> Subject:
    return Subject(
        subject_id=subject_id,
        source="health",
        model="",
        title="driftline: notifications fail",
        severity="high",
        kinds=["health"],
        opened_ms=since_ms,
        closed_ms=closed_ms,
        explanation=explanation,
        episodes=[],
        fix=fix,
    )
