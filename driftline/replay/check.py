"""Two files against each other, column by column: for pipelines that must not pass on drift.

The distances are those of the monitor's windows.  Many columns are many tests: p-values are judged
by Holm's method (1979) at ``ALPHA`` over all columns, and a difference must also be large enough
to matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from driftline.replay.columns import Feature, Layout, floats_of, values_of
from stream_monitor.reference.errors import ReferenceTooShort
from stream_monitor.reference.feature import FeatureReference
from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.fixed_point import Bools, Ints
from stream_monitor.reference.transform import Transform, Transformed, bin_positions
from stream_monitor.reference.values import Column, booleans, numbers
from stream_monitor.windows.comparison import compare
from stream_monitor.windows.distance import psi_adjusted

Verdict: TypeAlias = Literal["ok", "drift", "quality", "not_compared"]

ALPHA: Final = 0.001
MIN_EFFECT: Final = 0.02
_MIN_MISSING: Final = 0.01
_MOSTLY: Final = 0.5
_FREQUENT: Final = 9  # categories with a bin of their own
_MIN_SHARE: Final = 0.005


class ColumnCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One column.  ``effect`` is the adjusted population stability index.

    ``moved``: its values changed.  ``lost``: it is gone, or most of it became missing, invalid or
    unseen.  A quality verdict may be either, both or none.

    Of columns that have an order, ``wasserstein`` is how far their values moved, in standard
    deviations (normal scores), and ``ks`` the largest distance of their cumulative shares.
    """

    column: str
    kind: str
    verdict: Verdict
    effect: float = 0.0
    p_value: float = 1.0
    jensen_shannon: float = 0.0
    wasserstein: float | None = None
    ks: float | None = None
    missing_before: float = 0.0
    missing_now: float = 0.0
    explanation: str = ""
    moved: bool = False
    lost: bool = False


class _Shares(NamedTuple):
    """Missing, invalid or unseen values in both files; ``like`` is the first that is no gap."""

    before: float
    now: float
    p_value: float
    like: str = ""


class _Compared(NamedTuple):
    feature: Feature
    effect: float
    p_value: float
    jensen_shannon: float
    wasserstein: float | None
    ks: float | None
    missing: _Shares
    sentence: str
    tau: float


def check(reference: pd.DataFrame, current: pd.DataFrame, layout: Layout) -> list[ColumnCheck]:
    """Every column of the reference against that of the current file; new columns at the end."""
    compared: list[_Compared] = []
    short: list[tuple[Feature, str, _Shares]] = []
    found: dict[str, ColumnCheck] = {}
    for feature in layout.features:
        if feature.column not in current:
            found[feature.column] = _gone(feature.column, feature.kind)
            continue
        try:
            compared.append(_compare(feature, reference, current))
        except ReferenceTooShort as error:
            short.append((feature, str(error), _plain_shares(feature, reference, current)))
    p_values = [p for one in compared for p in (one.p_value, one.missing.p_value)]
    significant = iter(holm([*p_values, *(shares.p_value for *_, shares in short)], ALPHA))
    for one in compared:
        moved, went_missing = next(significant), next(significant)
        found[one.feature.column] = _judged(one, moved=moved, went_missing=went_missing)
    for feature, why, shares in short:
        found[feature.column] = _judged_by_gaps(feature, why, shares, told=next(significant))
    known = {*found, *layout.ignored, layout.time, layout.prediction, layout.label}
    new = [
        ColumnCheck(
            column=str(name), kind="unknown", verdict="quality", explanation="the column is new"
        )
        for name in current
        if str(name) not in known
    ]
    timeless = layout.time is not None and layout.time not in current
    gone = [_gone(str(layout.time), "time")] if timeless else []
    return [*(found[f.column] for f in layout.features), *gone, *new]


def _gone(column: str, kind: str) -> ColumnCheck:
    return ColumnCheck(
        column=column, kind=kind, verdict="quality", explanation="the column is gone", lost=True
    )


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses to reject, so that a false rejection among all has probability ``alpha``.

    >>> holm([0.01, 0.04, 0.03, 0.005], 0.05)
    [True, False, False, True]
    """
    rejected = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for rank, i in enumerate(order):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def _judged(one: _Compared, *, moved: bool, went_missing: bool) -> ColumnCheck:
    before, now, *_ = one.missing
    moved = moved and one.effect >= MIN_EFFECT
    went_missing = went_missing and abs(now - before) >= _MIN_MISSING
    verdict: Verdict = "ok"
    explanation = one.sentence
    if went_missing:
        verdict = "quality"
        explanation = _told(one.missing) + (f"; {explanation}" if moved else "")
    elif moved:
        verdict = "drift"
    elif one.effect >= MIN_EFFECT:
        explanation += ", may be chance"
        if one.tau > 1:
            explanation += f": {one.tau:,.0f} rows in a row tell as much as one"
    return ColumnCheck(
        column=one.feature.column, kind=one.feature.kind, verdict=verdict,
        effect=round(one.effect, 4), p_value=one.p_value, jensen_shannon=one.jensen_shannon,
        wasserstein=one.wasserstein, ks=one.ks,
        missing_before=round(before, 4), missing_now=round(now, 4), explanation=explanation,
        moved=moved, lost=went_missing and _is_lost(one.missing),
    )  # fmt: skip


def _judged_by_gaps(feature: Feature, why: str, shares: _Shares, *, told: bool) -> ColumnCheck:
    """What there is to say of a column with too few values to compare: its gaps, no more."""
    told = told and abs(shares.now - shares.before) >= _MIN_MISSING
    return ColumnCheck(
        column=feature.column, kind=feature.kind, verdict="quality" if told else "not_compared",
        missing_before=round(shares.before, 4), missing_now=round(shares.now, 4),
        explanation=f"{_told(shares)}; its values are not compared: {why}" if told else why,
        lost=told and _is_lost(shares),
    )  # fmt: skip


def _is_lost(shares: _Shares) -> bool:
    return shares.now > shares.before and shares.now >= _MOSTLY


def _told(shares: _Shares) -> str:
    like = f", like {shares.like}" if shares.like else ""
    return f"missing, invalid or unseen {shares.before:.1%} → {shares.now:.1%}{like}"


def _compare(feature: Feature, reference: pd.DataFrame, current: pd.DataFrame) -> _Compared:
    before, now = (_column(frame[feature.column], feature) for frame in (reference, current))
    fitted = fit_feature(feature.name, before, kind=feature.kind)
    transform = Transform(fitted)
    normal, found = transform.apply(before), transform.apply(now)
    bins, reference_bins = (
        _category_bins(now, before)
        if feature.kind == "categorical"
        else _bins(fitted, found.index, normal.index)
    )
    if bins[-1] == reference_bins[-1] == 0:
        bins, reference_bins = bins[:-1], reference_bins[:-1]
    tau = max(1.0, fitted.tau)
    effect, p_value = psi_adjusted(bins, reference_bins, tau)
    missing = _shares(fitted.n_invalid, fitted.n_events, ~found.valid, tau, current[feature.column])
    positions = bin_positions(fitted)
    if positions is not None:
        positions = positions[: len(bins)]
    found_by = compare(bins, reference_bins, tau, positions=positions, n_features=1)
    means = _mean(before, normal, feature), _mean(now, found, feature)
    sentence = "" if None in means else f"mean {means[0]:.3g} → {means[1]:.3g}, "
    return _Compared(
        feature,
        effect,
        p_value,
        found_by.jensen_shannon,
        found_by.wasserstein,
        found_by.ks,
        missing,
        f"{sentence}PSI {effect:.3g}",
        tau,
    )


def _shares(hits: int, n: int, invalid: Bools, tau: float, values: pd.Series[Any]) -> _Shares:
    """Of ``hits`` in ``n`` and those that are now ``invalid`` (m,); ``values`` as they came.

    Where there is no value at all any more, it does not matter how values depend on each other.
    """
    m, more_hits = len(invalid), int(np.count_nonzero(invalid))
    p_value = _p_of_shares(hits, n, more_hits, m, 1.0 if more_hits == m else tau)
    odd = values[invalid & values.notna().to_numpy()]
    return _Shares(hits / n, more_hits / m, p_value, repr(odd.iloc[0])[:40] if len(odd) else "")


def _plain_shares(feature: Feature, reference: pd.DataFrame, current: pd.DataFrame) -> _Shares:
    """Values that are none of their kind; what is unseen is not told without a reference."""
    before, now = (
        ~numbers(floats_of(frame[feature.column]))[0]
        if feature.kind == "numeric"
        else ~booleans(values_of(frame[feature.column], "boolean"))[0]
        if feature.kind == "boolean"
        else frame[feature.column].isna().to_numpy()
        for frame in (reference, current)
    )
    hits = int(np.count_nonzero(before))
    return _shares(hits, len(before), now, 1.0, current[feature.column])


def _bins(fitted: FeatureReference, now: Ints, before: Ints) -> tuple[list[int], list[int]]:
    """How many of the indices (n,), (m,) of numbers lie in each bin of the monitor."""
    bin_of = fitted.bin_of_index
    bins, reference_bins = (
        np.bincount(bin_of[index], minlength=len(fitted.bin_counts)) for index in (now, before)
    )
    return bins.tolist(), reference_bins.tolist()


def _category_bins(now: Column, before: Column) -> tuple[list[int], list[int]]:
    """How often each category is in either file, the less frequent ones together.

    Which ones are frequent is told by both files.  The most frequent of the reference alone are
    so by chance, too, and would seem to have lost: of 200 categories alike in both files, 2,000
    rows and 5,000, half the checks failed.

    >>> _category_bins(["a", "b", "b", None], ["a", "a", "b"])
    ([1, 2, 0], [2, 1, 0])
    """
    counts, reference_counts = (
        Counter(name for name in names if name is not None) for names in (now, before)
    )
    both = counts + reference_counts
    least = _MIN_SHARE * both.total()
    frequent = [name for name, count in both.most_common(_FREQUENT) if count >= least]
    bins, reference_bins = (
        [*(one[name] for name in frequent), one.total() - sum(one[name] for name in frequent)]
        for one in (counts, reference_counts)
    )
    return bins, reference_bins


def _mean(column: Column, transformed: Transformed, feature: Feature) -> float | None:
    """The mean of the valid values; ``None`` where there is none."""
    if feature.kind == "categorical" or not len(transformed.index):
        return None
    if feature.kind == "boolean":
        return float(transformed.index.mean())
    return float(np.asarray(column)[transformed.valid].mean())


def _column(series: pd.Series[Any], feature: Feature) -> Column:
    """The column as the reference has it; what is no number any more is missing."""
    return floats_of(series) if feature.kind == "numeric" else values_of(series, feature.kind)


def _p_of_shares(hits: int, n: int, more_hits: int, m: int, tau: float) -> float:
    """Two-sided p-value of two shares being equal (Fisher), both samples divided by ``tau``."""
    one, other = round(hits / tau), round(more_hits / tau)
    table = [[one, round(n / tau) - one], [other, max(other, round(m / tau)) - other]]
    return float(fisher_exact(np.array(table)).pvalue)
