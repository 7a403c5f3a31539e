"""Reading recorded traffic: a CSV, Parquet or JSON-lines file as a frame, rows in their order."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path
from typing import Final

import pandas as pd

from driftline.replay.json_rows import frame_of_json
from driftline.replay.refusal import BadSource

_READS: Final = ".csv, .csv.gz, .tsv, .parquet, .jsonl, .jsonl.gz, .ndjson"
_SEPARATORS: Final = (",", ";", "\t", "|")


def read_frame(path: Path) -> pd.DataFrame:
    """The rows of a file, its kind told by its ending.

    A JSON line may be an event as it stands in the log: its features become columns.

    Raises:
        BadSource: there is no such file, or it is none of these, empty, or ambiguous.
    """
    if not path.is_file():
        raise BadSource(f"{path}: there is no such file")
    try:
        frame = _read(path)
    except BadSource:
        raise
    except UnicodeDecodeError as error:
        raise BadSource(
            f"{path}: byte {error.start} is not UTF-8",
            fix="convert it: iconv -f LATIN1 -t UTF-8",
        ) from error
    except pd.errors.EmptyDataError:
        raise BadSource(f"{path}: it is empty") from None
    except pd.errors.ParserError as error:
        text = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise BadSource(
            f"{path}: {text}", fix="every row needs as many fields as the header has"
        ) from error
    except (ValueError, OSError) as error:
        raise BadSource(f"{path}: {error}") from error
    frame.columns = pd.Index([str(name) for name in frame.columns])
    if not len(frame):
        raise BadSource(f"{path}: it has {len(frame.columns)} columns and no rows")
    return frame


def _read(path: Path) -> pd.DataFrame:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".csv", ".tsv")):
        return _read_csv(path)
    if name.endswith((".parquet", ".pq")):
        try:
            frame = pd.read_parquet(path)
        except ImportError as error:
            raise BadSource(
                f"{path}: reading Parquet needs pyarrow", fix="pip install pyarrow"
            ) from error
        # An index that has a name was a column: a time, more often than not.
        return frame.reset_index() if any(n is not None for n in frame.index.names) else frame
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return frame_of_json(_bytes_of(path), str(path))
    raise BadSource(f"{path}: not a kind of file that is read here", fix=f"one of {_READS}")


def _bytes_of(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.name.lower().endswith(".gz") else raw


def _read_csv(path: Path) -> pd.DataFrame:
    """Fields apart by what stands in the header; a name that is there twice is refused.

    Two columns of one name would be renamed silently, and one of them watched by mistake.
    """
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig") as lines:
        separator = max(_SEPARATORS, key=lines.readline().count)
    header = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str).iloc[0].tolist()
    repeated = sorted({str(name) for name in header if header.count(name) > 1})
    if repeated:
        raise BadSource(
            f"{path}: the column {repeated[0]!r} is there {header.count(repeated[0])} times",
            fix="give every column a name of its own",
        )
    with warnings.catch_warnings():
        # More fields than the header has would be cut off, or the first column be no column.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(path, sep=separator, low_memory=False, index_col=False)
        except pd.errors.ParserWarning:
            raise BadSource(
                f"{path}: rows have more fields than the header has {len(header)} names",
                fix="name every field in the first line",
            ) from None
