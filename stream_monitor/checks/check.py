"""The interface of a check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from stream_monitor.checks.error_estimate import ErrorEstimate
from stream_monitor.contracts import DriftAlert, Phase
from stream_monitor.episodes.finding import AlertSource, EventPosition, ExplainedBy, Finding
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.episodes.recovery import RecoveryProgress
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.state_parts import as_type

Observed = TypeVar("Observed")
"""What a check observes: `VersionEvents`, joined labels, a closed traffic bucket."""


class CheckContext(NamedTuple):
    """The inputs from which the checks of one version are built.

    ``arl0_events``: mean events between two false alarms of one detector.  ``estimate``: the error
    that predictions let expect, ``None`` where the reference does not know it.
    """

    source: AlertSource
    profile: ReferenceProfile
    arl0_events: float
    policy: EpisodePolicy
    estimate: ErrorEstimate | None


class Check(ABC, Generic[Observed]):
    """A check of one signal: compares observations with the reference.

    The results must not depend on where batches are cut.  A check reads no clock.
    """

    series: str
    """The name of what is watched.  Alerts carry it, and the state is stored under it."""
    segment: str | None = None
    """The part of the traffic that is watched; ``None`` is all traffic."""
    explained_by: ExplainedBy | None = None
    """The series whose episodes explain those of this one; ``None``: every episode is reported."""
    state: msgspec.Struct
    """All that changes.  It is stored with each commit, and read back after a restart."""

    @abstractmethod
    def observe(self, batch: Observed) -> list[Finding]:
        """Apply a batch; return the phases of episodes that it decided, in offset order."""

    @abstractmethod
    def end(
        self, phase: Phase, at: EventPosition, alert: DriftAlert | None = None
    ) -> list[Finding]:
        """End open episodes as ``resolved`` by a person, or as ``superseded``.

        ``alert`` is the latest one of the episode that a person resolved.  ``None``: all episodes.
        """

    @abstractmethod
    def level(self) -> int | None:
        """Return the level: 0 none, 1 a suspicion, 2 an open episode; ``None``: not watched yet."""

    def progress(self, alert: DriftAlert) -> RecoveryProgress | None:
        """Return the recovery progress of the episode of ``alert``; ``None`` if unknown."""
        return None

    def snapshot(self) -> Any:
        """Return the state to store: a Struct, or plain data that contains Structs."""
        return self.state

    def restore(self, data: Any) -> None:
        """Continue from `snapshot`.  Raises ValueError where the data do not fit."""
        self.state = as_type(data, type(self.state))
