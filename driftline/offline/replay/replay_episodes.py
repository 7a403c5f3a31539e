"""The result of a replay: its alerts as episodes, by row of the file.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec

from stream_monitor.contracts import ENDED_PHASES, DeadLetter, DriftAlert
from stream_monitor.episodes.incidents import IncidentPolicy, incidents_of
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.windows.closed_window import ClosedWindow

_OPENING_PHASES: Final = (
    "started",
    "ongoing",
)  # a suppressed episode of a segment may be reported first when it grows worse
_ROWS_MS: Final = 2_000 * 1_000  # without a time column a row takes a second
_BY_ROWS: Final = IncidentPolicy(window_ms=_ROWS_MS, cooldown_ms=_ROWS_MS)
_SINCE: Final = re.compile(r"since \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d UTC")


class ReplayEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """One episode of one series; ``ended_at`` and ``ended_event`` are null if it is open.

    ``onset_event`` is the row of the estimated start, ``detected_event`` the row that raised the
    suspicion, ``alerted_event`` the row of the alert.  Times are event times; without a time column
    row n has the time n seconds after the start of 1970.
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


def series_names(series: Iterable[str], column_of: Callable[[str], str]) -> list[str]:
    """The names of series for people; features by their column.

    >>> series_names(["prediction", "feature/temp"], str)
    ['prediction', 'temp']
    """
    return sorted(
        column_of(name.removeprefix("feature/")) if name.startswith("feature/") else name
        for name in series
    )


def is_superseded_by_feature(alert: DriftAlert) -> bool:
    """Whether the episode of a feature replaces the one of this alert."""
    return alert.phase == "superseded" and (alert.cause or "").startswith("feature/")


def episodes_of(
    alerts: Iterable[DriftAlert],
    row_of: Callable[[int, int], int],
    column_of: Callable[[str], str],
    *,
    timed: bool,
    coverage: bool = False,
) -> list[ReplayEpisode]:
    """The episodes of drift, or those of ``coverage``, in the order of their alerts.

    ``row_of`` maps an offset, and the row in its record, to a row of the file, ``column_of`` the
    name of a feature to its column.
    """
    found: dict[str, ReplayEpisode] = {}
    for alert in alerts:
        if (alert.kind == "coverage") is not coverage:
            continue
        known = found.get(alert.episode_id)
        if known is None and alert.phase in _OPENING_PHASES:
            name = alert.feature or alert.series
            column, onset = column_of(name), row_of(alert.onset_offset, alert.onset_row)
            found[alert.episode_id] = ReplayEpisode(
                feature=column,
                kind=alert.kind,
                detector=alert.detector,
                severity=alert.severity,
                started_at=_moment(alert.onset_ms),
                ended_at=None,
                onset_event=onset,
                detected_event=row_of(alert.detected_offset, alert.detected_row),
                alerted_event=row_of(alert.decided_offset, alert.decided_row),
                ended_event=None,
                explanation=_with_column_name(alert, name, column, onset, timed=timed),
                cause=alert.cause,
                segment=alert.segment,
            )
        elif known is not None and is_superseded_by_feature(alert):
            del found[alert.episode_id]
        elif known is not None and alert.phase in ENDED_PHASES:
            found[alert.episode_id] = msgspec.structs.replace(
                known,
                ended_at=_moment(alert.decided_ms),
                ended_event=row_of(alert.decided_offset, alert.decided_row),
            )
        elif known is not None:
            found[alert.episode_id] = msgspec.structs.replace(known, severity=alert.severity)
    return list(found.values())


def _with_column_name(alert: DriftAlert, name: str, column: str, onset: int, *, timed: bool) -> str:
    """The sentence with the column's name; without event times, with a row in place of the time."""
    text = alert.explanation.replace(f"`{name}`", f"`{column}`")
    return text if timed else _SINCE.sub(f"since row {onset:,}", text)


def _moment(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def n_incidents(alerts: Iterable[DriftAlert], policy: IncidentPolicy | None) -> int:
    """The number of incidents, grouped by ``policy``.

    ``None``: rows have no times, and episodes within two thousand rows belong together.
    """
    return len(incidents_of(alerts, policy or _BY_ROWS))


def only_in(these: Sequence[ReplayEpisode], those: Sequence[ReplayEpisode]) -> list[ReplayEpisode]:
    """The episodes of ``these`` without a counterpart in ``those``.

    A counterpart has the same series and kind, and overlaps.
    """

    def end(episode: ReplayEpisode) -> float:
        return float("inf") if episode.ended_event is None else episode.ended_event

    def same(a: ReplayEpisode, b: ReplayEpisode) -> bool:
        overlap = a.onset_event <= end(b) and b.onset_event <= end(a)
        return (a.feature, a.kind, a.segment) == (b.feature, b.kind, b.segment) and overlap

    return [one for one in these if not any(same(one, other) for other in those)]


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """The events that were compared with a reference, and the resulting alerts and episodes.

    ``n_reference`` is the number of events in the references, ``rejected`` the rejected records,
    ``span_ms`` the period of the event times, ``seconds`` the duration of the replay.  ``timed``:
    the events have times of their own.  ``windows`` are the closed windows, for pictures.
    ``suspected`` are the series with a suspicion that the events after it neither confirmed nor
    dismissed: at least ``events_to_confirm`` are needed.  ``n_suppressed`` counts the alerts that a
    cooldown or a snooze suppressed.
    """

    n_events: int
    n_reference: int
    n_features: int
    alerts: list[DriftAlert]
    rejected: list[DeadLetter]
    episodes: list[ReplayEpisode]
    span_ms: int
    seconds: float
    timed: bool = True
    windows: list[ClosedWindow] = field(default_factory=list)
    suspected: list[str] = field(default_factory=list)
    n_suppressed: int = 0
    events_to_confirm: int = EpisodePolicy().first_test_events
