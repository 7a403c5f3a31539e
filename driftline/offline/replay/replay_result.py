"""What came of a replay, whatever was replayed."""

from __future__ import annotations

from dataclasses import dataclass

from driftline.offline.replay.replay_episodes import ReplayEpisode
from stream_monitor.contracts import DeadLetter, DriftAlert


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """Events that were held against a reference, and what was said of them.

    ``n_reference`` are the events that the references were learnt from, ``rejected`` what the
    monitor would not take.  ``timed``: events have times of their own.
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
