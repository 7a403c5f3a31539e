"""Read a file of rows of any supported format, and infer the kind of each column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pandas as pd
from msgspec import UNSET

from driftline.offline.tables import arrow, delimited, json_rows
from driftline.offline.tables.absent_predictions import absent, present
from driftline.offline.tables.column_inference import InferredColumn, infer_columns
from driftline.offline.tables.column_statistics import ColumnStatistics
from driftline.offline.tables.convert import typed
from driftline.offline.tables.delimited import Header
from driftline.offline.tables.encoding import (
    TextEncoding,
    compression_of,
    open_text,
    packed_parquet_error,
    text_of,
)
from driftline.offline.tables.json_rows import EventLog
from driftline.offline.tables.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from driftline.offline.tables.source_error import SourceError

CHUNK_ROWS: Final = 50_000
_DELIMITED: Final = (".csv", ".tsv", ".tab", ".psv", ".txt", ".dat")
_JSON: Final = (".json", ".jsonl", ".ndjson")
_PARQUET: Final = (".parquet", ".pq")
_COMPRESSED: Final = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")
_OTHERS: Final = (
    ".xlsx",
    ".xls",
    ".ods",
    ".orc",
    ".avro",
    ".h5",
    ".pkl",
    ".dta",
    ".sav",
    ".tar",
    ".tgz",
)
_READS: Final = (
    "use CSV or similar text (any separator), JSON lines or a JSON array, Parquet or Arrow; "
    "also .gz, .bz2, .xz, .zst, .zip"
)


@dataclass
class Table:
    """The rows of a file, with each column in its inferred kind; ``notes`` are warnings."""

    source: str
    frame: pd.DataFrame
    inferred: dict[str, InferredColumn]
    form: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class TableFile:
    """A file that was scanned once: its format, and the kinds of its columns.

    `frames` reads it again in chunks, so that a file of any size can be processed.
    """

    source: str
    kind: str
    text: TextEncoding | None
    header: Header | None
    inferred: dict[str, InferredColumn]
    n_rows: int
    form: dict[str, str]
    notes: list[str]
    prediction: str | None = None
    log: EventLog | None = None

    def frames(self) -> Iterator[pd.DataFrame]:
        """The rows in order, with each column in its inferred kind."""
        path = Path(self.source)
        rows = _raw(
            path, self.kind, self.text, self.header, prediction=self.prediction, log=self.log
        )
        for frame in rows:
            yield typed_frame(frame, self.inferred, self.prediction)


def read_table(
    path: Path, read_options: ReadOptions = DEFAULT_READ_OPTIONS, *, prediction: str | None = None
) -> Table:
    """All rows of a file; those without the column ``prediction`` have ``UNSET`` in it.

    Raises:
        SourceError: the file does not exist, cannot be read, has no rows, or is ambiguous.
    """
    raw: list[pd.DataFrame] = []
    opened = _scan(path, read_options, raw, prediction)
    frames = [typed_frame(frame, opened.inferred, prediction) for frame in raw]
    whole = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    return Table(str(path), whole, opened.inferred, opened.form, opened.notes)


def open_table(
    path: Path, read_options: ReadOptions = DEFAULT_READ_OPTIONS, *, prediction: str | None = None
) -> TableFile:
    """A file whose rows are read in chunks; ``prediction`` as in `read_table`.

    Raises:
        SourceError: as `read_table`.
    """
    return _scan(path, read_options, None, prediction)


def table_of(
    frame: pd.DataFrame, source: str, read_options: ReadOptions = DEFAULT_READ_OPTIONS
) -> Table:
    """A frame as a table, for rows with typed values, such as those of a topic.

    Raises:
        SourceError: two columns have the same name, there are no rows, or an option is ambiguous.
    """
    names = list(map(str, frame.columns))
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise SourceError(
            f"{source}: several columns have the name {twice[0]!r}",
            fix="give every column a different name",
        )
    if not len(frame):
        raise SourceError(f"{source}: {len(names)} columns and no rows")
    frame = frame.set_axis(names, axis=1)
    for name in frame.columns[[isinstance(kind, pd.PeriodDtype) for kind in frame.dtypes]]:
        frame = frame.assign(**{name: frame[name].dt.to_timestamp()})
    statistics = {str(name): ColumnStatistics() for name in frame}
    for name, one in statistics.items():
        one.add(frame[name])
    return Table(source, frame, infer_columns(statistics, read_options))


def with_kinds_of_first(table: Table, n_rows: int, read_options: ReadOptions) -> Table:
    """The table with the kinds that its first rows, the reference, have.

    Only columns change that the whole file shows as text, and the reference as numbers or true and
    false: what became text later is a finding, and no reason not to watch.
    """
    part = table_of(table.frame.iloc[:n_rows], table.source, read_options).inferred
    changed = {
        name: part[name]
        for name, whole in table.inferred.items()
        if whole.kind in ("categorical", "none")
        and part[name].kind in ("numeric", "boolean")
        and not part[name].skipped
    }
    if not changed:
        return table
    frame = table.frame.assign(
        **{name: typed(table.frame[name], one) for name, one in changed.items()}
    )
    return Table(table.source, frame, table.inferred | changed, table.form, table.notes)


def with_outputs(table: Table, column: str) -> Table:
    """The table with a column for each entry of the maps or lists in ``column``, the predictions.

    A column of other values stays unchanged.  A row without a prediction is ``UNSET`` in each.
    """
    maps = present(table.frame[column].dropna())
    if len(maps) and all(isinstance(value, list | tuple | np.ndarray) for value in maps):
        maps = maps.map(lambda entries: {str(i): entry for i, entry in enumerate(entries)})
    if not len(maps) or not all(isinstance(value, dict) for value in maps):
        return table
    inner = pd.json_normalize(maps.tolist(), max_level=0).set_index(maps.index)
    outputs = inner.add_prefix(f"{column}.").reindex(table.frame.index)
    if (without := absent(table.frame[column])).any():
        outputs = outputs.astype(object)
        outputs.loc[without] = cast("Any", UNSET)
    frame = table.frame.drop(columns=column).join(outputs)
    inferred = {name: one for name, one in table.inferred.items() if name != column}
    more = table_of(outputs, table.source).inferred
    return Table(table.source, frame, inferred | more, table.form, table.notes)


def typed_frame(
    frame: pd.DataFrame, inferred: dict[str, InferredColumn], prediction: str | None = None
) -> pd.DataFrame:
    """The frame with each column in its inferred kind, in the order of ``inferred``."""
    columns = {
        name: typed(frame[name], one)
        if name in frame
        else pd.Series(
            [UNSET if name == prediction else None] * len(frame), index=frame.index, dtype=object
        )
        for name, one in inferred.items()
    }
    return pd.DataFrame(columns, index=frame.index)


def _scan(
    path: Path, read_options: ReadOptions, keep: list[pd.DataFrame] | None, prediction: str | None
) -> TableFile:
    if not path.is_file():
        what = "the path is a folder" if path.is_dir() else "the file does not exist"
        raise SourceError(f"{path}: {what}", fix="check the path")
    kind, text, header = _format_of(path, read_options)
    log = json_rows.event_log_of(path, text) if kind == "json" and text is not None else None
    statistics: dict[str, ColumnStatistics] = {}
    rows, n_predictions, short = 0, 0, [0]
    for frame in _raw(path, kind, text, header, short, prediction, log):
        _count(frame, statistics, rows)
        if prediction in frame:
            n_predictions += len(present(frame[prediction]))
        rows += len(frame)
        if keep is not None:
            keep.append(frame)
    if not rows:
        names = header.names if header is not None else tuple(statistics)
        raise SourceError(f"{path}: the file has {len(names)} columns and no rows")
    if kind == "json" and rows == 1 and all(one.forms["nested"] for one in statistics.values()):
        raise SourceError(
            f"{path}: the file is one object, and its rows are inside {', '.join(statistics)}",
            fix="write the rows as a JSON array, or one object a line",
        )
    inferred = infer_columns(statistics, read_options)
    form, notes = _form(kind, text, header, inferred), _notes(text, header, short[0])
    if log is not None:
        notes += log.notes
        inferred = _without_fields(inferred, read_options)
    if 0 < n_predictions < rows:
        notes.append(
            f"{rows - n_predictions:,} of {rows:,} rows have no {prediction!r}: they are events "
            "without a prediction (null would be an invalid one)"
        )
    return TableFile(str(path), kind, text, header, inferred, rows, form, notes, prediction, log)


def _without_fields(
    inferred: dict[str, InferredColumn], read_options: ReadOptions
) -> dict[str, InferredColumn]:
    """The columns, of which the fields of events are no features unless an option names them."""
    named = {*read_options.numeric, *read_options.categorical}
    return {
        name: one._replace(skipped=one.skipped or json_rows.FIELDS[name], codes=False)
        if name in json_rows.FIELDS and name not in named
        else one
        for name, one in inferred.items()
    }


def _format_of(
    path: Path, read_options: ReadOptions
) -> tuple[str, TextEncoding | None, Header | None]:
    """The format of a file, its text encoding, and its header."""
    kind = _kind(path)
    text = header = None
    if kind in ("delimited", "json"):
        text = text_of(path, read_options.encoding)
        if kind == "delimited" and _is_json(path, text):
            kind = "json"
    elif read_options.encoding is not None:
        raise SourceError(
            f"{path}: --encoding has no effect on a {kind} file", fix="leave --encoding out"
        )
    if kind == "delimited" and text is not None:
        header = delimited.read_header(path, text, _separator(read_options.separator))
    elif read_options.separator is not None or read_options.decimal is not None:
        raise SourceError(
            f"{path}: --separator and --decimal need a CSV file, and this is {kind}",
            fix="leave these options out",
        )
    return kind, text, header


def _count(frame: pd.DataFrame, statistics: dict[str, ColumnStatistics], rows: int) -> None:
    """Add a chunk to the statistics; ``rows`` is the number of rows before it."""
    for name in map(str, frame):
        if name not in statistics:
            statistics[name] = ColumnStatistics()
            statistics[name].add_missing(rows)
        statistics[name].add(frame[name])
    for name, one in statistics.items():
        if name not in frame:
            one.add_missing(len(frame))


def _raw(
    path: Path,
    kind: str,
    text: TextEncoding | None,
    header: Header | None,
    short: list[int] | None = None,
    prediction: str | None = None,
    log: EventLog | None = None,
) -> Iterator[pd.DataFrame]:
    """The rows as in the file; ``short[0]`` counts rows with too few fields."""
    if kind == "delimited" and text is not None and header is not None:
        for frame, n_short in delimited.chunks(path, text, header, CHUNK_ROWS):
            if short is not None:
                short[0] += n_short
            yield frame
    elif kind == "json" and text is not None:
        yield from _counted(json_rows.chunks(path, text, CHUNK_ROWS, prediction, log))
    else:
        yield from _counted(arrow.chunks(path, kind, CHUNK_ROWS))


def _counted(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The frames, indexed by the row numbers in the file."""
    rows = 0
    for frame in frames:
        frame.index = pd.RangeIndex(rows, rows + len(frame))
        rows += len(frame)
        yield frame


def _kind(path: Path) -> str:
    """The format, from the first bytes and the name: delimited, json, parquet or arrow."""
    with path.open("rb") as file:
        first = file.read(8)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    ends = next((suffix for suffix in reversed(suffixes) if suffix not in _COMPRESSED), "")
    if first.startswith(b"PAR1") or ends in _PARQUET:
        if compression_of(path):
            raise packed_parquet_error(path)
        return "parquet"
    if first.startswith(b"FEA1"):
        raise SourceError(
            f"{path}: a Feather file of version 1 cannot be read",
            fix="write it as Feather of version 2, Parquet or CSV",
        )
    if first.startswith((b"ARROW1", b"\xff\xff\xff\xff")) or ends in (".arrow", ".feather"):
        return "arrow"
    if ends in _JSON:
        return "json"
    if ends in _OTHERS or (
        ends not in _DELIMITED and not compression_of(path) and _is_binary(path)
    ):
        raise SourceError(f"{path}: files of this format are not supported", fix=_READS)
    return "delimited"


def _is_binary(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(4_096)
    return (
        bool(start)
        and sum(byte < 9 for byte in start) > len(start) // 20
        and not (start.startswith((b"\xff\xfe", b"\xfe\xff")))
    )


def _is_json(path: Path, text: TextEncoding) -> bool:
    """Whether a text file without a telling suffix is JSON."""
    if any(suffix.lower() in _DELIMITED[:4] for suffix in path.suffixes):
        return False
    with open_text(path, text) as file:
        start = file.read(4_096).lstrip("\ufeff \t\r\n")
    return start.startswith(('{"', "[{", "{}", "[\n", "[\r"))


def _separator(given: str | None) -> str | None:
    if given is None:
        return None
    known: dict[str, str] = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
    found = known.get(given.lower(), given)
    if len(found) != 1:
        raise SourceError(
            f"--separator {given!r} is not one character", fix="give one of , ; | or tab"
        )
    return found


def _form(
    kind: str, text: TextEncoding | None, header: Header | None, inferred: dict[str, InferredColumn]
) -> dict[str, str]:
    form = {"format": {"delimited": "delimited text", "json": "JSON"}.get(kind, kind.capitalize())}
    if text is not None:
        form["encoding"] = text.encoding
        if text.compression:
            form["compression"] = text.compression
    if header is not None:
        form["separator"] = header.separator
        comma = any(one.kind == "numeric" and one.style.decimal == "," for one in inferred.values())
        form["decimal"] = "," if comma else "."
    return form


def _notes(text: TextEncoding | None, header: Header | None, n_short: int) -> list[str]:
    notes = [text.note] if text is not None and text.note else []
    if header is not None and header.comments:
        notes.append(f"{header.comments} comment lines (#) before the header were skipped")
    if n_short:
        notes.append(
            f"{n_short:,} rows have fewer fields than the header; the other values are missing"
        )
    return notes
