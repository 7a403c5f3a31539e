"""The result of a replay, of a file or of a topic."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftline.offline.replay.replay_episodes import ReplayEpisode
from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.windows.closed_window import ClosedWindow


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """The events that were compared with a reference, and the resulting alerts and episodes.

    ``n_reference`` is the number of events in the references, ``rejected`` the rejected records,
    ``span_ms`` the period of the event times, ``seconds`` the duration of the replay.  ``timed``:
    the events have times of their own.  ``windows`` are the closed windows, for pictures.
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
