"""Suppression: decides which findings and alerts are published.

There are three reasons to suppress:

- Another episode explains it (`ExplainedEpisodes`, by version): drift of all traffic explains drift
  of a segment, drift of a feature that of its correlations.  It is reported once the other has
  ended, if it is still open and its evidence is younger than that end.
- A person has snoozed its series (`Suppressor`, by model).
- Its series recovered a short time ago (`Suppressor`): a signal that flaps would otherwise cause an
  alert and a recovery every few windows.  An episode that starts within the cooldown is reported
  at its end if it is still open, or as soon as it is more severe than the last one.  Some kinds
  have no cooldown: data quality, because a trainer must know at once; the error, whose alerts are
  as late as its labels; the traffic, because without events no event time passes that could end
  it; coverage, which has a timeout of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from stream_monitor.contracts import SEVERITY_RANK, DriftAlert, Kind, Severity
from stream_monitor.episodes.finding import Finding
from stream_monitor.episodes.messages import explained_message

WITHOUT_COOLDOWN: Final[frozenset[Kind]] = frozenset(
    {"quality", "concept", "volume", "labels", "coverage"}
)
"""The kinds that have no cooldown."""


class ReportedEpisodes(msgspec.Struct, array_like=True):
    """The reported episodes by series and check, and where the last one of each series ended."""

    reported: dict[str, dict[str, Finding]] = {}
    ended: dict[str, int] = {}


class ExplainedEpisodes:
    """Suppresses the findings of a version that an open episode explains."""

    def __init__(self) -> None:
        self.state = ReportedEpisodes()

    def snapshot(self) -> ReportedEpisodes:
        """Return the state in sorted order, so that it does not depend on batch boundaries."""
        reported, ended = self.state.reported, self.state.ended
        return ReportedEpisodes(
            {series: dict(sorted(reported[series].items())) for series in sorted(reported)},
            dict(sorted(ended.items())),
        )

    def is_reported(self, series: str) -> bool:
        """Whether an episode of a series is open and was reported."""
        return series in self.state.reported

    def process(self, findings: Iterable[Finding]) -> list[Finding]:
        """Apply findings; returns those to report, and the ends of episodes they explain."""
        return [
            reported
            for finding in findings
            for each in self._decide(finding)
            for reported in self._report(each)
        ]

    def in_order(self, findings: Iterable[Finding]) -> list[Finding]:
        """Sort findings by offset; at one record, those that explain others come first."""
        return sorted(findings, key=_order)

    def _decide(self, finding: Finding) -> Iterator[Finding]:
        """The finding as it is reported; nothing where it is suppressed."""
        if finding.explained_by is None:
            yield finding
        elif finding.check in self.state.reported.get(finding.series, {}):
            if not finding.repeats:
                yield finding
        elif not finding.has_ended and finding.progress is None and not self._is_explained(finding):
            yield msgspec.structs.replace(finding, phase="started", repeats=False)

    def _is_explained(self, finding: Finding) -> bool:
        """Whether an explaining series has an episode, or had one since the evidence began."""
        by = finding.explained_by
        return by is not None and any(
            series in self.state.reported or self.state.ended.get(series, -1) > finding.since
            for series in (*by.parents, *by.siblings)
        )

    def _report(self, finding: Finding) -> Iterator[Finding]:
        """Report a finding; the start of an episode may end episodes that it explains."""
        if finding.phase == "started":
            for explained in self._ended_by(finding):
                self._close(explained)
                yield explained
        if finding.has_ended:
            self._close(finding)
        else:
            self.state.reported.setdefault(finding.series, {})[finding.check] = finding
        yield finding

    def _ended_by(self, finding: Finding) -> list[Finding]:
        """The ends of the reported episodes that a finding, which starts an episode, explains."""
        return [
            msgspec.structs.replace(
                reported,
                phase="superseded",
                severity="low",
                effect=0.0,
                p_value=1.0,
                window_events=0,
                after=None,
                cause=finding.series,
                explanation=explained_message(reported.subject, finding.feature or ""),
                progress=None,
                decided=finding.decided,
            )
            for series in sorted(self.state.reported)
            for _, reported in sorted(self.state.reported[series].items())
            if (by := reported.explained_by) and by.ends and finding.series in by.parents
        ]

    def _close(self, finding: Finding) -> None:
        """Note the end of a reported episode."""
        checks = self.state.reported.get(finding.series, {})
        if checks.pop(finding.check, None) is None:
            return
        self.state.ended[finding.series] = max(
            finding.decided.offset, self.state.ended.get(finding.series, -1)
        )
        if not checks:
            del self.state.reported[finding.series]


def _order(finding: Finding) -> tuple[int, str]:
    return finding.decided.offset, finding.series if finding.explained_by else ""


class SeriesKey(NamedTuple):
    """A series of one version: what a snooze suppresses."""

    version: str
    series: str


class CooldownKey(NamedTuple):
    """A series of one version, and a kind of episode: what a cooldown suppresses."""

    version: str
    series: str
    kind: Kind


class RecoveredEpisode(NamedTuple):
    """The event time at which a reported episode recovered, and its highest severity."""

    at_ms: int
    worst: Severity


class CooldownHold(NamedTuple):
    """Suppress an episode until an event time, or until it is more severe than the last one."""

    recovered_ms: int
    until_ms: int
    worse_than: Severity

    def allows(self, severity: Severity) -> bool:
        """Whether an episode of ``severity`` is reported in spite of the cooldown.

        >>> [CooldownHold(0, 9, "medium").allows(severity) for severity in ("high", "medium")]
        [True, False]
        """
        return SEVERITY_RANK[severity] > SEVERITY_RANK[self.worse_than]


class SuppressorState(msgspec.Struct, array_like=True):
    """Snoozes by series, until a time of the append clock (ms), and recent recoveries.

    ``now_ms`` is the event time of the latest alert, which only moves forward.  ``suppressed``
    counts the suppressed alerts.
    """

    snoozes: dict[SeriesKey, int] = {}
    recovered: dict[CooldownKey, RecoveredEpisode] = {}
    now_ms: int = 0
    suppressed: int = 0


class Suppressor:
    """The snoozes and cooldowns of one model."""

    def __init__(self, cooldown_ms: int) -> None:
        self._cooldown_ms = cooldown_ms
        self.state = SuppressorState()

    def advance(self, alert: DriftAlert) -> None:
        """Advance the clock of the cooldowns to an alert that was decided, reported or not."""
        self.state.now_ms = max(self.state.now_ms, alert.decided_ms)

    def hold_for(self, alert: DriftAlert) -> CooldownHold | None:
        """Return how long the episode that starts with ``alert`` is suppressed, if it is."""
        before = self.state.recovered.get(_cooldown_key(alert))
        if before is None or self._has_passed(before):
            return None
        if alert.decided_ms < before.at_ms - self._cooldown_ms:
            return None  # earlier traffic, replayed into the topic: it may never reach that time
        hold = CooldownHold(before.at_ms, before.at_ms + self._cooldown_ms, before.worst)
        return None if hold.allows(alert.severity) else hold

    def recovered(self, alert: DriftAlert, worst: Severity) -> None:
        """Start the cooldown of a reported episode that recovered; ``worst`` was its severity."""
        if alert.kind not in WITHOUT_COOLDOWN:
            self.state.recovered = {
                key: before
                for key, before in self.state.recovered.items()
                if not self._has_passed(before)
            }
            self.state.recovered[_cooldown_key(alert)] = RecoveredEpisode(alert.decided_ms, worst)

    def forget(self, alert: DriftAlert) -> None:
        """Drop the cooldown of an episode that ended without a recovery."""
        self.state.recovered.pop(_cooldown_key(alert), None)

    def _has_passed(self, before: RecoveredEpisode) -> bool:
        return self.state.now_ms >= before.at_ms + self._cooldown_ms

    def snooze(self, series: SeriesKey, until_ms: int, clock_ms: int) -> None:
        """Suppress a series until a time of the append clock; a time in the past ends a snooze."""
        if until_ms > clock_ms:
            self.state.snoozes[series] = until_ms
        else:
            self.state.snoozes.pop(series, None)

    def is_snoozed(self, series: SeriesKey) -> bool:
        """Whether a series is snoozed."""
        return series in self.state.snoozes

    def snoozes_until(self, clock_ms: int) -> list[tuple[int, SeriesKey]]:
        """The snoozes that end at this time of the append clock or before, with their ends."""
        return [(until, key) for key, until in self.state.snoozes.items() if until <= clock_ms]

    def end_snooze(self, series: SeriesKey) -> None:
        """End the snooze of a series."""
        del self.state.snoozes[series]


def _cooldown_key(alert: DriftAlert) -> CooldownKey:
    return CooldownKey(alert.version, alert.series, alert.kind)
