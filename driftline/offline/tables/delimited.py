"""Read delimited text, such as CSV: separator, header, rows with too many or too few fields."""

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
"""Texts for a missing value: those of pandas."""
_WORDS: Final = pa.array(MISSING)
_SAMPLE: Final = 1 << 18
_SAMPLE_ROWS: Final = 1_000
_PLACE: Final = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Header(NamedTuple):
    """The header of a file: the separator, ``lines`` to skip before it, and the column names.

    ``extra`` is the number of fields of the rows that have no name, ``comments`` the number of
    comment lines before the header.
    """

    separator: str
    lines: int
    names: tuple[str, ...]
    extra: int
    comments: int = 0


def read_header(path: Path, text: TextEncoding, separator: str | None) -> Header:
    """The separator and the header, inferred from the first rows.

    Raises:
        SourceError: there is no header, or two columns have the same name.
    """
    with open_text(path, text) as file:
        sample = file.read(_SAMPLE)
    if "\x00" in sample:
        raise SourceError(
            f"{path}: not a text file: character {sample.index(chr(0)):,} is a NUL",
            fix="write the file again, or name its encoding: --encoding utf-16",
        )
    if not sample.strip():
        raise SourceError(f"{path}: the file is empty")
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
    """Frames of texts with up to ``n_rows`` rows, and their number of rows with too few fields.

    Raises:
        SourceError: a row has more fields than the header has names, or a quote is not closed.
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
                fix="name every field in the first line, and put quotes around fields that "
                f"contain {head.separator!r}",
            )
    n_short = int(frame[width - 1].isna().sum())
    columns = {name: _without_missing(frame[at]) for at, name in enumerate(head.names)}
    return pd.DataFrame(columns, index=frame.index), n_short


def _without_missing(column: pd.Series[Any]) -> pd.Series[Any]:
    """The texts, with ``None`` for each text in `MISSING`."""
    texts = pa.array(column, type=pa.string(), from_pandas=True)
    gone = pc.is_in(pc.utf8_trim_whitespace(texts), value_set=_WORDS)
    found = pc.if_else(gone, pa.scalar(None, pa.string()), texts)
    return pd.Series(found.to_pandas().astype("str")).set_axis(column.index)


def _declared(sample: str) -> tuple[int, str | None]:
    """The lines to skip, and the separator, if a spreadsheet wrote it into the first line."""
    first = sample.splitlines()[0].strip() if sample.strip() else ""
    found = re.fullmatch(r'"?sep=(.)"?', first.strip("\ufeff")) or (
        re.fullmatch(r"sep=(\t)", sample.splitlines()[0]) if sample.splitlines() else None
    )
    return (1, found[1]) if found else (0, None)


def _comments(sample: str, skipped: int) -> int:
    """The number of comment lines (``#``) before the header; the header may begin with ``#``."""
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
    """Whether a first line ``# a,b`` is the header."""
    return "," in line or len(rows[0]) == 1


def _after(sample: str, lines: int) -> str:
    return "".join(sample.splitlines(keepends=True)[lines:])


def _records(sample: str, separator: str) -> list[list[str]]:
    """The first rows, without the last one, which may be incomplete."""
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=separator)
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):  # a field of more than 128 KiB ends the sample
        rows.extend(row for row in itertools.islice(reader, _SAMPLE_ROWS) if row)
    return rows[:-1] if len(sample) >= _SAMPLE - 1 and len(rows) > 1 else rows or [[]]


def _separator(sample: str) -> str:
    """The separator with which most rows have as many fields as the header, and more than one."""

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
    """The names, with pandas' name for a column without one."""
    return [name or f"Unnamed: {at}" for at, name in enumerate(names)]


def _require_header(path: Path, names: list[str], rows: list[list[str]]) -> None:
    repeated = sorted(name for name, n in Counter(names).items() if n > 1 and name)
    if repeated:
        raise SourceError(
            f"{path}: {names.count(repeated[0])} columns have the name {repeated[0]!r}",
            fix="give every column a different name",
        )
    numbers = [name for name in names if name and _NUMBER.fullmatch(name)]
    counted = [[str(start + at) for at in range(len(names))] for start in (0, 1)]
    if len(rows) > 1 and len(numbers) == len(names) and names not in counted:
        raise SourceError(
            f"{path}: the file has no header: its first line holds numbers "
            f"({', '.join(names[:3])})",
            fix="add a first line with the names of the columns",
        )


def _explained(path: Path, text: str, head: Header, before: int) -> SourceError:
    found = _PLACE.search(text)
    if found:
        line, saw = int(found[2]) + before, found[3]
        return SourceError(
            f"{path}: line {line:,} has {saw} fields, but the header {len(head.names)} names",
            fix=f"put quotes around fields that contain {head.separator!r}, or name the separator "
            "with --separator",
        )
    text = text.removeprefix("Error tokenizing data. C error: ").strip()
    if "EOF inside string" in text:
        text = 'a quote (") is not closed'
    return SourceError(f"{path}: {text}", fix="correct the quotes in the file")
