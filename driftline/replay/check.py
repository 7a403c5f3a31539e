"""Two files against each other, column by column: for pipelines that must not pass on drift.

The distances are those of the monitor's windows.  Many columns are many tests: p-values are judged
by Holm's method (1979) at ``ALPHA`` over all columns, and a difference must also be large enough
to matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
import pandas as pd
from scipy.special import ndtr

from driftline.replay.columns import Feature, Layout, values_of
from stream_monitor.reference.errors import ReferenceTooShort
from stream_monitor.reference.feature import FeatureReference
from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.transform import Transform
from stream_monitor.windows.distance import distances, psi_adjusted

Verdict: TypeAlias = Literal["ok", "drift", "quality", "not_compared"]

ALPHA: Final = 0.001
MIN_EFFECT: Final = 0.02
_MIN_MISSING: Final = 0.01


class ColumnCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One column.  ``effect`` is the adjusted population stability index."""

    column: str
    kind: str
    verdict: Verdict
    effect: float = 0.0
    p_value: float = 1.0
    jensen_shannon: float = 0.0
    missing_before: float = 0.0
    missing_now: float = 0.0
    explanation: str = ""


class _Compared(NamedTuple):
    feature: Feature
    effect: float
    p_value: float
    jensen_shannon: float
    missing: tuple[float, float]
    p_missing: float
    sentence: str


def check(reference: pd.DataFrame, current: pd.DataFrame, layout: Layout) -> list[ColumnCheck]:
    """Every column of the reference against that of the current file; new columns at the end."""
    compared: list[_Compared] = []
    found: dict[str, ColumnCheck] = {}
    for feature in layout.features:
        if feature.column not in current:
            found[feature.column] = ColumnCheck(
                column=feature.column, kind=feature.kind, verdict="quality",
                explanation="the column is gone",
            )  # fmt: skip
            continue
        try:
            compared.append(_compare(feature, reference, current))
        except ReferenceTooShort as error:
            found[feature.column] = ColumnCheck(
                column=feature.column, kind=feature.kind, verdict="not_compared",
                explanation=str(error),
            )  # fmt: skip
    significant = holm([p for one in compared for p in (one.p_value, one.p_missing)], ALPHA)
    for i, one in enumerate(compared):
        moved, went_missing = significant[2 * i], significant[2 * i + 1]
        found[one.feature.column] = _judged(one, moved=moved, went_missing=went_missing)
    known = {*found, *layout.ignored, layout.time, layout.prediction, layout.label}
    new = [
        ColumnCheck(
            column=str(name), kind="unknown", verdict="quality", explanation="the column is new"
        )
        for name in current
        if name not in known
    ]
    return [*(found[f.column] for f in layout.features), *new]


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
    before, now = one.missing
    verdict: Verdict = "ok"
    explanation = one.sentence
    if went_missing and abs(now - before) >= _MIN_MISSING:
        verdict = "quality"
        explanation = f"missing or invalid {before:.1%} → {now:.1%}"
    elif moved and one.effect >= MIN_EFFECT:
        verdict = "drift"
    return ColumnCheck(
        column=one.feature.column, kind=one.feature.kind, verdict=verdict,
        effect=round(one.effect, 4), p_value=one.p_value, jensen_shannon=one.jensen_shannon,
        missing_before=round(before, 4), missing_now=round(now, 4), explanation=explanation,
    )  # fmt: skip


def _compare(feature: Feature, reference: pd.DataFrame, current: pd.DataFrame) -> _Compared:
    before = values_of(reference[feature.column], feature.kind)
    fitted = fit_feature(feature.name, _column(before, feature), kind=feature.kind)
    now = _readable(current[feature.column], feature)
    transformed = Transform(fitted).apply(now)
    tables = Transform(fitted).bin
    bins = np.bincount(tables[transformed.index], minlength=len(fitted.bin_counts)).tolist()
    tau = max(1.0, fitted.tau)
    effect, p_value = psi_adjusted(bins, fitted.bin_counts, tau)
    missing = fitted.n_invalid / fitted.n_events, 1 - float(transformed.valid.mean())
    p_missing = _p_of_shares(missing, (fitted.n_events, len(now)), tau)
    divergence = distances(bins, fitted.bin_counts, tau).jensen_shannon
    sentence = _sentence(fitted, now, transformed.valid, feature, effect)
    return _Compared(feature, effect, p_value, divergence, missing, p_missing, sentence)


def _readable(series: pd.Series[Any], feature: Feature) -> list[Any]:
    """The column as the reference has it; what is no number any more is missing."""
    if feature.kind == "numeric" and not pd.api.types.is_numeric_dtype(series):
        series = pd.to_numeric(series, errors="coerce")
    return values_of(series, feature.kind)


def _column(values: list[Any], feature: Feature) -> Any:
    if feature.kind != "numeric":
        return values
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _p_of_shares(shares: tuple[float, float], sizes: tuple[int, int], tau: float) -> float:
    """Two-sided p-value of two shares being equal, with both samples divided by ``tau``."""
    n, m = sizes[0] / tau, sizes[1] / tau
    pooled = (shares[0] * n + shares[1] * m) / (n + m)
    sd = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return 1.0 if sd == 0 else float(2 * ndtr(-abs(shares[0] - shares[1]) / sd))


def _sentence(
    fitted: FeatureReference, now: list[Any], valid: Any, feature: Feature, effect: float
) -> str:
    known = [value for value, good in zip(now, valid.tolist(), strict=True) if good]
    if feature.kind == "categorical" or not known or fitted.mean is None:
        return f"PSI {effect:.3g}"
    return f"mean {fitted.mean:.3g} → {float(np.mean(known)):.3g}, PSI {effect:.3g}"
