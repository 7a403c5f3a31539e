"""Delimited text (CSV and its kin) as rows of texts: separators, headers, ragged rows."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from driftline.offline.tables.encoding import TextEncoding, open_text
from driftline.offline.tables.source_error import SourceError

SEPARATORS: Final = (",", ";", "\t", "|")
MISSING: Final = (
    "",
    "#N/A",
    "#N/A N/A",
    "#NA",
    "-1.#IND",
    "-1.#QNAN",
    "-NaN",
    "-nan",
    "1.#IND",
    "1.#QNAN",
    "<NA>",
    "N/A",
    "NA",
    "NULL",
    "NaN",
    "None",
    "n/a",
    "nan",
    "null",
)
"""Words for a missing value: those of pandas."""
_WORDS: Final = pa.array(MISSING)
_SAMPLE: Final = 1 << 18
_SAMPLE_ROWS: Final = 1_000
_PLACE: Final = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Header(NamedTuple):
    """What stands before the rows: ``lines`` to skip, and the names of the columns.

    ``extra`` is how many fields of the rows have no name in the header.
    """

    separator: str
    lines: int
    names: tuple[str, ...]
    extra: int
    comments: int = 0


def read_header(path: Path, text: TextEncoding, separator: str | None) -> Header:
    """The separator and the header, told by the first rows.

    Raises:
        SourceError: there is no header, or a name is there twice.
    """
    with open_text(path, text) as file:
        sample = file.read(_SAMPLE)
    if "\x00" in sample:
        raise SourceError(
            f"{path}: character {sample.index(chr(0)):,} is a NUL: it is no text",
            fix="write the file anew, or name its encoding: --encoding utf-16",
        )
    if not sample.strip():
        raise SourceError(f"{path}: it is empty")
    skipped, declared = _declared(sample)
    comments = _comments(sample, skipped)
    skipped += comments
    separator = separator or declared or _separator(_after(sample, skipped))
    rows = _records(_after(sample, skipped), separator)
    header = next((row for row in rows if row), [])
    names = [name.strip() for name in header]
    while len(names) > 1 and not names[-1]:
        names.pop()  # commas at the end of the line
    _require_header(path, names, rows)
    width = max(map(len, rows))
    return Header(separator, skipped, tuple(_named(names)), width - len(names), comments)


def chunks(
    path: Path, text: TextEncoding, head: Header, n_rows: int
) -> Iterator[tuple[pd.DataFrame, int]]:
    """Frames of texts with up to ``n_rows`` rows, and how many of them have too few fields.

    Raises:
        SourceError: a row has more fields than the header has names, or a quote is never closed.
    """
    width = len(head.names)
    with open_text(path, text) as file:
        lines = itertools.islice(file, head.lines)
        for _ in lines:
            pass
        reader = csv.reader(file, delimiter=head.separator)
        while not next(reader):
            pass
        before = head.lines + reader.line_num
        try:
            frames = pd.read_csv(
                file,
                sep=head.separator,
                header=None,
                names=range(width + head.extra + 1),
                dtype=str,
                keep_default_na=False,
                na_values=[],
                chunksize=n_rows,
                index_col=False,
                skipinitialspace=head.separator in ",;",
            )
            seen = 0
            for frame in frames:
                yield _checked(path, frame, head, seen)
                seen += len(frame)
        except pd.errors.EmptyDataError:
            return
        except pd.errors.ParserError as error:
            raise _explained(path, str(error), head, before) from error


def _checked(path: Path, frame: pd.DataFrame, head: Header, seen: int) -> tuple[pd.DataFrame, int]:
    width = len(head.names)
    for column in range(width, frame.shape[1]):
        filled = frame[column].notna() & (frame[column] != "")
        if filled.any():
            row = seen + int(filled.to_numpy().argmax())
            raise SourceError(
                f"{path}: row {row:,} has more fields than the header has names ({width}): "
                f"{frame[column][filled].iloc[0][:40]!r}",
                fix="name every field in the first line, and put quotes around fields that have "
                f"a {head.separator!r} in them",
            )
    n_short = int(frame[width - 1].isna().sum())
    columns = {name: _without_missing(frame[at]) for at, name in enumerate(head.names)}
    return pd.DataFrame(columns, index=frame.index), n_short


def _without_missing(column: pd.Series[Any]) -> pd.Series[Any]:
    """Texts, with nothing where one of them is a word for a missing value."""
    texts = pa.array(column, type=pa.string(), from_pandas=True)
    gone = pc.is_in(pc.utf8_trim_whitespace(texts), value_set=_WORDS)
    found = pc.if_else(gone, pa.scalar(None, pa.string()), texts)
    return pd.Series(found.to_pandas().astype("str")).set_axis(column.index)


def _declared(sample: str) -> tuple[int, str | None]:
    """How many lines to skip, and the separator that a spreadsheet wrote into the first one."""
    first = sample.splitlines()[0].strip() if sample.strip() else ""
    found = re.fullmatch(r'"?sep=(.)"?', first.strip("\ufeff")) or (
        re.fullmatch(r"sep=(\t)", sample.splitlines()[0]) if sample.splitlines() else None
    )
    return (1, found[1]) if found else (0, None)


def _comments(sample: str, skipped: int) -> int:
    """Lines that begin with ``#`` before the header, where they have another number of fields."""
    lines = _after(sample, skipped).splitlines()
    leading = 0
    while leading < len(lines) and lines[leading].startswith("#"):
        leading += 1
    rest = "\n".join(lines[leading:])
    if not leading or not rest.strip():
        return 0
    rows = _records(rest, _separator(rest))
    common = Counter(map(len, rows)).most_common(1)[0][0]
    last = len(_records(lines[leading - 1], _separator(rest))[0])
    numbers = all(_NUMBER.fullmatch(field.strip()) for field in rows[0] if field)
    return leading - (last == common and (numbers or (leading == 1 and _unlike(rows, lines[0]))))


def _unlike(rows: list[list[str]], line: str) -> bool:
    """Whether a first line ``# a,b`` is the header: what follows is as data are."""
    return "," in line or len(rows[0]) == 1


def _after(sample: str, lines: int) -> str:
    return "".join(sample.splitlines(keepends=True)[lines:])


def _records(sample: str, separator: str) -> list[list[str]]:
    """The first rows; the last one may be cut off, and is left out where there are others."""
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=separator)
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):  # a field of more than 128 KiB: who reads on says so
        rows = [row for row in itertools.islice(reader, _SAMPLE_ROWS) if row]
    return rows[:-1] if len(sample) >= _SAMPLE - 1 and len(rows) > 1 else rows or [[]]


def _separator(sample: str) -> str:
    """The one that gives most rows as many fields as the header has, and more than one."""

    def score(separator: str) -> tuple[float, int]:
        rows = _records(sample, separator)
        width = len(rows[0])
        if width < 2:
            return 0.0, 0
        body = rows[1:] or rows
        like = sum(len(row) == width or _trailing(row, width) for row in body)
        return like / len(body), width

    best = max(SEPARATORS, key=score)
    if score(best)[0] > 0:
        return best
    return max(SEPARATORS, key=lambda mark: len(_records(sample, mark)[0]))


def _trailing(row: list[str], width: int) -> bool:
    return len(row) > width and not any(row[width:])


def _named(names: list[str]) -> list[str]:
    """A name for each column that has none, as pandas names it."""
    return [name or f"Unnamed: {at}" for at, name in enumerate(names)]


def _require_header(path: Path, names: list[str], rows: list[list[str]]) -> None:
    repeated = sorted(name for name, n in Counter(names).items() if n > 1 and name)
    if repeated:
        raise SourceError(
            f"{path}: the column {repeated[0]!r} is there {names.count(repeated[0])} times",
            fix="give every column a name of its own",
        )
    numbers = [name for name in names if name and _NUMBER.fullmatch(name)]
    counted = [[str(start + at) for at in range(len(names))] for start in (0, 1)]
    if len(rows) > 1 and len(numbers) == len(names) and names not in counted:
        raise SourceError(
            f"{path}: its first line holds numbers ({', '.join(names[:3])}): it has no header",
            fix="add a first line with the names of the columns",
        )


def _explained(path: Path, text: str, head: Header, before: int) -> SourceError:
    found = _PLACE.search(text)
    if found:
        line, saw = int(found[2]) + before, found[3]
        return SourceError(
            f"{path}: line {line:,} has {saw} fields, the header {len(head.names)} names",
            fix="put quotes around fields that have a "
            f"{head.separator!r} in them, or name the separator: --separator",
        )
    text = text.removeprefix("Error tokenizing data. C error: ").strip()
    if "EOF inside string" in text:
        text = 'a quote (") is opened and never closed'
    return SourceError(f"{path}: {text}", fix="write the file anew, with quotes where they belong")
