"""Build a reference profile from rows, in the same way in every command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from driftline.offline.tables.convert import floats_of, plain_of, values_of
from driftline.offline.tables.event_times import times_ms
from driftline.offline.tables.layout import Layout
from driftline.offline.tables.source_error import SourceError
from stream_monitor.reference.bounds import DeclaredRange
from stream_monitor.reference.fit import MIN_EVENTS, NoPositiveLabel, ReferenceTooShort
from stream_monitor.reference.frame import NoCommonClass, profile_from_frame
from stream_monitor.reference.loss import classes_of, positive_is_implied
from stream_monitor.reference.profile import ReferenceProfile, Task

if TYPE_CHECKING:
    from stream_monitor.reference.profile import ClassLabel

_WORDS: Final = {"true": True, "false": False}


def positive_of(text: str | None, labels: pd.Series[Any] | None) -> ClassLabel | None:
    """The class that ``--positive`` names, among these labels; ``None`` without the option.

    >>> import pandas as pd
    >>> positive_of("yes", pd.Series(["yes", "no"])), positive_of("False", pd.Series([True, False]))
    ('yes', False)
    >>> positive_of("true", pd.Series(["true", "false"])), positive_of(None, None)
    ('true', None)
    """
    if text is None:
        return None
    named = [] if labels is None else classes_of(labels.dropna().astype(object).tolist())
    return text if text in named else _WORDS.get(text.lower(), text)


def positive_label_advice(error: NoPositiveLabel) -> tuple[str, str, str]:
    """The error about labels as three texts: what is wrong, why it matters, and the fix."""
    options = " or ".join(f"--positive {name!r}" for name in error.seen[:8])
    regression = "a regression needs driftline profile build --task regression"
    if error.positive is None:
        return (
            f"the labels are {error.named}, and it is unknown which one is positive",
            "only 0 and 1, or True and False, are clear; with the wrong one the error is inverted",
            f"name the label whose probability is predicted: {options}; {regression}",
        )
    return (
        f"no label is the positive class {error.positive!r}",
        f"the labels are {error.named}, and each would count as negative",
        f"name the label whose probability is predicted: {options}",
    )


def percentage_note(profile: ReferenceProfile, frame: pd.DataFrame, layout: Layout) -> str:
    """A note where labels are 0 and 1, and predictions are no probabilities; else empty.

    The error of such a regression is a distance between other scales.
    """
    if profile.task != "regression" or layout.label is None or layout.prediction is None:
        return ""
    scores = floats_of(frame[layout.prediction])
    known = scores[np.isfinite(scores)]
    labels = frame[layout.label].dropna().astype(object)
    has_two_classes = labels.map(str).nunique() == len(classes_of(labels.tolist())) == 2
    if not has_two_classes or not positive_is_implied(classes_of(labels.tolist())):
        return ""
    if not len(known):
        return ""
    low, high = float(known.min()), float(known.max())
    return (
        f"{layout.label} has two classes, and {layout.prediction} is from {low:.4g} to {high:.4g}, "
        "so it is taken for a regression; if these are probabilities, write them from 0 to 1 "
        "(percent divided by 100); else state it: profile build --task regression"
    )


# No name of a feature has a control character in it.
_PREDICTION: Final = "\x1fprediction"
_LABEL: Final = "\x1flabel"
_TIME: Final = "\x1ftime"


def profile_of(
    frame: pd.DataFrame,
    layout: Layout,
    *,
    model: str,
    version: str,
    segments: Sequence[str] = (),
    positive: str | None = None,
    task: Task | None = None,
    importances: dict[str, float] | None = None,
    events_per_week: float | None = None,
    ranges: Mapping[str, DeclaredRange] | None = None,
) -> ReferenceProfile:
    """The profile of the reference rows; with times it includes a season if the rows prove one.

    ``positive`` is the label whose probability is predicted; ``None``: 1.  ``ranges`` are the
    declared ranges by feature.

    Raises:
        SourceError: there are too few rows, or the positive label is missing or unknown.
    """
    columns: dict[str, Any] = {
        feature.name: floats_of(frame[feature.column])
        if feature.kind == "numeric"
        else pd.Series(values_of(frame[feature.column], feature.kind), dtype="object")
        for feature in layout.features
    }
    names = list(columns)
    for declared in segments:
        part = declared.partition("=")[0]
        if part not in columns and part in frame:
            columns[part] = frame[part].to_numpy(dtype=object)
    if layout.time is not None:
        columns[_TIME] = pd.to_datetime(times_ms(frame[layout.time]), unit="ms", utc=True)
    if layout.prediction is not None:
        columns[_PREDICTION] = pd.Series(plain_of(frame[layout.prediction]), dtype="object")
        if layout.label is not None:
            columns[_LABEL] = pd.Series(plain_of(frame[layout.label]), dtype="object")
    labels = None if layout.label is None else frame[layout.label]
    try:
        return profile_from_frame(
            pd.DataFrame(columns, index=range(len(frame))),
            model=model,
            version=version,
            prediction=_PREDICTION if _PREDICTION in columns else None,
            label=_LABEL if _LABEL in columns else None,
            features=names,
            time=_TIME if _TIME in columns else None,
            segments=segments,
            categorical=[f.name for f in layout.features if f.kind == "categorical"],
            positive=positive_of(positive, labels),
            task=task,
            importances=importances,
            events_per_week=events_per_week,
            range=ranges,
        )
    except NoPositiveLabel as error:
        what, why, fix = positive_label_advice(error)
        raise SourceError(f"--label {layout.label}: {what}; {why}", fix=fix) from error
    except NoCommonClass as error:
        raise SourceError(
            f"--label {layout.label}: the model predicts {error.predicted}, and the labels are "
            f"{error.seen}: every prediction would count as wrong",
            fix="write predictions and labels in the same way; where labels are 0 and 1, name the "
            "class that 1 stands for: --positive",
        ) from error
    except ReferenceTooShort as error:
        why = (
            f"{MIN_EVENTS} are needed"
            if len(frame) < MIN_EVENTS
            else f"no column has {MIN_EVENTS} valid values"
        )
        raise SourceError(
            f"the reference of {len(frame):,} rows is too short: {why}",
            fix="use 2,000 rows or more",
        ) from error
