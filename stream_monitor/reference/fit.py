"""Fits references on data: of a feature, of a loss, of a model version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from producer.events import Prediction
from producer.names import InvalidName, require_name, version_key
from stream_monitor.reference import bins
from stream_monitor.reference.bounds import DeclaredRange, fit_bounds
from stream_monitor.reference.categories import (
    cross_fitted_scores,
    order_categories,
    split_halves,
    vocabulary,
)
from stream_monitor.reference.channel_calibration import ValueChannel
from stream_monitor.reference.correlation_fit import fit_correlations
from stream_monitor.reference.event_rate import estimate_events_per_week
from stream_monitor.reference.feature_calibration import (
    MIN_REST_VALUES,
    calibrate_channels,
    calibrate_rest_channels,
)
from stream_monitor.reference.feature_reference import FeatureKind, FeatureReference
from stream_monitor.reference.loss import scores_of
from stream_monitor.reference.outputs import MAX_OUTPUTS, output_columns, output_names
from stream_monitor.reference.profile import ClassLabel, Origin, ReferenceProfile, Task
from stream_monitor.reference.transform import Transform
from stream_monitor.reference.values import Column, booleans, category, numbers
from stream_monitor.statistics.dependence import tie_statistics
from stream_monitor.statistics.fixed_point import FIXED_POINT, Bools, Floats, Ints


class ReferenceTooShort(ValueError):  # noqa: N818 - a finding about data
    """Too few valid values of the column ``name`` for a reference, for a ``reason``."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(f"{name}: {reason}" if name else reason)
        self.reason = reason


class NoPositiveLabel(ValueError):  # noqa: N818 - a finding about data
    """The positive class is unknown: no label in ``seen`` is ``positive``.

    With ``positive`` ``None`` the user gave no positive class, and the labels are not 0 and 1.
    """

    def __init__(self, column: str, positive: Any, seen: Sequence[str]) -> None:
        named = ", ".join(map(repr, seen[:8])) + (", ..." if len(seen) > 8 else "")
        none = "" if positive is None else f", and none of them is the positive class {positive!r}"
        super().__init__(
            f"labels in {column!r} are {named}{none}: set positive= to the positive class"
        )
        self.positive, self.seen, self.named = positive, tuple(seen), named


MIN_EVENTS: Final = 300
SKIPPED_PREDICTION: Final = "prediction of the model"
"""The name of predictions in ``skipped``."""
MAX_ORDER_STATISTICS: Final = 1000
_TOP: Final = 10
_IQR_OF_NORMAL: Final = 1.349


def fit_feature(
    name: str,
    values: Column,
    *,
    kind: FeatureKind | None = None,
    times_ms: Ints | None = None,
    order_statistics: int = MAX_ORDER_STATISTICS,
    allowed: DeclaredRange | None = None,
) -> FeatureReference:
    """The reference of a feature, from its n values in order of time.

    ``kind`` is inferred by default.  With event times ``times_ms`` (n,) a season by hour of the day
    or week is fitted where there is one.  A numeric feature is stored as at most this number of
    ``order_statistics``; ``allowed`` is its declared range.

    Raises:
        ReferenceTooShort: fewer than 300 values are valid.
    """
    kind = kind or infer_kind(values)
    if kind == "categorical":
        return _fit_categorical(name, values, times_ms)
    valid, floats = booleans(values) if kind == "boolean" else numbers(values)
    _require_enough(name, valid)
    known = floats[valid]
    uncalibrated = FeatureReference(
        name=name,
        kind=kind,
        n_events=len(valid),
        n_invalid=int(np.count_nonzero(~valid)),
        mean=float(known.mean()),
        sd=float(known.std(ddof=1)),
        minimum=float(known.min()),
        maximum=float(known.max()),
    )
    if kind == "boolean":
        ones = int(np.count_nonzero(known))
        uncalibrated = msgspec.structs.replace(
            uncalibrated,
            bin_starts=(0, 1),
            bin_counts=(len(known) - ones, ones),
            bin_labels=("false", "true"),
        )
        return calibrate_channels(
            uncalibrated, {"location": known}, known.astype(np.int64), ~valid, times_ms
        )
    fitted = _fit_numeric(uncalibrated, known, ~valid, times_ms, order_statistics)
    tau = max((c.tau for c in fitted.channels if c.channel != "validity"), default=1.0)
    return msgspec.structs.replace(fitted, bounds=fit_bounds(known, tau, allowed))


def fit_loss(losses: Column, *, task: Task, times_ms: Ints | None = None) -> FeatureReference:
    """The reference of a model's out-of-fold losses: 0/1 errors, or absolute errors.

    Its only channel is the location.  Raises ReferenceTooShort below 300 losses.
    """
    kind: FeatureKind = "numeric" if task == "regression" else "boolean"
    fitted = fit_feature("loss", losses, kind=kind, times_ms=times_ms)
    location = tuple(c for c in fitted.channels if c.channel == "location")
    return msgspec.structs.replace(fitted, channels=location, bounds=None)


def fit_profile(
    model: str,
    version: str,
    columns: Mapping[str, Column],
    *,
    predictions: Sequence[Prediction | UnsetType] | Floats | None = None,
    losses: Column | None = None,
    task: Task,
    origin: Origin,
    threshold: float = 0.5,
    positive: ClassLabel = 1,
    importances: Mapping[str, float] | None = None,
    times_ms: Ints | None = None,
    ranges: Mapping[str, DeclaredRange] | None = None,
) -> ReferenceProfile:
    """The profile of a model version, from columns of n values each, in order of time.

    ``losses`` may be those of the newest rows only.

    Columns with too few valid values are left out and named in ``skipped``.  ``times_ms`` are the
    event times of the rows (n,); without them there is no season and no event rate.  ``ranges`` are
    the declared ranges, by feature.

    Raises:
        InvalidName: the name of the model, the version or a column is not allowed in events.
        ReferenceTooShort: no column of a training frame can be watched.
    """
    require_name("model", model)
    require_name("version", version)
    for name in columns:
        require_name("column", name)
    features: dict[str, FeatureReference] = {}
    skipped: dict[str, str] = {}
    for name, column in columns.items():
        try:
            features[name] = fit_feature(
                name, column, times_ms=times_ms, allowed=(ranges or {}).get(name)
            )
        except ReferenceTooShort as error:
            skipped[name] = error.reason
    fitted = _Fitted(None, {})
    if predictions is not None:
        fitted = _fit_predictions(predictions, task, positive, times_ms, skipped)
    loss = None
    if losses is not None:
        try:
            newest_ms = None if times_ms is None else times_ms[len(times_ms) - len(losses) :]
            loss = fit_loss(losses, task=task, times_ms=newest_ms)
        except ReferenceTooShort as error:
            skipped["loss of the model"] = error.reason
    if origin == "training" and not features and not any(fitted):
        nothing = version_key(model, version)
        raise ReferenceTooShort(f"nothing of {nothing} can be watched: {skipped}")
    lengths = [len(c) for c in (*columns.values(), predictions) if c is not None]
    return ReferenceProfile(
        model=model,
        version=version,
        origin=origin,
        n_events=max(lengths, default=0),
        features=features,
        prediction=fitted.prediction,
        outputs=fitted.outputs,
        loss=loss,
        task=task,
        threshold=threshold,
        positive=positive,
        importances=dict(importances or {}),
        skipped=skipped,
        correlations=fit_correlations(features, columns, times_ms),
        events_per_week=None if times_ms is None else estimate_events_per_week(times_ms),
    )


class _Fitted(NamedTuple):
    """The reference of predictions: of a single value, or of each of several outputs."""

    prediction: FeatureReference | None
    outputs: dict[str, FeatureReference]


def given_predictions(
    predictions: Sequence[Prediction | UnsetType] | Floats, times_ms: Ints | None
) -> tuple[Sequence[Prediction] | Floats, Ints | None]:
    """The predictions of the rows that have one, and the event times of these rows (m,)."""
    if isinstance(predictions, np.ndarray):
        return predictions, times_ms
    given = [p for p in predictions if p is not UNSET]
    if len(given) < len(predictions) and times_ms is not None:
        times_ms = times_ms[[p is not UNSET for p in predictions]]
    return given, times_ms


def _fit_predictions(
    predictions: Sequence[Prediction | UnsetType] | Floats,
    task: Task,
    positive: ClassLabel,
    times_ms: Ints | None,
    skipped: dict[str, str],
) -> _Fitted:
    """Fit the predictions of the events that have one; those left out are in ``skipped``."""
    given, times_ms = given_predictions(predictions, times_ms)
    if not isinstance(given, np.ndarray) and (names := output_names(given, category(positive))):
        return _Fitted(None, _fit_outputs(output_columns(given, names), times_ms, skipped))
    if len(given) == 0:
        return _Fitted(None, {})
    scores = scores_of(given, task, positive)
    kind = prediction_kind(task)
    try:
        return _Fitted(fit_feature("prediction", scores, kind=kind, times_ms=times_ms), {})
    except ReferenceTooShort as error:
        skipped[SKIPPED_PREDICTION] = error.reason
        return _Fitted(None, {})


def _fit_outputs(
    columns: Mapping[str, Column], times_ms: Ints | None, skipped: dict[str, str]
) -> dict[str, FeatureReference]:
    """The reference of each output; outputs left out are named in ``skipped``."""
    found: dict[str, FeatureReference] = {}
    for name, column in columns.items():
        if len(found) == MAX_OUTPUTS:
            skipped[f"output {name}"] = f"a model has at most {MAX_OUTPUTS} watched outputs"
            continue
        try:
            require_name("output", name)
            found[name] = fit_feature(name, column, kind="numeric", times_ms=times_ms)
        except InvalidName as error:
            skipped[f"output {name}"] = str(error)
        except ReferenceTooShort as error:
            skipped[f"output {name}"] = error.reason
    return found


def prediction_kind(task: Task) -> FeatureKind | None:
    """The feature kind of the predictions of a task; ``None``: infer it from the values."""
    kinds: dict[Task, FeatureKind] = {"multiclass": "categorical", "regression": "numeric"}
    return kinds.get(task)


def infer_kind(values: Column) -> FeatureKind:
    """The kind of feature that has these values.

    >>> infer_kind([1.5, 2.0, None]), infer_kind(["UA", "AA"]), infer_kind([True, False])
    ('numeric', 'categorical', 'boolean')
    >>> infer_kind([0, 1, 1]), infer_kind([0, 0]), infer_kind(["true", "false"])
    ('boolean', 'numeric', 'boolean')
    """
    valid, floats = booleans(values)
    plain: Sequence[Any] = values if not isinstance(values, np.ndarray) else ()
    types = set(map(type, plain)) - {type(None)}
    if types == {bool}:
        return "boolean"
    missing = sum(v is None or v != v for v in plain)  # noqa: PLR0124 - NaN differs from itself
    if isinstance(values, np.ndarray):
        missing = int(np.count_nonzero(np.isnan(floats)))
    if valid.any() and int(np.count_nonzero(~valid)) == missing and len(set(floats[valid])) == 2:
        return "boolean"
    words = sum(isinstance(v, str) for v in plain) if str in types else 0
    return "categorical" if 2 * words > len(values) - missing else "numeric"


def _require_enough(name: str, valid: Bools) -> None:
    n_valid = int(np.count_nonzero(valid))
    if n_valid < MIN_EVENTS:
        raise ReferenceTooShort(
            f"{n_valid} valid values of {len(valid)}, {MIN_EVENTS} are needed", name
        )


def _fit_numeric(
    uncalibrated: FeatureReference,
    known: Floats,
    invalid: Bools,
    times_ms: Ints | None,
    order_statistics: int,
) -> FeatureReference:
    ordered = np.sort(known)
    n = len(ordered)
    k = min(n, order_statistics)
    # The middle of the i-th of k parts, in integers: rounding cannot leave the range.
    picked = ordered[(2 * np.arange(k) + 1) * n // (2 * k)]
    first, third = np.quantile(ordered, (0.25, 0.75)).tolist()
    centre = float(ordered[n // 2])
    spreads = ((third - first) / _IQR_OF_NORMAL, uncalibrated.sd or 0.0, abs(centre) / 1000, 1.0)
    scaled = msgspec.structs.replace(
        uncalibrated,
        order_statistics=picked.astype("<f8").tobytes(),
        centre=centre,
        scale=next(s for s in spreads if s > 0),
    )
    transform = Transform(scaled)
    index = transform.apply(known).index
    starts = bins.numeric_bins(index, scaled.n_indices, scaled.point_mass)
    counts = bins.bin_counts(index, starts, scaled.n_indices)
    repeats, longest_run = tie_statistics(known)
    binned = msgspec.structs.replace(
        scaled,
        repeats=repeats,
        longest_run=longest_run,
        bin_starts=starts,
        bin_counts=counts,
        bin_labels=bins.numeric_labels(known, counts),
    )
    channel_values: dict[ValueChannel, Floats] = {
        "location": transform.location[index] / FIXED_POINT
    }
    if transform.spread is not None and ordered[0] < ordered[-1] and len(np.unique(index)) > 2:
        channel_values["spread"] = transform.spread[index] / FIXED_POINT
    if transform.rest is None or transform.rest_spread is None:
        return calibrate_channels(binned, channel_values, index, invalid, times_ms)
    off = index[index != transform.point_mass]
    if len(off) < MIN_REST_VALUES or len(np.unique(off)) < 2:
        return calibrate_channels(binned, channel_values, index, invalid, times_ms)
    channel_values.pop("spread", None)  # of all values it adds little to the location
    rest: dict[ValueChannel, Floats] = {"rest": transform.rest[off] / FIXED_POINT}
    if len(np.unique(off)) > 2:
        rest["rest_spread"] = transform.rest_spread[off] / FIXED_POINT
    return calibrate_rest_channels(
        calibrate_channels(binned, channel_values, index, invalid, times_ms), rest
    )


def _fit_categorical(name: str, values: Column, times_ms: Ints | None) -> FeatureReference:
    plain: Sequence[Any] = values.tolist() if isinstance(values, np.ndarray) else values
    every = [category(value) for value in plain]
    known = vocabulary([c for c in every if c is not None])
    invalid = np.array([c is None or c in known.unseen for c in every], dtype=np.bool_)
    _require_enough(name, ~invalid)
    names = [c for c in every if c is not None and c not in known.unseen]
    counted = Counter(names)
    second = split_halves(len(names), None if times_ms is None else times_ms[~invalid])
    known, n_own, held_out = order_categories(names, known, second)
    categories = ("", *known.kept)
    index_of = {c: i for i, c in enumerate(categories) if i}
    index = np.array([index_of.get(c, 0) for c in names], dtype=np.int64)
    counts = np.bincount(index, minlength=len(categories))
    chose, counting = (index, index) if held_out is None else (index[~held_out], index[held_out])
    starts = bins.category_bins(np.bincount(chose, minlength=len(categories)), n_own)
    uncalibrated = FeatureReference(
        name=name,
        kind="categorical",
        n_events=len(every),
        n_invalid=int(np.count_nonzero(invalid)),
        categories=categories,
        category_counts=tuple(counts.tolist()),
        rare=known.rare,
        bin_starts=starts,
        bin_counts=bins.bin_counts(counting, starts, len(categories)),
        bin_labels=bins.category_labels(categories, starts, counts),
        top=tuple(counted.most_common(_TOP)),
    )
    transform = Transform(uncalibrated)
    location = transform.location[index] / FIXED_POINT
    spread = None if transform.spread is None else transform.spread[index] / FIXED_POINT
    if held_out is None:
        location, crossed = cross_fitted_scores(names, second)
        spread = None if spread is None else crossed
    channel_values: dict[ValueChannel, Floats] = {"location": location}
    if spread is not None:
        channel_values["spread"] = spread
    if transform.mix is not None:
        channel_values["mix"] = transform.mix[index] / FIXED_POINT
    return calibrate_channels(uncalibrated, channel_values, index, invalid, times_ms, held_out)
