"""The episode of a rule: a check without detectors decides its start, its phases and its end."""

from __future__ import annotations

from typing import TypedDict, Unpack

import msgspec

from stream_monitor.contracts import ENDED_PHASES, SEVERITY_RANK, Phase, Severity
from stream_monitor.episodes.finding import EventPosition, Finding


class Evidence(TypedDict, total=False):
    """Fields of a finding that a later phase may change."""

    severity: Severity
    effect: float
    p_value: float
    window_events: int
    after: float | None


class RuleEpisode(msgspec.Struct, array_like=True):
    """The episode of one rule; ``latest`` is its latest finding, ``None`` where none is open."""

    latest: Finding | None = None

    def start(self, finding: Finding) -> Finding:
        """Open the episode with its first finding."""
        self.latest = finding
        return finding

    def enter(
        self, phase: Phase, at: EventPosition, explanation: str, **evidence: Unpack[Evidence]
    ) -> Finding:
        """Enter a later phase, decided ``at`` a record; a phase that ends the episode closes it.

        The severity of an episode never falls.
        """
        if self.latest is None:
            raise RuntimeError(f"no episode can be {phase}: none is open")
        if "severity" in evidence and not self.is_worse(evidence["severity"]):
            evidence["severity"] = self.latest.severity
        finding = msgspec.structs.replace(
            self.latest, phase=phase, decided=at, explanation=explanation, **evidence
        )
        self.latest = None if phase in ENDED_PHASES else finding
        return finding

    def is_worse(self, severity: Severity) -> bool:
        """Whether ``severity`` is above that of the open episode; false where none is open."""
        latest = self.latest
        return latest is not None and SEVERITY_RANK[severity] > SEVERITY_RANK[latest.severity]
