"""Counters of a partition: every record is counted exactly once."""

from __future__ import annotations

import msgspec


class Counters(msgspec.Struct, kw_only=True):
    """Counts since the beginning of the partition.

    The first nine are disjoint, and their sum is the number of records below the next offset.
    ``valid`` and ``late`` are inference events (late for their window, still seen by the
    detectors), ``not_watched`` are events over a limit, ``shadow`` are predictions that were not
    used.  ``joined`` counts labels that found their
    prediction, ``alerts`` the published alerts, ``suppressed`` those that a snooze or a cooldown
    suppressed; ``append_clock_ms`` is the partition's clock.
    """

    valid: int = 0
    late: int = 0
    not_watched: int = 0
    duplicate: int = 0
    dead_lettered: int = 0
    labels: int = 0
    control: int = 0
    ticks: int = 0
    shadow: int = 0
    joined: int = 0
    alerts: int = 0
    suppressed: int = 0
    append_clock_ms: int = 0

    @property
    def records(self) -> int:
        """All records that were counted."""
        return (
            self.valid
            + self.late
            + self.not_watched
            + self.duplicate
            + self.dead_lettered
            + self.labels
            + self.control
            + self.ticks
            + self.shadow
        )
