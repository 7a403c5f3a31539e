"""A track that says again, at every window, that its episode is open.

For what is withheld as long as something else explains it: whoever withholds may tell it then.
"""

from __future__ import annotations

from stream_monitor.episodes.lifecycle import EpisodeTracker, PhaseDecision


class RepeatingEpisodeTracker(EpisodeTracker):
    """Every window of an open episode that is no news, and a change, says "started" ``again``."""

    def _close_window(self, at: tuple[int, int]) -> list[PhaseDecision]:
        effect, p_value = self._distance(self._window)
        still = []
        if self._is_change(effect, p_value):
            decision = self._decision("started", effect, p_value, at, self._window)
            still = [decision._replace(again=True)]
        return super()._close_window(at) or still
