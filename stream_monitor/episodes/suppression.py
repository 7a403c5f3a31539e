"""Suppression: decides which findings of a version are reported.

An episode is suppressed while another one explains it: drift of all traffic explains drift of a
segment, drift of a feature that of its correlations.  It is reported once the other has ended, if
it is still open and its evidence is younger than that end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from stream_monitor.episodes.finding import Finding
from stream_monitor.episodes.messages import explained_message


class SuppressorState(msgspec.Struct, array_like=True):
    """The reported episodes by series and check, and where the last one of each series ended."""

    reported: dict[str, dict[str, Finding]] = {}
    ended: dict[str, int] = {}


class Suppressor:
    """Decides which findings are reported, from those of all checks in offset order."""

    def __init__(self) -> None:
        self.state = SuppressorState()

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
        """The findings by offset; at one record those that explain others come first."""
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
            for reported in self.state.reported[series].values()
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
