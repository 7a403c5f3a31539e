"""What came of a replay, whatever was replayed."""

from __future__ import annotations

from dataclasses import dataclass

from driftline.replay.episodes import Episode
from stream_monitor.contracts import DeadLetter, DriftAlert


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Events that were held against a reference, and what was said of them.

    ``n_reference`` are the events that the references were learnt from, ``refused`` what the
    monitor would not take.  ``timed``: events have times of their own.
    """

    n_events: int
    n_reference: int
    n_features: int
    alerts: list[DriftAlert]
    refused: list[DeadLetter]
    episodes: list[Episode]
    span_ms: int
    seconds: float
    timed: bool = True
