"""A CSV or Parquet file into the log, at a chosen speed, with injected drift."""

from __future__ import annotations

import csv
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from producer.events import Event, InferenceEvent, Label, Value
from producer.injection import Injection, inject

_SD_ROWS: Final = 10_000
_REPORT_EVERY: Final = 500

Row = dict[str, Value]


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Which columns of the file mean what; all others are features.

    Without ``id`` rows are numbered, without ``time`` they are a second apart from the Unix epoch.
    """

    prediction: str
    label: str | None = None
    time: str | None = None
    id: str | None = None


class Writer(Protocol):
    """Whatever takes events: a `LogWriter`, or a list in a test."""

    def write(self, event: Event) -> None:
        """Take one event."""
        ...


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, by its ending; values of a CSV get their types by their looks.

    Raises:
        ValueError: another kind of file, or a Parquet file without pyarrow installed.
    """
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield {name: typed(text) for name, text in row.items() if name is not None}
    elif path.suffix in (".parquet", ".pq"):
        try:
            from pyarrow import parquet  # noqa: PLC0415 - an extra
        except ImportError:
            raise ValueError(
                f"{path}: reading Parquet needs pyarrow: pip install pyarrow"
            ) from None
        with parquet.ParquetFile(path) as source:
            for batch in source.iter_batches():
                yield from batch.to_pylist()
    else:
        raise ValueError(f"{path}: neither .csv nor .parquet")


def typed(text: str | None) -> Value:
    """A CSV cell as the value it looks like.

    >>> typed("12"), typed("1.5"), typed("UA"), typed(""), typed("true")
    (12, 1.5, 'UA', None, True)
    """
    if text is None or text in ("", "NA", "NaN", "nan", "null"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for convert in (int, float):
        try:
            number = convert(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return text


def time_ms_of(value: object, row: int) -> int:
    """Event time of a cell: a datetime, ISO 8601 text (UTC if it says nothing), or milliseconds.

    Raises:
        ValueError: it is none of these; the text names the row.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"row {row}: {value!r} is no time (ISO 8601)") from None
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1000)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value)
    raise ValueError(f"row {row}: {value!r} is no time (milliseconds or ISO 8601)")


def deviations(path: Path, injections: Sequence[Injection]) -> dict[str, float]:
    """Standard deviation of the injected columns, from the first 10,000 rows."""
    wanted = {injection.column for injection in injections if injection.in_sd}
    seen: dict[str, list[float]] = {name: [] for name in wanted}
    if wanted:
        for row, _ in zip(read_rows(path), range(_SD_ROWS), strict=False):
            for name in wanted:
                value = row.get(name)
                if isinstance(value, int | float):
                    seen[name].append(float(value))
    return {name: statistics.pstdev(values) if values else 0.0 for name, values in seen.items()}


def events_of(
    rows: Iterable[Row],
    *,
    model: str,
    version: str,
    columns: Columns,
    injections: Sequence[Injection] = (),
    sds: dict[str, float] | None = None,
) -> Iterator[list[Event]]:
    """The events of each row: the prediction, and its label where the row has one.

    Raises:
        ValueError: a column is missing, a prediction is empty, or a time does not read.
    """
    sds = sds or {}
    special = {columns.prediction, columns.label, columns.time, columns.id}
    for number, row in enumerate(rows):
        if number == 0:
            asked = [name for name in (*special, *(i.column for i in injections)) if name]
            missing = [name for name in asked if name not in row]
            if missing:
                raise ValueError(f"the file has no column {missing[0]!r}; it has {sorted(row)}")
        prediction = row[columns.prediction]
        if prediction is None:
            raise ValueError(f"row {number}: the prediction is empty")
        features = {name: value for name, value in row.items() if name not in special}
        for injection in injections:
            name = injection.column
            features[name] = inject(injection, features[name], number, sds.get(name, 0.0))
        time_ms = 1000 * number if columns.time is None else time_ms_of(row[columns.time], number)
        event_id = f"row-{number}" if columns.id is None else str(row[columns.id])
        found: list[Event] = [
            InferenceEvent(
                id=event_id, model=model, version=version, time_ms=time_ms,
                features=features, prediction=prediction,
            )
        ]  # fmt: skip
        label = None if columns.label is None else row[columns.label]
        if label is not None:
            found.append(Label(id=event_id, model=model, label=label, time_ms=time_ms))
        yield found


def publish_file(
    path: Path,
    writer: Writer,
    *,
    model: str,
    version: str,
    columns: Columns,
    events_per_s: float | None = None,
    injections: Sequence[Injection] = (),
    on_progress: Callable[[int], Any] = lambda _: None,
) -> int:
    """Write a file into the log; answers the number of rows.  Without a speed: as fast as it goes.

    Raises:
        ValueError: see `read_rows` and `events_of`; rows before the bad one are written.
    """
    began = time.monotonic()
    number = 0
    batches = events_of(
        read_rows(path), model=model, version=version, columns=columns,
        injections=injections, sds=deviations(path, injections),
    )  # fmt: skip
    for number, events in enumerate(batches, start=1):
        for event in events:
            writer.write(event)
        if events_per_s is not None:
            ahead_s = number / events_per_s - (time.monotonic() - began)
            if ahead_s > 0:
                time.sleep(ahead_s)
        if number % _REPORT_EVERY == 0:
            on_progress(number)
    on_progress(number)
    return number
