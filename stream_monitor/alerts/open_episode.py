"""An open episode, and what is known of it besides its alerts."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from stream_monitor.alerts.alert import derived_id
from stream_monitor.alerts.cooldown import Rest
from stream_monitor.alerts.wording import moment
from stream_monitor.contracts import DriftAlert, Severity

SeriesKey: TypeAlias = tuple[str, str]
"""Version and series."""


class OpenEpisode(msgspec.Struct):
    """``latest`` is its last alert, told or withheld; ``told`` whether any was told.

    ``worst`` is how bad it was at most; ``rest`` how long it may not be told, after a recovery.
    """

    latest: DriftAlert
    told: bool = False
    acknowledged_by: str | None = None
    acknowledged_ms: int | None = None
    withheld: int = 0
    worst: Severity = "low"
    rest: Rest | None = None

    @property
    def series(self) -> SeriesKey:
        """Which series it is of."""
        return self.latest.version, self.latest.series

    def out(self, alert: DriftAlert) -> DriftAlert:
        """``alert`` as it goes out, with who knows of the episode; from now on it is told."""
        self.told, self.rest = True, None
        says = alert.explanation
        if self.acknowledged_by is not None and alert.phase == "ongoing":
            says += f"; {self.acknowledged_by} has known since {moment(self.acknowledged_ms or 0)}"
        return msgspec.structs.replace(
            alert,
            explanation=says,
            acknowledged_by=self.acknowledged_by,
            acknowledged_ms=self.acknowledged_ms,
            withheld=self.withheld,
        )

    def after_rest(self, offset: int, time_ms: int) -> DriftAlert:
        """The rest is over at an event: the start that nobody was told of, as it is by now."""
        before = "" if self.rest is None else f"; it had recovered {moment(self.rest.recovered_ms)}"
        self.rest = None
        return msgspec.structs.replace(
            self.latest,
            alert_id=derived_id(self.latest.episode_id, "rested", offset),
            phase="started",
            explanation=f"{self.latest.explanation}{before}, so it was not told before",
            decided_offset=offset,
            decided_ms=time_ms,
        )
