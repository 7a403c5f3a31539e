"""An open episode, and what is known of it besides its alerts."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from stream_monitor.alerts.alert import derived_id
from stream_monitor.alerts.cooldown import Rest
from stream_monitor.alerts.wording import clear_words, moment
from stream_monitor.contracts import DriftAlert, Severity

SeriesKey: TypeAlias = tuple[str, str]
"""Version and series."""


class OpenEpisode(msgspec.Struct):
    """``latest`` is its last alert, told or withheld; ``told`` whether any was told.

    ``worst`` is how bad it was at most; ``rest`` how long it may not be told, after a recovery;
    ``says`` what drifts, in the words of the last alert that found it drifting.
    """

    latest: DriftAlert
    told: bool = False
    acknowledged_by: str | None = None
    acknowledged_ms: int | None = None
    withheld: int = 0
    worst: Severity = "low"
    rest: Rest | None = None
    says: str = ""

    @property
    def series(self) -> SeriesKey:
        """Which series it is of."""
        return self.latest.version, self.latest.series

    def heard(self, alert: DriftAlert) -> DriftAlert:
        """Take a phase that was decided; gives it as it is to be told.

        One that says that the episode may be over says what drifted, too.
        """
        if alert.clear_events:
            alert = msgspec.structs.replace(
                alert,
                severity=self.latest.severity,
                explanation=f"{self.in_words}; {_clear(alert)}",
            )
        elif alert.phase in ("started", "ongoing"):
            self.says = alert.explanation
        self.latest = alert
        return alert

    @property
    def in_words(self) -> str:
        """What drifts; what was stored before this was kept has but its latest alert."""
        return self.says or self.latest.explanation

    def answered(self, did: str) -> str:
        """What drifts, how far it is on its way to its end, and what a person did about it."""
        words = [self.in_words]
        if self.latest.clear_events:
            words.append(_clear(self.latest))
        return "; ".join([*words, did])

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
        """The cooldown is over at an event: report the start it suppressed, as it is by now."""
        before = "" if self.rest is None else f" (recovered {moment(self.rest.recovered_ms)})"
        self.rest = None
        return msgspec.structs.replace(
            self.latest,
            alert_id=derived_id(self.latest.episode_id, "rested", offset),
            phase="started",
            explanation=f"{self.latest.explanation}; suppressed by the cooldown until now{before}",
            decided_offset=offset,
            decided_ms=time_ms,
        )


def _clear(alert: DriftAlert) -> str:
    return clear_words(alert.clear_events or 0, alert.clear_needed or 0)
