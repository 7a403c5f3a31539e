"""Converts values to channels: lookup tables over the index of a value in the reference.

The index depends on ranks alone, so that scale and any monotone transformation cancel out
exactly.  Tables contain fixed-point integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.values import Column, booleans, codes, numbers
from stream_monitor.statistics.fixed_point import FIXED_POINT, Bools, Floats, Ints, to_fixed

_TAIL: Final = 0.0005  # ranks are clipped here: normal scores are within +-3.29
_MAX_SPREAD: Final = 9.0
_MIN_MIXED: Final = 4
_MAX_MIXED: Final = 9
MAX_SCALED: Final = 1e6
"""Values farther from the centre count as this many scales, so that sums fit into 64 bits."""
_CELLS: Final = 1024
_MIDDLE: Final = (0.005, 0.995)
BinTable: TypeAlias = NDArray[np.uint8]
_FEW_VALUES: Final = 512
"""Fewer values take a binary search: each array operation has a cost of its own."""


@dataclass(frozen=True, slots=True)
class Transformed:
    """A column after the lookup: ``valid`` (n,); the other arrays have shape (n_valid,).

    ``raw`` are numeric values as they were sent; ``scaled`` is (raw - centre) / scale, in fixed
    point.
    """

    valid: Bools
    index: Ints
    scaled: Ints | None
    raw: Floats | None = None


class Transform:
    """The lookup tables of one feature by index, and the lookup of the index.

    ``location``, ``spread``, ``mix`` and ``residual`` are fixed-point channel values, ``bin`` the
    distance bin.  Where one value is more than half of all, ``point_mass`` is its index, and
    ``rest`` and ``rest_spread`` are channel values of the others among themselves.

    Features with equal tables share them: do not write to them.
    """

    __slots__ = (
        "_apply",
        "_centre",
        "_index_of",
        "_ranks",
        "_scale",
        "bin",
        "location",
        "mix",
        "point_mass",
        "residual",
        "rest",
        "rest_spread",
        "spread",
    )

    def __init__(self, reference: FeatureReference) -> None:
        self.location: Ints
        self.spread: Ints | None
        self.mix: Ints | None = None
        self.residual: Ints | None = None
        self.rest: Ints | None = None
        self.rest_spread: Ints | None = None
        self.point_mass = -1
        self.bin = bin_table(reference)
        self._apply: Callable[[Column], Transformed]
        self._index_of: dict[str, int] = {}
        self._centre, self._scale = reference.centre, reference.scale
        if reference.kind == "numeric":
            self.location, self.spread = _normal_scores(reference.n_indices)
            self._ranks = RankLookup(reference.quantiles)
            self._apply = self._apply_numeric
            if (point_mass := reference.point_mass) is not None:
                self.point_mass = sum(point_mass)
                self.rest, self.rest_spread = _rest_scores(reference.n_indices, *point_mass)
        elif reference.kind == "boolean":
            self.location, self.spread = _boolean_table(), None
            self._apply = self._apply_boolean
        elif reference.kind == "outcome":
            expected = np.array(reference.expected_losses, dtype=np.int64)
            self.location, self.spread = np.tile(_boolean_table(), len(expected)), None
            self.residual = self.location - np.repeat(expected, 2)
            self._apply = _apply_outcome
        else:
            counts = np.array(reference.category_counts)
            self.location, self.spread = frequency_scores(counts)
            self.mix = alternating_scores(counts)
            self._index_of = dict.fromkeys(reference.rare, 0)
            self._index_of.update({c: i for i, c in enumerate(reference.categories) if i})
            self._apply = self._apply_categorical

    def table(self, channel: str) -> Ints | None:
        """The channel values by index; ``None`` where the feature has no such channel."""
        tables = {
            "location": self.location,
            "spread": self.spread,
            "mix": self.mix,
            "residual": self.residual,
            "rest": self.rest,
            "rest_spread": self.rest_spread,
        }
        return tables.get(channel)

    def apply(self, values: Column) -> Transformed:
        """Look up n values.  Total: any value is either valid or invalid."""
        return self._apply(values)

    def _apply_numeric(self, column: Column) -> Transformed:
        valid, values = numbers(column)
        if not valid.all():
            values = values[valid]
        index = self._ranks.index_of(values)
        with np.errstate(over="ignore"):
            scaled = (values - self._centre) / self._scale
        # `np.clip` costs several times as much as these two.
        scaled = np.minimum(np.maximum(scaled, -MAX_SCALED), MAX_SCALED)
        return Transformed(valid, index, to_fixed(scaled), values)

    def _apply_boolean(self, column: Column) -> Transformed:
        valid, values = booleans(column)
        if not valid.all():
            values = values[valid]
        return Transformed(valid, values.astype(np.int64), None)

    def _apply_categorical(self, column: Column) -> Transformed:
        index = codes(column, self._index_of)
        valid = index >= 0
        return Transformed(valid, index if valid.all() else index[valid], None)


def _apply_outcome(column: Column) -> Transformed:
    """Outcomes are their own indices: they are computed, not sent."""
    index = np.asarray(column, dtype=np.int64)
    return Transformed(np.ones(len(index), dtype=np.bool_), index, None)


class RankLookup:
    """The index of values among the order statistics of the reference, (k,) and sorted.

    The index is twice the number of statistics below the value, plus the number of those equal.  A
    grid over the middle of the distribution gives the place of most values, which their neighbours
    confirm; the others take a binary search, which costs five times as much.
    """

    __slots__ = ("_distinct", "_first", "_low", "_per_unit", "_runs", "_span", "_starts")

    def __init__(self, quantiles: Floats) -> None:
        differs = quantiles[1:] != quantiles[:-1]
        self._distinct = quantiles
        self._starts: NDArray[np.int32] | None
        self._runs: NDArray[np.int32] | None
        if differs.all():  # each statistic is at its own place
            self._starts = self._runs = None
        else:
            starts = np.flatnonzero(np.append(True, differs))
            self._distinct = quantiles[starts]
            self._starts = np.append(starts, len(quantiles)).astype(np.int32)
            self._runs = np.append(np.diff(self._starts), 0).astype(np.int32)
        low, high = (quantiles[round(q * (len(quantiles) - 1))] for q in _MIDDLE)
        self._low, self._span = float(low), float(high) - float(low)
        self._per_unit = _CELLS / self._span if self._span > 0 else math.inf
        self._first: NDArray[np.uint16] | None = None  # from the first long column on

    def index_of(self, values: Floats) -> Ints:
        """The index of n finite values, (n,)."""
        below = self._distinct_below(values)
        ties = self._distinct.take(below, mode="clip") == values
        if self._starts is None or self._runs is None:
            index: Ints = 2 * below + ties
            return index
        index = 2 * self._starts.take(below).astype(np.int64)
        index += np.where(ties, self._runs.take(below), 0)
        return index

    def _distinct_below(self, values: Floats) -> Ints:
        """The number of distinct order statistics below each value."""
        if len(values) < _FEW_VALUES or not math.isfinite(self._per_unit):
            return self._distinct.searchsorted(values)
        distinct = self._distinct
        with np.errstate(over="ignore"):
            cells = np.clip((values - self._low) * self._per_unit, 0, _CELLS - 1)
        if self._first is None:
            starts = self._low + np.arange(_CELLS) * (self._span / _CELLS)
            self._first = distinct.searchsorted(starts).astype(np.uint16)
        below = self._first.take(cells.astype(np.int64)).astype(np.int64)
        below += distinct.take(below, mode="clip") < values
        # The ends count as wrong where there is no neighbour.
        wrong = np.flatnonzero(
            (distinct.take(below - 1, mode="clip") >= values)
            | (distinct.take(below, mode="clip") < values)
        )
        if len(wrong):
            below[wrong] = distinct.searchsorted(values[wrong])
        return below


@lru_cache(maxsize=256)
def _normal_scores(n_indices: int) -> tuple[Ints, Ints]:
    """Normal score g of the mid-rank, and its square up to 9: location and spread.

    u = index / 2K is the mid-rank, so ties, zero inflation and integers need nothing special.
    """
    u = np.arange(n_indices) / (n_indices - 1)
    g = ndtri(np.clip(u, _TAIL, 1 - _TAIL))
    return _shared(to_fixed(g)), _shared(to_fixed(np.minimum(g * g, _MAX_SPREAD)))


@lru_cache(maxsize=256)
def _rest_scores(n_indices: int, first: int, end: int) -> tuple[Ints, Ints]:
    """`_normal_scores` without the order statistics from first to end."""
    places = np.arange(n_indices)
    n_rest = (n_indices - 1) // 2 - (end - first)
    u = np.where(places <= first + end, np.minimum(places, 2 * first), places - 2 * (end - first))
    tail = max(_TAIL, 1 / (4 * n_rest))
    g = ndtri(np.clip(u / (2 * n_rest), tail, 1 - tail))
    return _shared(to_fixed(g)), _shared(to_fixed(np.minimum(g * g, _MAX_SPREAD)))


def frequency_scores(counts: Ints) -> tuple[Ints, Ints | None]:
    """Mid cumulative mass u of categories ordered by frequency, and abs(2u - 1).

    For two categories the spread would equal the location, and is ``None``.
    """
    total = int(counts.sum())
    u = (np.cumsum(counts) - counts / 2) / total
    spread = to_fixed(np.abs(2 * u - 1)) if np.count_nonzero(counts) > 2 else None
    return to_fixed(u), spread


def alternating_scores(counts: Ints) -> Ints | None:
    """1, -1, 1, and so on for the nine most frequent categories, 0 for all others.

    Events that move between two categories of similar frequency hardly change the location; these
    scores show them.  Fewer than four categories do not need it.
    """
    if np.count_nonzero(counts) < _MIN_MIXED:
        return None
    scores = np.zeros(len(counts))
    top = min(_MAX_MIXED, len(counts) - 1)  # the first position is that of the rare ones
    scores[len(counts) - top :] = (-1.0) ** np.arange(top)[::-1]
    return to_fixed(scores)


def bin_positions(reference: FeatureReference) -> tuple[float, ...] | None:
    """The positions of the distance bins; ``None`` for categories, which have no order.

    A numeric bin is at its mean normal score, so that the unit is the standard deviation whatever
    the distribution; false is at 0 and true at 1.
    """
    if reference.kind == "categorical":
        return None
    if reference.kind == "boolean":
        return tuple(float(start) for start in reference.bin_starts)
    return _mean_scores(reference.n_indices, reference.bin_starts)


@lru_cache(maxsize=1024)
def _mean_scores(n_indices: int, starts: tuple[int, ...]) -> tuple[float, ...]:
    sizes = np.diff((*starts, n_indices))
    sums = np.add.reduceat(_normal_scores(n_indices)[0], list(starts))
    means: list[float] = (sums / sizes / FIXED_POINT).tolist()
    return tuple(means)


def bin_table(reference: FeatureReference) -> BinTable:
    """The distance bin of every index, shape (n_indices,).  Features with equal tables share it."""
    return _bin_table(reference.n_indices, reference.bin_starts)


@lru_cache(maxsize=1024)
def _bin_table(n_indices: int, starts: tuple[int, ...]) -> BinTable:
    sizes = np.diff(starts, append=n_indices)
    table = np.arange(len(starts), dtype=np.uint8).repeat(sizes)
    table.flags.writeable = False
    return table


@lru_cache(maxsize=1)
def _boolean_table() -> Ints:
    return _shared(np.array([0, FIXED_POINT], dtype=np.int64))


def _shared(table: Ints) -> Ints:
    table.flags.writeable = False
    return table
