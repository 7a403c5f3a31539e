"""Read JSON lines, or a JSON array, as rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pandas as pd
from msgspec import UNSET

from driftline.offline.tables.column_statistics import EXACT
from driftline.offline.tables.encoding import TextEncoding, open_text
from driftline.offline.tables.source_error import SourceError

_FIX: Final = "write one JSON object a line: {...}"
_EVENT: Final = frozenset({"id", "model", "version", "features"})
_LABEL: Final = frozenset({"id", "label"})
_LABEL_FIELDS: Final = frozenset({"id", "model", "label", "time_ms", "version", "prediction"})
FIELDS: Final = {
    "id": "a field of the event, no feature",
    "model": "a field of the event, no feature",
    "version": "a field of the event, no feature",
    "segment": "a field of the event, no feature",
    "shadow": "a field of the event, no feature",
    "time_ms": "the time of the event (use --time)",
}
"""Why a field of an event in driftline's own format is not watched; predictions and labels are."""
_decode = msgspec.json.Decoder().decode


class EventLog(NamedTuple):
    """What a file of events in driftline's own format contains besides the rows.

    ``labels`` are the labels by the id of their event, the first of each.
    """

    labels: dict[str, Any]
    notes: list[str]


def event_log_of(path: Path, text: TextEncoding) -> EventLog | None:
    """The labels among the events, if the file has events in driftline's own format.

    Such a file is a copy of the event topic: labels, repeated events, shadow predictions and
    control records are among the events.

    Raises:
        SourceError: a line is not JSON, or there are events of several models.
    """
    with open_text(path, text) as file:
        if not any('"features"' in line for line in file):
            return None
    ids: set[str] = set()
    models: set[str] = set()
    labels: dict[str, Any] = {}
    versions: set[str] = set()
    repeats = shadows = others = other_labels = 0
    for value, _ in _values(path, text):
        if _is_event(value):
            shadows += bool(value.get("shadow"))
            repeats += not value.get("shadow") and value["id"] in ids
            if not value.get("shadow"):
                ids.add(value["id"])
                models.add(str(value["model"]))
                versions.add(str(value["version"]))
        elif _is_label(value):
            other_labels += labels.setdefault(value["id"], value["label"]) != value["label"]
        else:
            others += 1
    if not ids:
        return None
    if len(models) > 1:
        raise SourceError(
            f"{path}: the events are of {len(models)} models: {', '.join(sorted(models)[:5])}",
            fix="write the events of each model to a file of their own",
        )
    n_alone = len(labels.keys() - ids)
    notes = [
        f"{count:,} {what}"
        for count, what in (
            (len(labels) - n_alone, "labels were joined with their events (use --label label)"),
            (n_alone, "labels have the id of no event in the file and are left out"),
            (other_labels, "labels differ from an earlier one of the same event and are left out"),
            (repeats, "events repeat the id of an earlier one and are left out"),
            (shadows, "shadow predictions are left out"),
            (others, "records that are neither events nor labels are left out"),
        )
        if count
    ]
    if len(versions) > 1:
        notes.append(f"events of {len(versions)} versions: {', '.join(sorted(versions)[:5])}")
    return EventLog(labels, notes)


def _is_event(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() >= _EVENT
        and isinstance(value["features"], dict)
        and isinstance(value["id"], str)
    )


def _is_label(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _LABEL <= value.keys() <= _LABEL_FIELDS
        and isinstance(value["id"], str)
    )


def _rows_of_log(log: EventLog, values: Iterator[tuple[Any, str]]) -> Iterator[dict[str, Any]]:
    """The events as rows with their labels, each id once."""
    seen: set[str] = set()
    for value, where in values:
        if not _is_event(value) or value.get("shadow") or value["id"] in seen:
            continue
        seen.add(value["id"])
        row = _row(value, where)
        if log.labels and "label" in value["features"]:
            raise SourceError(
                f"{where}: a feature and the labels both have the name 'label'",
                fix="rename the feature",
            )
        yield row | {"label": log.labels.get(value["id"])} if log.labels else row


def chunks(
    path: Path,
    text: TextEncoding,
    n_rows: int,
    prediction: str | None = None,
    log: EventLog | None = None,
) -> Iterator[pd.DataFrame]:
    """Frames with a row for each object, or for each event of the ``log`` that the file is.

    A key that an object lacks is a missing value; a missing ``prediction`` is ``UNSET``.  The
    features of an event in driftline's own format become columns.

    Raises:
        SourceError: a line is not an object.
    """
    rows: list[dict[str, Any]] = []
    values = _values(path, text)
    made = (
        (_row(value, where) for value, where in values)
        if log is None
        else _rows_of_log(log, values)
    )
    for row in made:
        rows.append(row)
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
    except SourceError:
        raise
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
