"""What each column of recorded traffic is: looked at once, and shown, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from driftline.replay.source import BadSource

ColumnKind: TypeAlias = Literal["numeric", "categorical", "boolean"]

_SAMPLE: Final = 2_000
_MAX_CATEGORIES: Final = 1_000
_UNIQUE: Final = 0.9
_FEW: Final = 100
_A_TIME: Final = "it is a time (use --time)"
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.:-]")
_MAX_NAME: Final = 100
_MILLISECONDS: Final = 100_000_000_000  # 1973 in milliseconds, the year 5138 in seconds
_FIELDS: Final = {"id", "model", "version", "segment"}


class Feature(NamedTuple):
    """A watched column: its name in the file, its name in the core, and what it holds."""

    column: str
    name: str
    kind: ColumnKind


class Layout(NamedTuple):
    """The part each column plays; ``ignored`` says why."""

    features: tuple[Feature, ...]
    time: str | None
    prediction: str | None
    label: str | None
    ignored: dict[str, str]

    def column_of(self, name: str) -> str:
        """The file's name of a feature of the core."""
        return next((f.column for f in self.features if f.name == name), name)


def layout_of(
    frame: pd.DataFrame, *, time: str | None, prediction: str | None, label: str | None
) -> Layout:
    """Decide what each column is.  Named columns play their part; the others are looked at.

    Raises:
        BadSource: a named column is not there, or nothing is left to watch.
    """
    for role, name in (("--time", time), ("--prediction", prediction), ("--label", label)):
        if name is not None and name not in frame:
            raise BadSource(
                f"{role}: there is no column {name!r}", fix=f"it has {', '.join(map(str, frame))}"
            )
    ignored: dict[str, str] = {}
    features: list[Feature] = []
    taken: set[str] = set()
    for column in frame:
        if column in (time, prediction, label):
            continue
        kind, why = _look(str(column), frame[column])
        if kind is None:
            ignored[str(column)] = why
            continue
        name = _name(str(column), taken)
        taken.add(name)
        features.append(Feature(str(column), name, kind))
    if not features and prediction is None:
        reasons = "; ".join(f"{name}: {why}" for name, why in ignored.items())
        raise BadSource(f"there is nothing to watch ({reasons})")
    return Layout(tuple(features), time, prediction, label, ignored)


def _look(name: str, series: pd.Series[Any]) -> tuple[ColumnKind | None, str]:
    known = series.dropna()
    if known.empty:
        return None, "all values are missing"
    if pd.api.types.is_bool_dtype(known) or set(known.head(_SAMPLE).map(type)) == {bool}:
        return "boolean", ""
    if pd.api.types.is_datetime64_any_dtype(known):
        return None, _A_TIME
    if pd.api.types.is_numeric_dtype(known):
        counts_up = len(known) > _MAX_CATEGORIES and bool((np.diff(known.to_numpy()) > 0).all())
        return (None, "it only counts up, row by row") if counts_up else ("numeric", "")
    why = _no_category(name, known)
    return (None, why) if why else ("categorical", "")


def _no_category(name: str, known: pd.Series[Any]) -> str:
    """Why these values are no categories; empty where they are."""
    if known.head(_SAMPLE).map(lambda x: isinstance(x, dict | list | set | np.ndarray)).any():
        return "its values are no scalars"
    texts = known.astype(str)
    if _are_times(texts.head(_SAMPLE)):
        return _A_TIME
    n_different = texts.nunique()
    if name in _FIELDS and n_different == 1:
        return "it says the same in every row"
    mostly_different = len(texts) > _FEW and n_different > _UNIQUE * len(texts)
    if n_different > _MAX_CATEGORIES or mostly_different:
        return f"it has {n_different:,} different texts: an identifier, or free text"
    return ""


def _are_times(texts: pd.Series[Any]) -> bool:
    if not texts.str.match(r"\d{4}-\d{2}-\d{2}").all():
        return False
    return bool(pd.to_datetime(texts, errors="coerce", format="ISO8601", utc=True).notna().all())


def _name(column: str, taken: set[str]) -> str:
    """A name the contract allows, and nobody else has.

    >>> _name("wind speed (mph)", {"x"})
    'wind_speed__mph_'
    """
    name = wanted = _NOT_IN_NAMES.sub("_", column)[:_MAX_NAME] or "_"
    number = 1
    while name in taken:
        number += 1
        name = f"{wanted}.{number}"
    return name


def values_of(series: pd.Series[Any], kind: ColumnKind) -> list[Any]:
    """The values as an event carries them: plain Python, ``None`` where one is missing."""
    if kind == "numeric":
        floats = series.to_numpy(dtype=np.float64, na_value=np.nan)
        finite = np.isfinite(floats)
        plain: list[Any] = floats.tolist()
        if not finite.all():
            for row in np.flatnonzero(~finite).tolist():
                plain[row] = None
        return plain
    filled = series.astype(object).where(series.notna(), None)
    if kind == "boolean":
        return [None if value is None else bool(value) for value in filled.tolist()]
    return [None if value is None else str(value) for value in filled.tolist()]


def times_ms(series: pd.Series[Any]) -> Sequence[int]:
    """Event time of every row: ISO 8601, or a number of seconds or milliseconds since 1970.

    Raises:
        BadSource: a row has no time; says which.
    """
    if pd.api.types.is_numeric_dtype(series):
        numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
        if np.nanmax(numbers, initial=0.0) < _MILLISECONDS:
            numbers = numbers * 1000
        bad = ~(np.isfinite(numbers) & (numbers >= 0))
    else:
        moments = pd.to_datetime(series, errors="coerce", format="ISO8601", utc=True)
        bad = moments.isna().to_numpy()
        numbers = moments.dt.as_unit("ms").astype("int64").to_numpy(dtype=np.float64)
        bad = bad | (numbers < 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise BadSource(
            f"--time: row {row}: {series.iloc[row]!r} is no time since 1970",
            fix="ISO 8601 (2013-01-31T12:00:00Z), or seconds or milliseconds",
        )
    times: list[int] = numbers.astype(np.int64).tolist()
    return times
