"""Alerts as episodes: one line for each change, by rows of the file.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from stream_monitor.contracts import ENDED_PHASES, DriftAlert
from stream_monitor.episodes.incidents import IncidentPolicy, incidents_of

_OPENING_PHASES: Final = (
    "started",
    "ongoing",
)  # what was withheld of a segment may begin by growing worse
_ROWS_MS: Final = 2_000 * 1_000  # without a time column a row takes a second
_BY_ROWS: Final = IncidentPolicy(window_ms=_ROWS_MS, cooldown_ms=_ROWS_MS)
_SINCE: Final = re.compile(r"since \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d UTC")


class ReplayEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one series, from its alert to its end; ``ended_at`` null: it lasts.

    ``onset_event`` is the row where it is estimated to have begun, ``detected_event`` the row
    that raised the suspicion, ``alerted_event`` the row at which the alert went out.  Times are
    event times; without a time column row n happens n seconds after 1970 began.
    """

    feature: str
    kind: str
    detector: str
    severity: str
    started_at: str
    ended_at: str | None
    onset_event: int
    detected_event: int
    alerted_event: int
    ended_event: int | None
    explanation: str
    cause: str | None = None
    segment: str | None = None


def is_superseded_by_feature(alert: DriftAlert) -> bool:
    """Whether another episode tells from now on what this one told."""
    return alert.phase == "superseded" and (alert.cause or "").startswith("feature/")


def episodes_of(
    alerts: Iterable[DriftAlert],
    row_of: Callable[[int], int],
    column_of: Callable[[str], str],
    *,
    timed: bool,
    coverage: bool = False,
) -> list[ReplayEpisode]:
    """The episodes of change, or those of ``coverage``, in the order of their alerts."""
    found: dict[str, ReplayEpisode] = {}
    for alert in alerts:
        if (alert.kind == "coverage") is not coverage:
            continue
        known = found.get(alert.episode_id)
        if known is None and alert.phase in _OPENING_PHASES:
            name = alert.feature or alert.series
            column, onset = column_of(name), row_of(alert.onset_offset)
            found[alert.episode_id] = ReplayEpisode(
                feature=column,
                kind=alert.kind,
                detector=alert.detector,
                severity=alert.severity,
                started_at=_moment(alert.onset_ms),
                ended_at=None,
                onset_event=onset,
                detected_event=row_of(alert.detected_offset),
                alerted_event=row_of(alert.decided_offset),
                ended_event=None,
                explanation=_with_column_name(alert, name, column, onset, timed=timed),
                cause=alert.cause,
                segment=alert.segment,
            )
        elif known is not None and is_superseded_by_feature(alert):
            del found[alert.episode_id]  # another episode tells it
        elif known is not None and alert.phase in ENDED_PHASES:
            found[alert.episode_id] = msgspec.structs.replace(
                known, ended_at=_moment(alert.decided_ms), ended_event=row_of(alert.decided_offset)
            )
        elif known is not None:
            found[alert.episode_id] = msgspec.structs.replace(known, severity=alert.severity)
    return list(found.values())


def _with_column_name(alert: DriftAlert, name: str, column: str, onset: int, *, timed: bool) -> str:
    """The explanation with the column's own name, and a row where a time would mean nothing."""
    text = alert.explanation.replace(f"`{name}`", f"`{column}`")
    return text if timed else _SINCE.sub(f"since row {onset:,}", text)


def _moment(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def n_incidents(alerts: Iterable[DriftAlert], policy: IncidentPolicy | None) -> int:
    """How many things happened: episodes that began, or were told of, close together are one.

    As ``policy`` has it; ``None``: rows have no time, and within two thousand rows is close.
    """
    return len(incidents_of(alerts, policy or _BY_ROWS))


def only_in(these: Sequence[ReplayEpisode], those: Sequence[ReplayEpisode]) -> list[ReplayEpisode]:
    """Episodes of one configuration that the other did not have.

    The same change is the same series and kind, lying over each other.
    """

    def end(episode: ReplayEpisode) -> float:
        return float("inf") if episode.ended_event is None else episode.ended_event

    def same(a: ReplayEpisode, b: ReplayEpisode) -> bool:
        overlap = a.onset_event <= end(b) and b.onset_event <= end(a)
        return (a.feature, a.kind, a.segment) == (b.feature, b.kind, b.segment) and overlap

    return [one for one in these if not any(same(one, other) for other in those)]
