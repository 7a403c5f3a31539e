"""Learns the expected loss of a prediction from out-of-fold predictions and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from producer.events import Prediction
from stream_monitor.reference.channel_calibration import ValueChannel
from stream_monitor.reference.expected_loss import MAX_LOSS_BINS, ExpectedLoss
from stream_monitor.reference.feature_calibration import calibrate_channels
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.fit import MIN_EVENTS, ReferenceTooShort, fit_feature
from stream_monitor.reference.loss import confidence_of, scores_of
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.transform import Transform
from stream_monitor.statistics.fixed_point import Bools, Floats, Ints, to_fixed

SKIPPED: Final = "expected loss of the model"
_MIN_BIN_EVENTS: Final = 20
_FOLDS: Final = 10


def with_expected_loss(
    profile: ReferenceProfile,
    predictions: Sequence[Prediction],
    errors: Sequence[float | None],
    times_ms: Ints | None = None,
) -> ReferenceProfile:
    """``profile`` with the expected loss of a prediction, from n rows in order of time.

    ``predictions`` are out of fold, ``errors`` 0 or 1, or ``None`` where unknown.  Where the
    expected loss cannot be learned, ``skipped`` contains the reason.
    """
    try:
        expected = _fit(profile, predictions, errors, times_ms)
    except ReferenceTooShort as error:
        skipped = profile.skipped | {SKIPPED: str(error)}
        return msgspec.structs.replace(profile, skipped=skipped)
    return msgspec.structs.replace(profile, expected_loss=expected)


class _Binned(NamedTuple):
    """Labelled rows by bin; rows without a score are in the last one.

    From bin ``split`` on, a larger index is a more confident prediction; below it a less confident
    one.  ``None`` where bins have no order.
    """

    bins: Ints
    wrong: Floats
    n_bins: int
    split: int | None


def _fit(
    profile: ReferenceProfile,
    predictions: Sequence[Prediction],
    errors: Sequence[float | None],
    times_ms: Ints | None,
) -> ExpectedLoss:
    known = np.array([error is not None for error in errors], dtype=np.bool_)
    if profile.task == "regression":
        raise ReferenceTooShort("predictions of a regression contain no confidence")
    if int(known.sum()) < MIN_EVENTS:
        raise ReferenceTooShort(f"{known.sum()} labels of {len(known)}, {MIN_EVENTS} are needed")
    scores = scores_of(predictions, profile.task, profile.positive)
    reference, confidence = profile.prediction, None
    if profile.task == "multiclass" and any(isinstance(p, dict) for p in predictions):
        scores = [confidence_of(p) for p in predictions]
        confidence = fit_feature("confidence", scores, kind="numeric", times_ms=times_ms)
        reference = confidence
    if reference is None:
        raise ReferenceTooShort("the prediction itself cannot be watched")
    transform = Transform(reference)
    found = transform.apply(scores)
    index = np.full(len(known), -1, dtype=np.int64)
    index[found.valid] = found.index
    index = index[known]
    place = 0
    if profile.task == "binary" and reference.kind == "numeric":
        place = int(transform.apply([profile.threshold]).index[0])
    counts = np.bincount(index[index >= 0], minlength=reference.n_indices)
    starts = _starts(counts, place)
    rows = _Binned(
        np.where(index < 0, len(starts), np.searchsorted(starts, index, "right") - 1),
        np.array([error for error in errors if error is not None]),
        len(starts) + 1,
        sum(start < place for start in starts) if reference.kind == "numeric" else None,
    )
    return ExpectedLoss(
        starts=starts, outcome=_outcome(rows, ~known, times_ms), confidence=confidence
    )


def _starts(counts: Ints, place: int) -> tuple[int, ...]:
    """First index of bins with about equal counts; one of them begins at ``place``."""
    total = int(counts.sum())
    wanted = total / max(1, min(MAX_LOSS_BINS, total // _MIN_BIN_EVENTS))
    starts, done, inside = [0], 0, 0
    for i, count in enumerate(counts.tolist()):
        full = done >= len(starts) * wanted and inside >= _MIN_BIN_EVENTS
        if inside and (full or i == place):
            starts.append(i)
            inside = 0
        inside += count
        done += count
    return tuple(starts)


def _outcome(rows: _Binned, unknown: Bools, times_ms: Ints | None) -> FeatureReference:
    wrong, n_bins = rows.wrong, rows.n_bins
    cells = 2 * rows.bins + wrong.astype(np.int64)
    uncalibrated = FeatureReference(
        name="loss",
        kind="outcome",
        n_events=len(unknown),
        n_invalid=int(np.count_nonzero(unknown)),
        mean=float(wrong.mean()),
        sd=float(wrong.std(ddof=1)),
        minimum=float(wrong.min()),
        maximum=float(wrong.max()),
        expected_losses=tuple(to_fixed(_expected(rows, np.ones(len(wrong), np.bool_))).tolist()),
        bin_starts=tuple(range(2 * n_bins)),
        bin_counts=tuple(np.bincount(cells, minlength=2 * n_bins).tolist()),
        bin_labels=tuple(
            f"bin {i}, {outcome}" for i in range(n_bins) for outcome in ("right", "wrong")
        ),
    )
    channel_values: dict[ValueChannel, Floats] = {
        "location": wrong,
        "residual": wrong - _cross_fitted(rows),
    }
    fitted = calibrate_channels(uncalibrated, channel_values, cells, unknown, times_ms)
    channels = tuple(c for c in fitted.channels if c.channel != "validity")
    return msgspec.structs.replace(fitted, channels=channels)


def _cross_fitted(rows: _Binned) -> Floats:
    """The expected loss of each row, learned on the other nine tenths of the rows."""
    n = len(rows.wrong)
    folds = np.arange(n) * _FOLDS // n
    expected = np.empty(n)
    for fold in range(_FOLDS):
        mine = folds == fold
        expected[mine] = _expected(rows, ~mine)[rows.bins[mine]]
    return expected


def _expected(rows: _Binned, learnt_from: Bools) -> Floats:
    """The share of wrong ones in each bin (n_bins,), smoothed where bins have an order."""
    bins, wrong = rows.bins[learnt_from], rows.wrong[learnt_from]
    overall = float(wrong.mean())
    n = (np.bincount(bins, minlength=rows.n_bins) + 1).astype(np.float64)
    shares: Floats = (np.bincount(bins, weights=wrong, minlength=rows.n_bins) + overall) / n
    shares[-1] = overall  # rows without a score get the mean
    if rows.split is not None:
        from scipy.optimize import isotonic_regression  # noqa: PLC0415 - a tenth of a worker's start

        low, high = slice(0, rows.split), slice(rows.split, -1)
        shares[low] = isotonic_regression(shares[low], weights=n[low]).x
        shares[high] = isotonic_regression(shares[high], weights=n[high], increasing=False).x
    return shares
