"""Read JSON lines, or a JSON array, as rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd
from msgspec import UNSET

from driftline.offline.tables.column_statistics import EXACT
from driftline.offline.tables.encoding import TextEncoding, open_text
from driftline.offline.tables.source_error import SourceError

_FIX: Final = "write one JSON object a line: {...}"
_decode = msgspec.json.Decoder().decode


def chunks(
    path: Path, text: TextEncoding, n_rows: int, prediction: str | None = None
) -> Iterator[pd.DataFrame]:
    """Frames with a row for each object.

    A key that an object lacks is a missing value; a missing ``prediction`` is ``UNSET``.  The
    features of an event in driftline's own format become columns.

    Raises:
        SourceError: a line is not an object.
    """
    rows: list[dict[str, Any]] = []
    for value, where in _values(path, text):
        rows.append(_row(value, where))
        if len(rows) == n_rows:
            yield _frame(rows, prediction)
            rows = []
    if rows:
        yield _frame(rows, prediction)


def _values(path: Path, text: TextEncoding) -> Iterator[tuple[Any, str]]:
    with open_text(path, text) as file:
        first = ""
        for first in file:
            if first.strip():
                break
        if not first.strip():
            raise SourceError(f"{path}: the file is empty")
        if first.lstrip().startswith("["):
            yield from _array(first + file.read(), path)
            return
        try:
            _decode(first)
        except msgspec.DecodeError:
            whole = first + file.read()
            if whole.count("\n") and not _is_value(first):
                yield from _one_after_another(whole, path)
                return
            yield from _lines(whole.splitlines(), path)
            return
        yield from _lines(_with(first, file), path)


def _frame(rows: list[dict[str, Any]], prediction: str | None) -> pd.DataFrame:
    """The rows as a frame; large whole numbers are kept exact in columns with missing values."""
    frame = pd.DataFrame(rows)
    absent = prediction in frame and not all(prediction in row for row in rows)
    if prediction is not None and absent:
        frame[prediction] = pd.Series([row.get(prediction, UNSET) for row in rows], dtype=object)
    for name in frame.columns[frame.dtypes == np.float64]:
        if frame[name].abs().max() >= EXACT:
            frame[name] = pd.Series([row.get(name) for row in rows], dtype=object)
    return frame


def _with(first: str, rest: Any) -> Iterator[str]:
    yield first
    yield from rest


def _lines(lines: Any, path: Path) -> Iterator[tuple[Any, str]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _value(line, f"{path}: line {number}"), f"{path}: line {number}"


def _array(whole: str, path: Path) -> Iterator[tuple[Any, str]]:
    values = _value(whole, str(path))
    for number, value in enumerate(values, start=1):
        yield value, f"{path}: object {number}"


def _one_after_another(whole: str, path: Path) -> Iterator[tuple[Any, str]]:
    """Objects over several lines, as in indented JSON."""
    decoder = json.JSONDecoder()
    at, number = 0, 0
    while at < len(whole):
        number += 1
        line = whole.count("\n", 0, at) + 1
        try:
            value, at = decoder.raw_decode(whole, at)
        except ValueError as error:
            raise SourceError(f"{path}: line {line}: {error}", fix=_FIX) from error
        except RecursionError as error:
            raise SourceError(f"{path}: line {line} is nested too deeply", fix=_FIX) from error
        yield _characters(value, f"{path}: line {line}"), f"{path}: line {line}"
        while at < len(whole) and whole[at] in " \t\r\n,":
            at += 1


def _is_value(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _value(raw: str, where: str) -> Any:
    try:
        try:
            return _decode(raw)
        except msgspec.DecodeError:
            return _characters(json.loads(raw), where)  # accepts NaN and Infinity
    except RecursionError as error:
        raise SourceError(f"{where} is nested too deeply", fix=_FIX) from error
    except ValueError as error:
        raise SourceError(f"{where}: {error}", fix=_FIX) from error


def _characters(value: Any, where: str) -> Any:
    """The value, after checking that its texts have no lone surrogates.

    Raises:
        SourceError: a text has a lone surrogate, which cannot be encoded.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            f"{where}: a text has the lone surrogate U+{ord(error.object[error.start]):04X}, which "
            "is not a character",
            fix="remove it from the text: the monitor rejects such a text",
        ) from error
    return value


def _row(value: Any, where: str) -> dict[str, Any]:
    """An object as a row; the features of an event become columns."""
    if not isinstance(value, dict):
        raise SourceError(f"{where} is not an object", fix=_FIX)
    features = value.get("features")
    if not isinstance(features, dict):
        return value
    clash = sorted((features.keys() & value.keys()) - {"features"})
    if clash:
        raise SourceError(
            f"{where}: a feature and a field both have the name {clash[0]!r}",
            fix="rename one of them",
        )
    return {name: value[name] for name in value if name != "features"} | features
