"""What each column of recorded traffic is: looked at once, and shown, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from driftline.replay.codes import may_be_codes, named_columns
from driftline.replay.refusal import BadSource
from producer.names import BadName, require_name
from stream_monitor.reference.fixed_point import Floats
from stream_monitor.reference.values import category

ColumnKind: TypeAlias = Literal["numeric", "categorical", "boolean"]

_SAMPLE: Final = 2_000
_MAX_CATEGORIES: Final = 1_000
_UNIQUE: Final = 0.9
_FEW: Final = 100
_MOST: Final = 0.9
_A_TIME: Final = "it is a time (use --time)"
_A_DATE: Final = r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})([T ].*)?"
_FIELDS: Final = {"id", "model", "version", "segment"}


class Feature(NamedTuple):
    """A watched column: its name in the file, its name in the core, and what it holds."""

    column: str
    name: str
    kind: ColumnKind


class Layout(NamedTuple):
    """The part each column plays; ``ignored`` says why.

    ``codes`` are numbers that may be categories: few different ones, all of them whole.
    """

    features: tuple[Feature, ...]
    time: str | None
    prediction: str | None
    label: str | None
    ignored: dict[str, str]
    codes: tuple[str, ...] = ()

    def column_of(self, name: str) -> str:
        """The file's name of a feature of the core."""
        return next((f.column for f in self.features if f.name == name), name)


def layout_of(
    frame: pd.DataFrame,
    *,
    time: str | None,
    prediction: str | None,
    label: str | None,
    categorical: Sequence[str] = (),
) -> Layout:
    """Decide what each column is.  Named columns play their part; the others are looked at.

    ``categorical`` are columns of categories, whatever they look like; a text may name several,
    with commas between them.

    Raises:
        BadSource: a named column is not there, or nothing is left to watch.
    """
    require(frame, time, prediction, label)
    ignored: dict[str, str] = {}
    features: list[Feature] = []
    codes: list[str] = []
    categories = named_columns(
        categorical, [str(c) for c in frame if c not in (time, prediction, label)]
    )
    for column in frame:
        if column in (time, prediction, label):
            continue
        kind, why = look(str(column), frame[column])
        if column in categories and frame[column].notna().any():
            kind = "categorical"
        if kind is None:
            ignored[str(column)] = why
            continue
        features.append(Feature(str(column), _name(column), kind))
        if kind == "numeric" and may_be_codes(frame[column]):
            codes.append(str(column))
    if not features and prediction is None:
        reasons = "; ".join(f"{name}: {why}" for name, why in ignored.items())
        raise BadSource(f"there is nothing to watch ({reasons})")
    return Layout(tuple(features), time, prediction, label, ignored, tuple(codes))


def require(
    frame: pd.DataFrame, time: str | None, prediction: str | None, label: str | None
) -> None:
    """Raises BadSource where a named column is not there."""
    for role, name in (("--time", time), ("--prediction", prediction), ("--label", label)):
        if name is not None and name not in frame:
            raise BadSource(
                f"{role}: there is no column {name!r}", fix=f"it has {', '.join(map(str, frame))}"
            )


def look(name: str, series: pd.Series[Any]) -> tuple[ColumnKind | None, str]:
    """What a column holds, or why it is not watched."""
    known = series.dropna()
    if known.empty:
        return None, "all values are missing"
    if pd.api.types.is_bool_dtype(known) or set(known.head(_SAMPLE).map(type)) == {bool}:
        return "boolean", ""
    if pd.api.types.is_datetime64_any_dtype(known):
        return None, _A_TIME
    if not pd.api.types.is_numeric_dtype(known):
        why = _no_scalars(known)
        if why:
            return None, why
        if not _are_numbers(known.astype(str)):
            why = _no_category(name, known.astype(str))
            return (None, why) if why else ("categorical", "")
    floats = floats_of(known)
    counts_up = len(set(floats.tolist())) > _MAX_CATEGORIES and bool(
        (floats[1:] >= floats[:-1]).all()
    )
    return (None, "it only counts up, row by row") if counts_up else ("numeric", "")


def _no_scalars(known: pd.Series[Any]) -> str:
    odd = known.head(_SAMPLE).map(lambda x: isinstance(x, dict | list | set | np.ndarray))
    return "its values are no scalars" if odd.any() else ""


def _are_numbers(texts: pd.Series[Any]) -> bool:
    """Numbers that were sent as texts; a few others among them are invalid values.

    A leading zero makes a code of it: 02134 is a place.
    """
    sample = texts.head(_SAMPLE)
    n_numbers = int(np.isfinite(floats_of(sample)).sum())
    return n_numbers >= _MOST * len(sample) and not sample.str.match(r"0\d").any()


def _no_category(name: str, texts: pd.Series[Any]) -> str:
    """Why these values are no categories; empty where they are."""
    if texts.head(_SAMPLE).str.fullmatch(_A_DATE).all():
        return _A_TIME
    n_different = texts.nunique()
    if name in _FIELDS and n_different == 1:
        return "it says the same in every row"
    mostly_different = len(texts) > _FEW and n_different > _UNIQUE * len(texts)
    if n_different > _MAX_CATEGORIES or mostly_different:
        return f"it has {n_different:,} different texts: an identifier, or free text"
    return ""


def _name(column: object) -> str:
    """The feature of a column.  Raises BadSource where the log would not take its name."""
    try:
        return require_name("column", str(column))
    except BadName as error:
        raise BadSource(str(error), fix="give the column another name, or --ignore it") from error


def values_of(series: pd.Series[Any], kind: ColumnKind) -> list[Any]:
    """The values as an event carries them: plain Python, ``None`` where one is missing.

    A text among numbers stays a text: the monitor shall see what came.
    """
    if kind == "numeric":
        floats = floats_of(series)
        finite = np.isfinite(floats)
        plain: list[Any] = floats.tolist()
        for row in np.flatnonzero(~finite).tolist():
            value = series.iloc[row]
            plain[row] = value if isinstance(value, str) else None
        return plain
    filled = series.astype(object).where(series.notna(), None).tolist()
    if kind == "boolean":
        return [bool(value) if isinstance(value, np.bool_) else value for value in filled]
    return [value if type(value) is str or value is None else _text(value) for value in filled]


def _text(value: Any) -> str:
    """A category by name: a whole number is the same one with and without a fraction of zero."""
    return category(value) or str(value)


def floats_of(series: pd.Series[Any]) -> Floats:
    """The values (n,) as numbers, NaN for what is none."""
    if not pd.api.types.is_numeric_dtype(series):
        series = pd.to_numeric(series.astype(object), errors="coerce")
    return series.to_numpy(dtype=np.float64, na_value=np.nan)
