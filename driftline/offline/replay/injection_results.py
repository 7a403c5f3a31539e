"""The delay of the alert of each injected change.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from driftline.offline.injection import Injection
from driftline.offline.replay.replay_episodes import ReplayEpisode


class InjectionResult(NamedTuple):
    """An injected change, and the rows until its alert; ``delay_events`` is null if it was missed.

    A change of a series that already drifts raises no new alert; ``open_since`` is the row of the
    alert that was open.
    """

    column: str
    kind: str
    first: int
    delay_events: int | None
    open_since: int | None = None


def injection_results(
    injections: Sequence[Injection], episodes: Sequence[ReplayEpisode]
) -> list[InjectionResult]:
    """For each change, its first alert before the next change of the same column."""
    found = []
    for injection in injections:
        column, first = injection.column, injection.first
        later = [i.first for i in injections if i.column == column and i.first > first]
        until = min(later, default=None)
        alerts = [
            episode.alerted_event
            for episode in episodes
            if episode.feature == column
            and episode.alerted_event >= first
            and (until is None or episode.alerted_event < until)
        ]
        delay = min(alerts) - first if alerts else None
        already_open = [
            episode.alerted_event
            for episode in episodes
            if episode.feature == column
            and episode.alerted_event < first
            and (episode.ended_event is None or episode.ended_event >= first)
        ]
        open_since = max(already_open, default=None) if delay is None else None
        found.append(InjectionResult(column, injection.kind, first, delay, open_since))
    return found
