"""The season of a channel: its usual mean and spread by hour of the day or of the week.

It is removed from the channel by event time before blocks are formed, so that a usual night is no
change, but a change at night is.  Hours are those of UTC.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from stream_monitor.statistics.fixed_point import FIXED_POINT, Floats, Ints

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS
_LIMIT: Final = 30 * FIXED_POINT  # residuals are clipped here, far beyond any block mean
_PSEUDO_EVENTS: Final = 10.0
_MANY_PERIODS: Final = 5.0  # with fewer, the error of slot means exceeds their information


def slots_of(times_ms: Ints, period_ms: int, n_slots: int) -> Ints:
    """The slot of each event time (n,), 0..n_slots-1.

    >>> slots_of(np.array([0, HOUR_MS, DAY_MS - 1, DAY_MS]), DAY_MS, 24).tolist()
    [0, 1, 23, 0]
    """
    return times_ms % period_ms * n_slots // period_ms


class Season(msgspec.Struct, frozen=True, kw_only=True):
    """Mean and sd of one channel's values in each slot of a period.

    Both are little-endian float64, a value for each slot; ``n_periods`` is how many periods the
    reference covers.
    """

    period_ms: int
    n_periods: float
    slot_means: bytes
    slot_sds: bytes

    @property
    def means(self) -> Floats:
        """The mean of each slot, shape (n_slots,)."""
        return np.frombuffer(self.slot_means, dtype="<f8")

    @property
    def sds(self) -> Floats:
        """The standard deviation of each slot, shape (n_slots,)."""
        return np.frombuffer(self.slot_sds, dtype="<f8")

    @property
    def uncertainty(self) -> float:
        """The factor on the residual variance for the error of the slot means.

        >>> flat = np.zeros(24).tobytes()
        >>> Season(period_ms=DAY_MS, n_periods=10, slot_means=flat, slot_sds=flat).uncertainty
        1.1
        """
        return 1 + (1 if self.n_periods >= _MANY_PERIODS else 2) / self.n_periods

    def explained(self, weights: Ints) -> float:
        """The share of the variance that the season explains, for event counts (n_slots,)."""
        shares = weights / max(1, weights.sum())
        between = float(shares @ (self.means - shares @ self.means) ** 2)
        return between / (between + float(shares @ self.sds**2))

    def residuals(self, values: Ints, times_ms: Ints) -> Ints:
        """(value - mean) / sd of its slot, all in fixed point; shapes (n,).

        Values are independent of each other, so batches do not matter.
        """
        means, sds = self.means, self.sds
        slots = slots_of(times_ms, self.period_ms, len(means))
        deviations = values - np.rint(means * FIXED_POINT)[slots]
        return np.rint(np.clip(deviations / sds[slots], -_LIMIT, _LIMIT)).astype(np.int64)


class BinCalendar(msgspec.Struct, frozen=True, kw_only=True):
    """The distance bins of a feature with a season, slot by slot.

    ``counts`` are the reference's events, little-endian int32, slots times bins.  ``tau`` is the
    autocorrelation time, in events, of what the season leaves.  ``slot_means`` of a number are
    those of its values, little-endian float64; empty where the profile was stored without them.
    """

    period_ms: int
    n_slots: int
    counts: bytes
    tau: float
    slot_means: bytes = b""

    def mean_at(self, slot_counts: Ints) -> float | None:
        """The mean of the reference at the times of events with these slot counts (n_slots,).

        ``None`` where it is not known.
        """
        if not self.slot_means or not slot_counts.any():
            return None
        return float(slot_counts @ np.frombuffer(self.slot_means, dtype="<f8") / slot_counts.sum())

    @property
    def table(self) -> Ints:
        """The reference's events by slot and bin, shape (n_slots, n_bins)."""
        return np.frombuffer(self.counts, dtype="<i4").reshape(self.n_slots, -1).astype(np.int64)

    def slots_of(self, times_ms: Ints) -> Ints:
        """The slot of each event time (n,)."""
        return slots_of(times_ms, self.period_ms, self.n_slots)

    def between(self, start_ms: int, end_ms: int) -> Ints:
        """Relative slot counts of the reference's events from start to end, shape (n_slots,).

        Each slot is weighted by its part of the span and its traffic; only ratios are meaningful.
        """
        edges = -(-np.arange(self.n_slots + 1) * self.period_ms // self.n_slots)  # rounded up
        periods, rest_ms = divmod(end_ms - start_ms, self.period_ms)
        begin = start_ms % self.period_ms
        covered_ms = periods * np.diff(edges)
        for shift in (0, self.period_ms):  # the last part may be in the next period
            within = np.clip(edges, begin - shift, begin + rest_ms - shift)
            covered_ms += np.diff(within)
        weights: Ints = covered_ms * self.table.sum(axis=1)
        return weights if weights.any() else covered_ms

    def expected(self, slot_counts: Ints) -> list[int]:
        """Bin counts of reference events with the time distribution ``slot_counts`` (n_slots,).

        They add up to the reference's events in these slots.  A slot with hardly any reference
        events is replaced by the whole reference.
        """
        table = self.table
        whole = table.sum(axis=0) / max(1, table.sum())
        per_slot = table.sum(axis=1, keepdims=True)
        shares = (table + _PSEUDO_EVENTS * whole) / (per_slot + _PSEUDO_EVENTS)
        mix = slot_counts / max(1, slot_counts.sum()) @ shares
        known = max(1, int(table[slot_counts > 0].sum()))
        expected: list[int] = np.rint(mix * known).astype(np.int64).tolist()
        return expected
