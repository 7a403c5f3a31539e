"""Chooses the pairs of features to watch, and fits the reference of their correlation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from stream_monitor.reference.channel_calibration import arl_widening, fit_channel, required_block
from stream_monitor.reference.correlation_reference import (
    SCORE_SCALE,
    CorrelationReference,
    PairTable,
    extreme_products,
    paired_rows,
    rank_scores,
)
from stream_monitor.reference.feature_calibration import fit_calendar, max_deviation_of
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.season_fit import fit_seasons
from stream_monitor.reference.transform import Transform, Transformed
from stream_monitor.reference.values import Column
from stream_monitor.statistics.fixed_point import FIXED_POINT, Floats, Ints, to_fixed

MAX_CORRELATIONS: Final = 10
"""The most pairs of a model; with up to five features these are all pairs."""
LEVELS: Final = 3
"""Levels per feature: four, five or ten find nothing sooner, and need longer windows."""
_MIN_EVENTS: Final = 300
_MAX_ROWS: Final = 10_000
_SAME: Final = 6  # decimals


def fit_correlations(
    features: Mapping[str, FeatureReference],
    columns: Mapping[str, Column],
    times_ms: Ints | None = None,
) -> tuple[CorrelationReference, ...]:
    """The correlation references of at most ten pairs of features, the strongest first.

    ``columns`` are those that ``features`` were fitted on.
    """
    chosen = strongest_pairs(features, columns)
    values = {
        name: Transform(features[name]).apply(columns[name])
        for name in sorted({name for pair in chosen for name in pair})
    }
    found: dict[str, CorrelationReference] = {}
    for a, b in chosen:
        fitted = _fit(features[a], features[b], values[a], values[b], times_ms)
        if fitted is not None:
            found.setdefault(fitted.name, fitted)  # names may contain the separator
    return tuple(found.values())


def strongest_pairs(
    features: Mapping[str, FeatureReference], columns: Mapping[str, Column]
) -> list[tuple[str, str]]:
    """Return the pairs with the largest absolute rank correlations, from at most 10,000 rows."""
    names = sorted(features)
    if len(names) < 2:
        return []
    n = len(columns[names[0]])
    rows = np.unique(np.linspace(0, n - 1, min(n, _MAX_ROWS)).astype(np.int64))
    scores = np.zeros((len(rows), len(names)))
    valid = np.zeros_like(scores)
    for i, name in enumerate(names):
        found = Transform(features[name]).apply(_at(columns[name], rows))
        valid[:, i] = found.valid
        scores[found.valid, i] = rank_scores(features[name])[found.index] / SCORE_SCALE
    n_both = valid.T @ valid
    correlations = _correlations(scores, valid, np.maximum(n_both, 1))
    pairs = [
        (-abs(round(float(correlations[i, j]), _SAME)), i, j)
        for i in range(len(names))
        for j in range(i + 1, len(names))
        if n_both[i, j] * n >= _MIN_EVENTS * len(rows)
    ]
    return [(names[i], names[j]) for _, i, j in sorted(pairs)[:MAX_CORRELATIONS]]


def _correlations(scores: Floats, valid: Floats, n_both: Floats) -> Floats:
    """The correlations of all columns (n, d), each over the rows that have both values; (d, d)."""
    means = scores.T @ valid / n_both
    variances = (scores * scores).T @ valid / n_both - means**2
    products = scores.T @ scores / n_both - means * means.T
    powers = variances * variances.T
    known = powers > 1e-12
    return np.where(known, products / np.sqrt(np.where(known, powers, 1.0)), 0.0)


def _at(column: Column, rows: Ints) -> Column:
    if isinstance(column, np.ndarray):
        return column[rows]
    plain: Sequence[Any] = column
    return [plain[i] for i in rows.tolist()]


def _fit(
    first: FeatureReference,
    second: FeatureReference,
    first_values: Transformed,
    second_values: Transformed,
    times_ms: Ints | None,
) -> CorrelationReference | None:
    """The correlation reference of two features; ``None`` where one of them is constant."""
    both, one, other = paired_rows(first_values, second_values)
    scores = [rank_scores(f)[i] / SCORE_SCALE for f, i in ((first, one), (second, other))]
    scale = float(scores[0].std() * scores[1].std())
    if len(one) < _MIN_EVENTS or scale < 1e-6:
        return None
    starts = _levels(one, first.n_indices), _levels(other, second.n_indices)
    joint = PairTable(first, second, *starts)
    values = joint.products(one, other) / FIXED_POINT
    when = None if times_ms is None else times_ms if both is None else times_ms[both]
    season = fit_seasons({"product": values}, when).get("product")
    left = values
    if season is not None and when is not None:
        left = season.residuals(to_fixed(values), when) / FIXED_POINT
    tau, block = required_block(left)
    widening = arl_widening(len(left), tau)
    max_deviation = max_deviation_of(
        extreme_products(first, second) / FIXED_POINT, float(values.mean()), season
    )
    cells = joint.cells(one, other)
    n_cells = len(starts[0]) * len(starts[1])
    centre = float(scores[0].mean() * scores[1].mean())
    fitted = CorrelationReference(
        first=first.name,
        second=second.name,
        n_events=len(one),
        correlation=0.0,
        centre=centre,
        scale=scale,
        first_starts=starts[0],
        second_starts=starts[1],
        cells=tuple(np.bincount(cells, minlength=n_cells).tolist()),
        channel=fit_channel("product", left, block, max_deviation, widening, season),
        tau=tau,
        short=widening > 1,
        calendar=None
        if season is None or when is None
        else fit_calendar(cells, n_cells, season, when, tau),
    )
    correlation = fitted.correlation_of(float(values.mean()))
    return msgspec.structs.replace(fitted, correlation=correlation)


def _levels(index: Ints, n_indices: int) -> tuple[int, ...]:
    """First index of each level; each level contains about a third of ``index`` (n,)."""
    counts = np.bincount(index, minlength=n_indices)
    present = np.flatnonzero(counts)
    below = np.cumsum(counts[present])[:-1]
    targets = np.arange(1, LEVELS) * (len(index) / LEVELS)
    cuts = np.unique([int(np.argmin(np.abs(below - target))) for target in targets])
    return (0, *(present[cuts] + 1).tolist())
