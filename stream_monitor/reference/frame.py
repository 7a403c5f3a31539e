"""Fits a profile on a training frame: the only module of the package that uses pandas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET

from stream_monitor.reference.bounds import DeclaredRange
from stream_monitor.reference.epoch_times import calendar_dates, epoch_ms
from stream_monitor.reference.expected_loss_fit import with_expected_loss
from stream_monitor.reference.fit import NoPositiveLabel, fit_profile
from stream_monitor.reference.loss import (
    classes_of,
    lacks_positive,
    positive_is_implied,
    prediction_loss,
)
from stream_monitor.reference.outputs import output_names
from stream_monitor.reference.profile import ClassLabel, ReferenceProfile, Task
from stream_monitor.reference.segment_fit import with_segments
from stream_monitor.reference.segment_reference import parse_segment
from stream_monitor.reference.values import Column, category
from stream_monitor.statistics.fixed_point import Ints

if TYPE_CHECKING:
    import pandas as pd


def profile_from_frame(
    frame: pd.DataFrame,
    *,
    model: str,
    version: str,
    prediction: str | None = None,
    label: str | None = None,
    loss: str | None = None,
    n_losses: int | None = None,
    features: Sequence[str] | None = None,
    task: Task | None = None,
    threshold: float = 0.5,
    positive: ClassLabel | None = None,
    importances: dict[str, float] | None = None,
    time: str | None = None,
    segments: Sequence[str] = (),
    categorical: Sequence[str] = (),
    events_per_week: float | None = None,
    range: Mapping[str, DeclaredRange] | None = None,  # noqa: A002 - the public name
) -> ReferenceProfile:
    """The profile of a model version from its training data, with rows in order of time.

    ``prediction``, ``label`` and ``loss`` name columns of *out-of-fold* predictions, true labels,
    and losses.  In-sample losses are smaller than those in production, and would raise alerts for
    every model.  With ``n_losses`` only those of as many newest rows count.  By default the loss is
    computed from prediction and label, and the expected loss of a prediction is learned from both.
    A row whose prediction is ``msgspec.UNSET`` is an event
    without one; ``None`` is an invalid prediction.  All other columns are features, unless
    ``features`` names them.  ``time`` names the column of event times: dates, ISO 8601 texts, or
    numbers since 1970 UTC (seconds, milli-, micro- or nanoseconds, by their size).  With it a
    season by hour of the day or week is fitted where there is one.

    ``segments`` are columns whose values, or single values (``"origin=EWR"``), are also watched
    separately; a column that is no feature is an attribute that events name under ``segment``.
    ``categorical`` are features whose numbers are codes: categories, not quantities.  Labels of a
    binary model other than 0 and 1 (or -1 and 1) need ``positive``: the label whose probability the
    score is.

    ``importances`` of features, on any scale, weigh the severity of their drift.
    ``events_per_week`` of the model, for a budget per week, follows from the times; pass it where
    the frame has none, or is a sample of the traffic.  ``range`` declares the lowest and the
    highest value of a feature (``{"age": (0, 120)}``, ``None`` for an open end), instead of the
    fitted range.

    Raises:
        KeyError: a named column does not exist.
        ReferenceTooShort: the frame has too few rows to watch anything.
        NoPositiveLabel: no label of a binary model is the positive class, or ``positive`` is
            missing.
        NoCommonClass: no label is a class that the model predicts.
        ValueError: a row has no time, or an invalid one; an importance is no number, or of no
            feature; ``events_per_week`` is no positive number; a range is of no numeric feature, or
            empty; two columns have the same name.
    """
    if twice := [str(name) for name in frame.columns[frame.columns.duplicated()]]:
        raise ValueError(f"several columns have the name {twice[0]!r}")
    parted = {parse_segment(declared, map(str, frame))[0] for declared in segments}
    names = [name for name in (prediction, label, loss, time) if name is not None]
    chosen = list(features) if features is not None else [c for c in frame if c not in names]
    for name, importance in (importances or {}).items():
        if name not in chosen or not math.isfinite(importance):
            what = "of no feature" if name not in chosen else "no finite number"
            raise ValueError(f"importance of {name!r}: {importance!r} is {what}")
    if events_per_week is not None and not 0 < events_per_week < math.inf:
        raise ValueError(f"events_per_week: {events_per_week!r} is no positive number")
    ranges = _declared(range or {}, chosen)
    columns: dict[str, Column] = {
        str(name): _names(frame[name]) if name in categorical else _column(frame[name])
        for name in chosen
    }
    predictions = None if prediction is None else _plain(frame[prediction])
    labels = None if label is None else _plain(frame[label])
    answers = None if predictions is None else [None if p is UNSET else p for p in predictions]
    task = task or infer_task(answers or [], labels)
    errors: list[float | None] | None = None
    if predictions is not None and labels is not None:
        _require_classes(str(label), task, answers or [], labels, positive)
        errors = [
            prediction_loss(task, threshold, 1 if positive is None else positive, p, truth)
            for p, truth in zip(answers or [], labels, strict=True)
        ]
    losses: Column | None = errors if loss is None else _column(frame[loss])
    times_ms = None if time is None else _times_ms(frame[time])
    newest = slice(0 if n_losses is None else max(0, len(frame) - n_losses), None)
    profile = fit_profile(
        model,
        version,
        columns,
        predictions=predictions,
        losses=None if losses is None else losses[newest],
        task=task,
        origin="training",
        threshold=threshold,
        positive=1 if positive is None else positive,
        importances=importances,
        times_ms=times_ms,
        ranges=ranges,
    )
    _check_kinds(profile, ranges)
    if task == "binary" and errors is not None:
        profile = msgspec.structs.replace(profile, labels=tuple(classes_of(labels or [])))
    if events_per_week is not None:
        profile = msgspec.structs.replace(profile, events_per_week=float(events_per_week))
    if answers is not None and errors is not None:
        newest_ms = None if times_ms is None else times_ms[newest]
        profile = with_expected_loss(profile, answers[newest], errors[newest], newest_ms)
    if not segments:
        return profile
    return with_segments(
        profile,
        columns,
        segments,
        attributes={name: _column(frame[name]) for name in parted - columns.keys()},
        predictions=predictions,
        times_ms=times_ms,
    )


def _declared(
    ranges: Mapping[str, DeclaredRange], features: Sequence[Any]
) -> dict[str, DeclaredRange]:
    """The declared ranges.  Raises ValueError as `profile_from_frame` does."""
    for name, (low, high) in ranges.items():
        if name not in features:
            raise ValueError(f"range of {name!r}: there is no such feature")
        ends = [end for end in (low, high) if end is not None]
        if not ends or not all(map(math.isfinite, ends)) or ends != sorted(ends):
            raise ValueError(f"range of {name!r}: {low} … {high} contains no value, or every value")
    return dict(ranges)


def _check_kinds(profile: ReferenceProfile, ranges: Mapping[str, DeclaredRange]) -> None:
    for name in ranges.keys() & profile.features.keys():
        if (kind := profile.features[name].kind) != "numeric":
            raise ValueError(f"range of {name!r}: its values are {kind}")


def _require_positive(column: str, labels: Sequence[Any], positive: ClassLabel | None) -> None:
    """Raise NoPositiveLabel where the positive class is unknown."""
    known = classes_of(labels)
    if not positive_is_implied(known) if positive is None else lacks_positive(labels, positive):
        raise NoPositiveLabel(column, positive, known)


class NoCommonClass(ValueError):  # noqa: N818 - names a finding
    """No label is a class that the model predicts: every prediction would count as wrong."""

    def __init__(self, column: str, predicted: Sequence[str], seen: Sequence[str]) -> None:
        self.predicted, self.seen = (", ".join(map(repr, one[:8])) for one in (predicted, seen))
        super().__init__(
            f"column {column!r}: the model predicts {self.predicted}, and the labels are "
            f"{self.seen}: every prediction would count as wrong"
        )


def _require_classes(
    column: str,
    task: Task,
    predictions: Sequence[Any],
    labels: Sequence[Any],
    positive: ClassLabel | None,
) -> None:
    """Raise NoPositiveLabel or NoCommonClass where labels and predictions do not fit."""
    if task == "binary":
        _require_positive(column, labels, positive)
    if task == "multiclass" or (task == "binary" and positive is None):
        predicted = {name for p in predictions if isinstance(p, dict) for name in p}
        named = str if task == "binary" else (str, int, float)  # numbers may be probabilities
        predicted.update(classes_of([p for p in predictions if isinstance(p, named)]))
        seen = classes_of(labels)
        if predicted and seen and predicted.isdisjoint(seen):
            raise NoCommonClass(column, sorted(predicted), seen)


def infer_task(predictions: Sequence[Any], labels: Sequence[Any] | None = None) -> Task:
    """The task (binary, multiclass, regression) of a model with these predictions and labels.

    Labels that are fractions, such as rates, are those of a regression.

    >>> infer_task([0.2, 0.9]), infer_task(["UA", "AA", "DL"]), infer_task([12.5, 30.0])
    ('binary', 'multiclass', 'regression')
    >>> infer_task([0.2, 0.9], [0.25, 0.85])
    'regression'
    """
    known = [p for p in predictions if p is not None]
    if output_names(known):
        return "regression"
    classes = {category(y) for y in labels if y is not None} if labels is not None else set()
    if any(isinstance(p, str | dict) for p in known):
        named = classes or {category(p) for p in known if not isinstance(p, dict)}
        named |= {name for p in known if isinstance(p, dict) for name in p}
        return "binary" if named <= {"0", "1"} else "multiclass"
    within = all(isinstance(p, int | float) and 0 <= p <= 1 for p in known)
    fractions = any(isinstance(y, float) and not y.is_integer() for y in labels or ())
    return "binary" if within and len(classes) <= 2 and not fractions else "regression"


def _times_ms(series: pd.Series[Any]) -> Ints:
    """Event times as milliseconds since 1970 UTC; dates without a zone are UTC."""
    import pandas as pd  # noqa: PLC0415

    try:
        if pd.api.types.is_numeric_dtype(series):
            return _counted_ms(series)
        moments = pd.to_datetime(series, utc=True, format="ISO8601")  # 01/02/2024 is ambiguous
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"column {series.name!r} contains a value that is no time (ISO 8601; convert other "
            f"formats first, pandas.to_datetime(..., format=...)): {error}"
        ) from error
    if moments.isna().any():
        return _no_time(series)
    return np.array(moments.astype("datetime64[ms, UTC]").astype(np.int64), dtype=np.int64)


def _counted_ms(series: pd.Series[Any]) -> Ints:
    """Event times (ms) of a column of numbers.  Raises ValueError as `profile_from_frame` does."""
    if series.isna().any():
        return _no_time(series)
    clock = series.to_numpy(dtype=np.float64)
    if not np.isfinite(clock).all():
        raise ValueError("infinity is no time")
    if calendar_dates(clock).any():
        raise ValueError(f"{series.iloc[0]} is a day as it is written, not seconds since 1970")
    return epoch_ms(clock).astype(np.int64)


def _no_time(series: pd.Series[Any]) -> Ints:
    row = int(series.isna().to_numpy().argmax())
    raise ValueError(f"column {series.name!r}: row {row} has no time")


def _column(series: pd.Series[Any]) -> Column:
    """Numbers as an array, anything else as plain values, missing ones as ``None``."""
    if series.dtype.kind in "fiu":
        return series.to_numpy(dtype=np.float64)
    if series.dtype.kind == "m":  # in seconds, as the logger sends them
        return np.asarray(series.dt.total_seconds(), dtype=np.float64)
    return _plain(series)


def _names(series: pd.Series[Any]) -> Column:
    """Codes as category names; values without a name stay as they are."""
    return [None if v is None else category(v) or str(v) for v in _plain(series)]


def _plain(series: pd.Series[Any]) -> list[Any]:
    values: list[Any] = series.astype(object).where(series.notna(), None).tolist()
    if {np.ndarray, tuple}.isdisjoint(map(type, values)):
        return values
    return [list(v) if isinstance(v, np.ndarray | tuple) else v for v in values]
