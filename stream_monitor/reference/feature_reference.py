"""The reference of one feature: the distribution of its values where nothing has changed."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np

from stream_monitor.detectors.adwin_state import AdwinState
from stream_monitor.reference.bounds import ValueBounds
from stream_monitor.reference.season import BinCalendar, Season
from stream_monitor.statistics.fixed_point import Floats, Ints

FeatureKind: TypeAlias = Literal["numeric", "categorical", "boolean", "outcome"]
ChannelName: TypeAlias = Literal[
    "location", "spread", "mix", "validity", "product", "residual", "rest", "rest_spread"
]
OF_REST: Final[frozenset[ChannelName]] = frozenset({"rest", "rest_spread"})
"""The channels of the values off a point mass."""


class ChannelReference(msgspec.Struct, frozen=True, kw_only=True):
    """The distribution of the block means of one channel where nothing has changed.

    ``mean`` and ``sd`` standardise a mean of ``block`` events; ``sd`` includes the remaining
    dependence (``vif``) and the uncertainty of a finite reference.  ``tau`` is the integrated
    autocorrelation time in events, ``skew`` that of a standardised block mean.  ``allowance`` is
    subtracted by a cumulative sum of them at each step, in standard deviations, and ``theta`` is
    the exponent of its tail (twice the allowance for a normal one).  ``adwin`` is the state of an
    ADWIN after the ``n_blocks`` blocks of the reference, each times ``adwin_scale``; ``None`` with
    ``stationary`` false where it found a change in them.  ``widening`` multiplies the time between
    false alarms where the reference is too short.  With a ``season`` all of this describes its
    residuals.
    """

    channel: ChannelName
    mean: float
    sd: float
    block: int
    tau: float
    skew: float
    theta: float
    vif: float
    adwin_scale: float
    n_blocks: int
    adwin: AdwinState | None
    stationary: bool = True
    widening: float = 1.0
    allowance: float = 0.5
    season: Season | None = None


class FeatureReference(msgspec.Struct, frozen=True, kw_only=True):
    """The reference of one feature, of the prediction, or of the loss.

    Values become an *index*: for a numeric feature 0..2K, the number of the K stored order
    statistics below the value plus the number not above it; for a categorical one the position in
    ``categories``, which begins with RARE (all of ``rare``) and ascends in frequency; for a boolean
    one 0 or 1.  Everything else is looked up by index.

    ``n_invalid`` of ``n_events`` values were missing, invalid, or of a category that occurred once:
    as many new categories are expected in future (Good, 1953).  ``tau`` is the largest of the
    channels; ``short``: the reference has fewer than 100 tau events.  A distance bin is a range of
    indices from ``bin_starts``; ``bin_counts`` are the reference's events, without those that
    chose which categories get a bin of their own.  ``centre`` and ``scale`` convert raw numeric
    values to fixed point.  ``top`` are the most frequent categories with their counts.  With a
    season ``calendar`` contains the bins by time slot.  ``repeats`` is the share of runs of two
    equal numbers that reach a third, ``longest_run`` the length of the longest run.

    ``bounds`` of a numeric feature are its range; older profiles have none.

    An ``outcome`` is a 0/1 loss together with the expected loss of its prediction: its index is
    2 x bin + loss, and ``expected_losses`` are those of the bins, in fixed point.
    """

    name: str
    kind: FeatureKind
    n_events: int
    n_invalid: int
    tau: float = 1.0
    block: int = 8
    short: bool = False
    order_statistics: bytes = b""  # little-endian float64: a list of floats is four times as large
    categories: tuple[str, ...] = ()
    category_counts: tuple[int, ...] = ()
    rare: tuple[str, ...] = ()
    bin_starts: tuple[int, ...] = (0,)
    bin_counts: tuple[int, ...] = ()
    bin_labels: tuple[str, ...] = ()
    centre: float = 0.0
    scale: float = 1.0
    mean: float | None = None
    sd: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    top: tuple[tuple[str, int], ...] = ()
    channels: tuple[ChannelReference, ...] = ()
    calendar: BinCalendar | None = None
    repeats: float | None = None
    longest_run: int = 0
    expected_losses: tuple[int, ...] = ()
    bounds: ValueBounds | None = None

    @property
    def quantiles(self) -> Floats:
        """Evenly spaced order statistics of a numeric feature, ascending, shape (K,)."""
        return np.frombuffer(self.order_statistics, dtype="<f8")

    @property
    def point_mass(self) -> tuple[int, int] | None:
        """First and end of the order statistics of a value that is more than half of all."""
        quantiles = self.quantiles
        if self.kind != "numeric" or not len(quantiles):
            return None
        n, middle = len(quantiles), quantiles[len(quantiles) // 2]
        if middle not in quantiles[n // 4 :: n // 2 + 1]:  # it is there if it is more than half
            return None
        first, end = (int(quantiles.searchsorted(middle, side)) for side in ("left", "right"))
        return (first, end) if n < 2 * (end - first) < 2 * n else None

    @property
    def n_indices(self) -> int:
        """The number of indices of this feature."""
        if self.kind == "numeric":
            return 2 * (len(self.order_statistics) // 8) + 1
        if self.kind == "outcome":
            return 2 * len(self.expected_losses)
        return 2 if self.kind == "boolean" else len(self.categories)

    @property
    def bin_of_index(self) -> Ints:
        """The distance bin of every index, shape (n_indices,)."""
        return np.searchsorted(self.bin_starts, np.arange(self.n_indices), "right") - 1
