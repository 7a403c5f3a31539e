"""Distance bins: at most ten ranges of indices of values in the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from stream_monitor.statistics.fixed_point import Floats, Ints

MAX_BINS: Final = 10
_BINS_WITH_MASS: Final = (
    5  # including that of the point mass; with more bins a change would need more events
)
_MIN_SHARE: Final = 0.005
_MIN_SHARE_OF_REST: Final = 0.05


def numeric_bins(
    index: Ints, n_indices: int, point_mass: tuple[int, int] | None = None
) -> tuple[int, ...]:
    """Return the first index of each bin, for the reference's indices (n,).

    A value that is more than half of all (the order statistics ``point_mass`` from first to end)
    has a bin of its own; where it is the lowest, the others are cut at their quartiles.

    Up to ten distinct values get a bin each; more are cut at their deciles, between distinct
    values.  For a constant, the values below it and above it are bins of their own.
    """
    counts = np.bincount(index, minlength=n_indices)
    present = np.flatnonzero(counts)
    if len(present) == 1:
        only = int(present[0])
        return tuple(sorted({0, only, only + 1} - {n_indices}))
    middles = (present[:-1] + present[1:]) // 2 + 1
    if len(present) > MAX_BINS:
        weights = counts.copy()
        own = np.zeros(0, dtype=np.int64)
        if point_mass is not None:
            weights[sum(point_mass)] = 0
            own = np.flatnonzero(
                (present[:-1] == sum(point_mass)) | (present[1:] == sum(point_mass))
            )
        below = np.cumsum(weights[present])[:-1]
        n_bins = (MAX_BINS if point_mass is None else _BINS_WITH_MASS) - len(own)
        targets = np.arange(1, n_bins) * (int(weights.sum()) / n_bins)
        cuts = [int(np.argmin(np.abs(below - target))) for target in targets]
        middles = middles[np.unique([*cuts, *own.tolist()]).astype(np.int64)]
    if point_mass is None:
        return _merged((0, *middles.tolist()), counts)
    n_rest = len(index) - int(counts[sum(point_mass)])
    return _merged((0, *middles.tolist()), counts, max(1, _MIN_SHARE_OF_REST * n_rest))


def _merged(starts: tuple[int, ...], counts: Ints, least: float | None = None) -> tuple[int, ...]:
    """Join bins of less than 0.5 % (or ``least``) to their smaller neighbour, down to two bins."""
    least = _MIN_SHARE * float(counts.sum()) if least is None else least
    left = list(starts)
    while len(left) > 2:
        sizes = np.add.reduceat(counts, left)
        small = int(np.argmin(sizes))
        if sizes[small] >= least:
            break
        with_next = small == 0 or (small < len(left) - 1 and sizes[small + 1] < sizes[small - 1])
        del left[small + 1 if with_next else small]
    return tuple(left)


def category_bins(counts: Ints, n_own: int) -> tuple[int, ...]:
    """First index of each bin for categories ascending in frequency: the rest, then ``n_own``."""
    total = counts.sum()
    left = [0, *range(max(1, len(counts) - n_own), len(counts))]
    if len(left) > 1 and not counts[0] and left[1] == 1:
        del left[1]  # no rare categories: no bin for them
    while len(left) > 2:
        sizes = np.add.reduceat(counts, left)
        if sizes.min() >= _MIN_SHARE * total:
            break
        del left[1]
    return tuple(left)


def bin_counts(index: Ints, starts: Sequence[int], n_indices: int) -> tuple[int, ...]:
    """The number of the reference's indices (n,) in each bin."""
    counts = np.bincount(index, minlength=n_indices)
    return tuple(np.add.reduceat(counts, list(starts)).tolist())


def numeric_labels(values: Floats, counts: Sequence[int]) -> tuple[str, ...]:
    """Names of the bins, from the smallest and largest of ``values`` (n,) that lie in each."""
    ordered = np.sort(values)
    ends = np.cumsum(counts)
    labels = []
    for i, (count, end) in enumerate(zip(counts, ends.tolist(), strict=True)):
        if not count:
            labels.append(f"below {ordered[0]:.6g}" if i == 0 else f"above {ordered[-1]:.6g}")
            continue
        low, high = float(ordered[end - count]), float(ordered[end - 1])
        if low == high:
            labels.append(f"{low:.6g}")
        elif i == 0:
            labels.append(f"at most {high:.4g}")
        elif i == len(counts) - 1:
            labels.append(f"at least {low:.4g}")
        else:
            labels.append(f"{low:.4g} to {high:.4g}")
    return tuple(labels)


def category_labels(
    categories: Sequence[str], starts: Sequence[int], counts: Ints
) -> tuple[str, ...]:
    """Names of the bins: that of the only category with events in it, or "other"."""
    ends = (*starts[1:], len(categories))
    labels = []
    for start, end in zip(starts, ends, strict=True):
        names = [categories[i] for i in range(start, end) if counts[i]]
        labels.append(names[0] if len(names) == 1 and names[0] else "other")
    return tuple(labels)
