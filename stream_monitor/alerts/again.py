"""A track that says again, at every window, that its episode is open.

For what is withheld as long as something else explains it: whoever withholds may tell it then.
"""

from __future__ import annotations

from stream_monitor.alerts.episode import Track, Verdict


class RepeatingTrack(Track):
    """Every window of an open episode that is no news, and a change, says "started" ``again``."""

    def _follow(self, offset: int, time_ms: int) -> Verdict | None:
        effect, p_value = self._distance()
        still = None
        if self._is_change(effect, p_value):
            still = self._verdict("started", effect, p_value, (offset, time_ms))
        news = super()._follow(offset, time_ms)
        return still._replace(again=True) if news is None and still is not None else news
