"""Alerts as episodes: one line for each change, by rows of the file.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from stream_monitor.alerts.incidents import IncidentPolicy, incidents_of
from stream_monitor.contracts import ENDED, DriftAlert

_TOLD: Final = ("started", "ongoing")  # what was withheld of a segment may begin by growing worse
_ROWS_MS: Final = 2_000 * 1_000  # without a time column a row takes a second
_BY_ROWS: Final = IncidentPolicy(window_ms=_ROWS_MS, cooldown_ms=_ROWS_MS)
_SINCE: Final = re.compile(r"since \d{4}-\d\d-\d\d \d\d:\d\dZ")


class Episode(msgspec.Struct, frozen=True, kw_only=True):
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


def is_told_elsewhere(alert: DriftAlert) -> bool:
    """Whether another episode tells from now on what this one told."""
    return alert.phase == "superseded" and (alert.cause or "").startswith("feature/")


def episodes_of(
    alerts: Iterable[DriftAlert],
    row_of: Callable[[int], int],
    column_of: Callable[[str], str],
    *,
    timed: bool,
    coverage: bool = False,
) -> list[Episode]:
    """The episodes of change, or those of ``coverage``, in the order of their alerts."""
    found: dict[str, Episode] = {}
    for alert in alerts:
        if (alert.kind == "coverage") is not coverage:
            continue
        known = found.get(alert.episode_id)
        if known is None and alert.phase in _TOLD:
            name = alert.feature or alert.series
            column, onset = column_of(name), row_of(alert.onset_offset)
            found[alert.episode_id] = Episode(
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
                explanation=_in_words_of_the_file(alert, name, column, onset, timed=timed),
                cause=alert.cause,
                segment=alert.segment,
            )
        elif known is not None and is_told_elsewhere(alert):
            del found[alert.episode_id]  # another episode tells it
        elif known is not None and alert.phase in ENDED:
            found[alert.episode_id] = msgspec.structs.replace(
                known,
                ended_at=_moment(alert.decided_ms),
                ended_event=row_of(alert.decided_offset),
            )
        elif known is not None:
            found[alert.episode_id] = msgspec.structs.replace(known, severity=alert.severity)
    return list(found.values())


def _in_words_of_the_file(
    alert: DriftAlert, name: str, column: str, onset: int, *, timed: bool
) -> str:
    """The explanation with the column's own name, and a row where a time would mean nothing."""
    text = alert.explanation.replace(f"{name}:", f"{column}:", 1)
    return text if timed else _SINCE.sub(f"since row {onset:,}", text)


def _moment(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def n_incidents(alerts: Iterable[DriftAlert], policy: IncidentPolicy | None) -> int:
    """How many things happened: episodes that began, or were told of, close together are one.

    As ``policy`` has it; ``None``: rows have no time, and within two thousand rows is close.
    """
    return len(incidents_of(alerts, policy or _BY_ROWS))


def only_in(these: Sequence[Episode], those: Sequence[Episode]) -> list[Episode]:
    """Episodes of one configuration that the other did not have.

    The same change is the same series and kind, lying over each other.
    """

    def end(episode: Episode) -> float:
        return float("inf") if episode.ended_event is None else episode.ended_event

    def same(a: Episode, b: Episode) -> bool:
        overlap = a.onset_event <= end(b) and b.onset_event <= end(a)
        return (a.feature, a.kind, a.segment) == (b.feature, b.kind, b.segment) and overlap

    return [one for one in these if not any(same(one, other) for other in those)]
