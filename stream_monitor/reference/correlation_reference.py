"""The reference of a feature correlation: the usual dependence of two features."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec
import numpy as np

from producer.names import escape_separators
from stream_monitor.reference.feature_reference import ChannelReference, FeatureReference
from stream_monitor.reference.season import BinCalendar
from stream_monitor.reference.transform import Transformed
from stream_monitor.statistics.fixed_point import Bools, Ints

SCORE_SCALE: Final = 1 << 10
"""The integer of score 1: a product of two scores is in fixed point."""


class CorrelationReference(msgspec.Struct, frozen=True, kw_only=True):
    """The usual dependence of ``first`` and ``second``, from ``n_events`` rows that have both.

    The score of a value is 2u - 1 for its mid-rank u, between -1 and 1.  The ``channel`` is the
    product of both scores: it changes with the dependence, and not where one feature shifts alone.
    ``correlation`` is the rank correlation (Spearman): a mean product less ``centre``, divided by
    ``scale``.  ``cells`` counts the rows by levels of both features, those of the second running
    fastest; a level is a range of indices from ``first_starts`` and ``second_starts``.  ``tau`` is
    the autocorrelation time, in events, of the product without its season; with a season
    ``calendar`` contains the cells by time slot.
    """

    first: str
    second: str
    n_events: int
    correlation: float
    centre: float
    scale: float
    first_starts: tuple[int, ...]
    second_starts: tuple[int, ...]
    cells: tuple[int, ...]
    channel: ChannelReference
    tau: float = 1.0
    short: bool = False
    calendar: BinCalendar | None = None

    @property
    def name(self) -> str:
        """The name of the pair, as in the name of its series."""
        return correlation_name(self.first, self.second)

    def correlation_of(self, mean_product: float) -> float:
        """The rank correlation of a mean product, where both features are as usual."""
        return min(1.0, max(-1.0, (mean_product - self.centre) / self.scale))


def correlation_name(first: str, second: str) -> str:
    """The unique name of a pair of features.

    >>> correlation_name("temp", "mean radius"), correlation_name("a~b", "c")
    ('temp~mean radius', 'a%7Eb~c')
    """
    return f"{escape_separators(first, '~')}~{escape_separators(second, '~')}"


def rank_scores(reference: FeatureReference) -> Ints:
    """Scores 2u - 1 of the mid-rank u, by index, in 1024ths; shape (n_indices,).

    Categories rank by their frequency, as in the location channel.
    """
    if reference.kind == "numeric":
        return _numeric_scores(reference.n_indices)
    counts = np.array(
        reference.bin_counts if reference.kind == "boolean" else reference.category_counts
    )
    u = (np.cumsum(counts) - counts / 2) / counts.sum()
    scores: Ints = np.rint((2 * u - 1) * SCORE_SCALE).astype(np.int64)
    return scores


@lru_cache(maxsize=256)
def _numeric_scores(n_indices: int) -> Ints:
    u = np.arange(n_indices) / max(1, n_indices - 1)
    scores = np.rint((2 * u - 1) * SCORE_SCALE).astype(np.int64)
    scores.flags.writeable = False
    return scores


class PairTable:
    """The lookup tables of a pair of features."""

    __slots__ = ("_scores", "_starts")

    def __init__(
        self,
        first: FeatureReference,
        second: FeatureReference,
        first_starts: tuple[int, ...],
        second_starts: tuple[int, ...],
    ) -> None:
        self._scores = rank_scores(first), rank_scores(second)
        self._starts = np.array(first_starts), np.array(second_starts)

    def products(self, first: Ints, second: Ints) -> Ints:
        """The fixed-point products of the scores at indices (n,) of both features."""
        return self._scores[0][first] * self._scores[1][second]

    def cells(self, first: Ints, second: Ints) -> Ints:
        """The cell of each event, (n,)."""
        rows, columns = (
            starts.searchsorted(index, "right") - 1
            for starts, index in zip(self._starts, (first, second), strict=True)
        )
        return rows * len(self._starts[1]) + columns


def paired_rows(first: Transformed, second: Transformed) -> tuple[Bools | None, Ints, Ints]:
    """Return the events (of n) that have both values, ``None`` for all, and the indices of both."""
    n = len(first.valid)
    if len(first.index) == len(second.index) == n:
        return None, first.index, second.index
    both = first.valid & second.valid
    return both, first.index[both[first.valid]], second.index[both[second.valid]]


def extreme_products(first: FeatureReference, second: FeatureReference) -> Ints:
    """The products of extreme scores, which bound all others, in fixed point; shape (4,)."""
    ends = (np.array([s.min(), s.max()]) for s in map(rank_scores, (first, second)))
    return np.outer(*ends).ravel()
