"""Settings of the traffic checks: event volume and labels on the append clock."""

from __future__ import annotations

import msgspec

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class TrafficSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the traffic checks: baseline, buckets and periods of the learned rates.

    Counts are of buckets of ``bucket_ms`` of the append clock.  The usual rate is that of the cell
    (an hour) of the period (a week).  Silence is reported after ``baseline_ms``; volume after a
    whole period and ``baseline_ms`` more, because before that no count was predicted; labels after
    ``label_baseline_ms`` with labels.  Where the partition has no record for ``max_gap_ms``, not
    even a tick, the monitor did not run: that time is neither learned nor checked.
    """

    enabled: bool = True
    bucket_ms: int = 60_000
    cell_ms: int = HOUR_MS
    period_ms: int = 7 * DAY_MS
    baseline_ms: int = DAY_MS
    label_baseline_ms: int = 8 * DAY_MS
    max_gap_ms: int = 60_000

    def __post_init__(self) -> None:
        if self.bucket_ms < 1 or self.max_gap_ms < 1:
            raise ValueError("traffic: bucket_ms and max_gap_ms are positive")
        if self.cell_ms < self.bucket_ms or self.cell_ms % self.bucket_ms:
            raise ValueError("traffic: cell_ms is a multiple of bucket_ms")
        if self.period_ms < self.cell_ms or self.period_ms % self.cell_ms:
            raise ValueError("traffic: period_ms is a multiple of cell_ms")

    @property
    def cell_buckets(self) -> int:
        """The number of buckets in a cell."""
        return self.cell_ms // self.bucket_ms

    @property
    def n_cells(self) -> int:
        """The number of cells in a period."""
        return self.period_ms // self.cell_ms

    @property
    def day_cells(self) -> int:
        """The number of cells in a day, or in the period if that is shorter."""
        return min(self.n_cells, max(1, DAY_MS // self.cell_ms))

    @property
    def baseline_buckets(self) -> int:
        """The number of buckets in the baseline."""
        return max(1, self.baseline_ms // self.bucket_ms)
