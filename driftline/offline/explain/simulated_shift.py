"""Simulate a change of a given size in a feature: its channels, its bins, its mean.  Pure.

A numeric feature shifts by d standard deviations of its ranks' normal scores, which is the same
change for every shape and unit.  For other changes, a share of the events moves: to the rarer value
of a boolean, from the most frequent category to all others, or to missing values.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy.special import ndtr, ndtri

from producer.events import Value
from stream_monitor.reference.feature_reference import OF_REST, FeatureReference
from stream_monitor.reference.transform import Transform
from stream_monitor.statistics.fixed_point import FIXED_POINT, Floats, Ints

ChangeKind: TypeAlias = Literal["value", "missing"]

MAX_SD: Final = 6.0


class ShiftedFeature(NamedTuple):
    """A feature after a change.

    ``channels`` is the move of each channel's mean, ``shares`` (k,) the shares of the bins after
    the change, and ``units`` the move of the mean in the feature's own unit, or the share of events
    that moved.
    """

    channels: dict[str, float]
    shares: Floats
    units: float


class FeatureShifts:
    """The changes of one kind of a feature, of any size up to ``largest``."""

    def __init__(self, reference: FeatureReference, change: ChangeKind) -> None:
        self._reference = reference
        self._missing = change == "missing"
        self._numeric = reference.kind == "numeric" and not self._missing
        transform = Transform(reference)
        if self._missing:
            n_valid = reference.n_events - reference.n_invalid
            self._base: Floats = np.array([n_valid, reference.n_invalid], dtype=np.float64)
            self._tables: dict[str, Floats] = {"validity": np.array([0.0, 1.0])}
            self._bins: Ints = np.array([0, 1], dtype=np.int64)
        else:
            at, self._base, _ = support_of(reference, transform)
            names = [c.channel for c in reference.channels if c.channel not in OF_REST]
            tables = {name: transform.table(name) for name in names}
            self._tables = {
                name: table[at] / FIXED_POINT for name, table in tables.items() if table is not None
            }
            self._bins = transform.bin[at].astype(np.int64)
        self._n_bins = 2 if self._missing else len(reference.bin_counts)
        self._base = self._base / self._base.sum()
        self._most = int(self._base.argmax())
        self.largest = MAX_SD if self._numeric else float(self._base[self._most])
        edges = np.linspace(0, 1, len(self._base) + 1)
        self._edges = ndtri(edges)

    def of(self, size: float) -> ShiftedFeature:
        """The feature after a change of ``size``: standard deviations, or a share of events."""
        after = self._after(size)
        moved = after - self._base
        return ShiftedFeature(
            {name: float(table @ moved) for name, table in self._tables.items()},
            np.bincount(self._bins, weights=after, minlength=self._n_bins).astype(np.float64),
            float(self._reference.quantiles @ moved) if self._numeric else size,
        )

    def _after(self, size: float) -> Floats:
        if self._numeric:
            after: Floats = np.diff(ndtr(self._edges - size))
            return after
        others = self._base.copy()
        others[self._most] = 0.0
        if not others.any():  # the reference has one value only
            others = np.ones_like(self._base)
            others[self._most] = 0.0
        moved: Floats = self._base + size * others / others.sum()
        moved[self._most] -= size
        return moved


class Support(NamedTuple):
    """The indices (n,) of valid values in the reference, their weights, and a value for each.

    Without a rare category in the reference, the value of the rare ones is ``None``.
    """

    indices: Ints
    weights: Floats
    values: list[Value]


def support_of(reference: FeatureReference, transform: Transform) -> Support:
    """The support of a reference."""
    if reference.kind == "numeric":
        quantiles = reference.quantiles
        weights = np.ones(len(quantiles))
        return Support(transform.apply(quantiles).index, weights, quantiles.tolist())
    values: list[Value] = [False, True]
    counts = reference.bin_counts
    if reference.kind == "categorical":
        counts = reference.category_counts
        values = [next(iter(reference.rare), None), *reference.categories[1:]]
    return Support(np.arange(len(counts), dtype=np.int64), np.array(counts, np.float64), values)
