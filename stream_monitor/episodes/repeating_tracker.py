"""An episode tracker that repeats, at every window, that its episode is open.

An episode may be suppressed while another one explains it.  The repeated decision lets the caller
report it once the explanation has gone.
"""

from __future__ import annotations

from stream_monitor.episodes.lifecycle import EpisodeTracker
from stream_monitor.episodes.phase_decision import PhaseDecision


class RepeatingEpisodeTracker(EpisodeTracker):
    """Decides "started" with ``repeats`` at each window that differs and has no other decision."""

    def _close_window(self, at: tuple[int, int]) -> list[PhaseDecision]:
        effect, p_value = self._distance(self._now.window)
        still = []
        if self._is_change(effect, p_value):
            decision = self._decision("started", effect, p_value, at, self._now.window)
            still = [decision._replace(repeats=True)]
        return super()._close_window(at) or still
