"""Error rates of each model version: estimated without labels, and realised with labels.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from stream_monitor.checks.error_estimate import ErrorRates
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.state.partition_state import estimates_of


class ErrorRateEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Error rates of one version, over all partitions; null without predictions or labels.

    ``estimated`` is the expected error rate of the latest ``n_predictions`` predictions.  For the
    predictions of the latest ``n_labels`` labels, ``estimated_of_labelled`` was expected and
    ``realised`` is the actual error rate.
    """

    model: str
    reference: float
    n_predictions: int = 0
    estimated: float | None = None
    n_labels: int = 0
    estimated_of_labelled: float | None = None
    realised: float | None = None


def error_rate_estimates(monitors: Iterable[PartitionMonitor]) -> list[ErrorRateEstimate]:
    """The estimates of the versions in service, by name."""
    references: dict[str, float] = {}
    predictions: dict[str, list[ErrorRates]] = {}
    labels: dict[str, list[ErrorRates]] = {}
    for monitor in monitors:
        for name, estimate in estimates_of(monitor):
            references[name] = estimate.table.mean
            predictions.setdefault(name, []).append(estimate.of_predictions)
            labels.setdefault(name, []).append(estimate.of_labels)
    return [_row(name, references[name], predictions, labels) for name in sorted(references)]


def _row(
    name: str,
    reference: float,
    predictions: Mapping[str, Sequence[ErrorRates]],
    labels: Mapping[str, Sequence[ErrorRates]],
) -> ErrorRateEstimate:
    predicted, labelled = merged(predictions[name]), merged(labels[name])
    return ErrorRateEstimate(
        model=name,
        reference=round(reference, 6),
        n_predictions=predicted.n_events,
        estimated=_rounded(predicted.expected, predicted),
        n_labels=labelled.n_events,
        estimated_of_labelled=_rounded(labelled.expected, labelled),
        realised=_rounded(labelled.realised, labelled),
    )


def merged(shares: Iterable[ErrorRates]) -> ErrorRates:
    """The error rates of several partitions as one.

    >>> merged([ErrorRates(100, 0.2, 0.3), ErrorRates(300, 0.4, 0.5), ErrorRates(0, 0.0, 0.0)])
    ErrorRates(n_events=400, expected=0.35, realised=0.45)
    """
    known = [share for share in shares if share.n_events]
    n = sum(share.n_events for share in known)
    if not n:
        return ErrorRates(0, 0.0, 0.0)
    expected = sum(share.n_events * share.expected for share in known) / n
    return ErrorRates(n, expected, sum(share.n_events * share.realised for share in known) / n)


def _rounded(value: float, share: ErrorRates) -> float | None:
    return round(value, 6) if share.n_events else None


def line_of(row: Mapping[str, Any]) -> str:
    """The estimate of a version as text; ``row`` is an `ErrorRateEstimate` as plain data.

    >>> row = ErrorRateEstimate(model="m@1", reference=0.236, n_predictions=2041, estimated=0.241)
    >>> line_of(msgspec.to_builtins(row))
    'm@1: estimated 24.1 % on 2,041 predictions (reference 23.6 %); no labels yet'
    """
    reference = f"(reference {_percent(row['reference'])})"
    if row["estimated"] is None:
        return f"{row['model']}: no predictions yet {reference}"
    predicted = f"estimated {_percent(row['estimated'])} on {row['n_predictions']:,} predictions"
    labelled = "no labels yet"
    if row["realised"] is not None:
        labelled = (
            f"of those with labels estimated {_percent(row['estimated_of_labelled'])}, "
            f"realised {_percent(row['realised'])} on {row['n_labels']:,} labels"
        )
    return f"{row['model']}: {predicted} {reference}; {labelled}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
