"""Fits the references of declared segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import UnsetType

from producer.events import Prediction
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.fit import (
    MIN_EVENTS,
    ReferenceTooShort,
    fit_feature,
    given_predictions,
    prediction_kind,
)
from stream_monitor.reference.loss import scores_of
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.segment_reference import SegmentReference, parse_segment
from stream_monitor.reference.values import Column, category
from stream_monitor.statistics.fixed_point import Floats, Ints

MAX_SEGMENTS: Final = 8
"""The most segments of a model: each has as many series as the model itself."""
MAX_SEGMENT_SERIES: Final = 64
"""The most series of all segments of a model: its profile must fit into one record."""
_ORDER_STATISTICS: Final = 200
_T = TypeVar("_T")


class _Wanted(NamedTuple):
    attribute: str
    value: str
    rows: Ints


def with_segments(
    profile: ReferenceProfile,
    columns: Mapping[str, Column],
    declared: Sequence[str],
    *,
    attributes: Mapping[str, Column] | None = None,
    predictions: Sequence[Prediction | UnsetType] | Floats | None = None,
    times_ms: Ints | None = None,
) -> ReferenceProfile:
    """``profile`` with a reference for each segment, from the same n rows.

    A declaration is an attribute (``carrier``: a segment for each of its values, the largest
    first) or one value of it (``carrier=UA``).  ``attributes`` are columns that are no features.
    There are at most `MAX_SEGMENTS`, of `MAX_SEGMENT_SERIES` series; segments beyond the limit, too
    small or missing are named in ``skipped``.
    """
    skipped = dict(profile.skipped)
    known = {**(attributes or {}), **columns}
    wanted: list[_Wanted] = []
    for declaration in declared:
        found, why = _wanted(declaration, known)
        wanted += [one for one in found if one[:2] not in {w[:2] for w in wanted}]
        if why:
            skipped[f"segment {declaration}"] = why
    segments: list[SegmentReference] = []
    n_series = 0
    for one in sorted(wanted, key=lambda one: (-len(one.rows), one[:2])):
        segment = _fit(one, profile, columns, predictions, times_ms)
        n_series += len(segment.references)
        if len(segments) == MAX_SEGMENTS or n_series > MAX_SEGMENT_SERIES:
            skipped[f"segment {segment.name}"] = (
                f"a model has at most {MAX_SEGMENTS} segments of {MAX_SEGMENT_SERIES} series in all"
            )
            break
        segments.append(segment)
    return msgspec.structs.replace(
        profile, segmented_by=tuple(declared), segments=tuple(segments), skipped=skipped
    )


def _wanted(declaration: str, known: Mapping[str, Column]) -> tuple[list[_Wanted], str]:
    """Segments with enough rows, and the reason why others are left out, if any."""
    attribute, value = parse_segment(declaration, known)
    if attribute not in known:
        return [], f"there is no column {attribute!r}"
    column = known[attribute]
    plain = column.tolist() if isinstance(column, np.ndarray) else column
    names = [category(each) for each in plain]
    counted = Counter(name for name in names if name is not None)
    asked = (
        [value] if value is not None else sorted(counted, key=lambda name: (-counted[name], name))
    )
    enough = [name for name in asked if counted[name] >= MIN_EVENTS]
    every = np.array([name or "" for name in names], dtype=object)
    found = [_Wanted(attribute, name, np.flatnonzero(every == name)) for name in enough]
    n_less = len(asked) - len(enough)
    why = f"{n_less} of {len(asked)} values have fewer than {MIN_EVENTS} rows" if n_less else ""
    return found, why


def _fit(
    wanted: _Wanted,
    profile: ReferenceProfile,
    columns: Mapping[str, Column],
    predictions: Sequence[Prediction | UnsetType] | Floats | None,
    times_ms: Ints | None,
) -> SegmentReference:
    rows = wanted.rows
    times = None if times_ms is None else times_ms[rows]
    features: dict[str, FeatureReference] = {}
    for name, feature in profile.features.items():
        if name != wanted.attribute:
            try:
                features[name] = fit_feature(
                    name,
                    _taken(columns[name], rows),
                    kind=feature.kind,
                    times_ms=times,
                    order_statistics=_ORDER_STATISTICS,
                )
            except ReferenceTooShort:
                continue  # too often missing here: only all traffic is watched
    prediction = None
    if profile.prediction is not None and predictions is not None:
        given, times = given_predictions(_taken(predictions, rows), times)
        scores = scores_of(given, profile.task, profile.positive)
        try:
            prediction = fit_feature(
                "prediction",
                scores,
                kind=prediction_kind(profile.task),
                times_ms=times,
                order_statistics=_ORDER_STATISTICS,
            )
        except ReferenceTooShort:
            prediction = None
    return SegmentReference(
        attribute=wanted.attribute,
        value=wanted.value,
        n_events=len(rows),
        share=len(rows) / max(1, profile.n_events),
        features=features,
        prediction=prediction,
    )


def _taken(column: Sequence[_T] | Floats, rows: Ints) -> Sequence[_T] | Floats:
    return column[rows] if isinstance(column, np.ndarray) else [column[i] for i in rows.tolist()]
