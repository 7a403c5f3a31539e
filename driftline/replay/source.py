"""Reading recorded traffic: a CSV, Parquet or JSON-lines file as a frame, rows in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

_READS: Final = ".csv, .csv.gz, .tsv, .parquet, .jsonl, .ndjson"


class BadSource(ValueError):  # noqa: N818 - what a person reads is about the file
    """The file cannot be read; ``fix`` says what to do."""

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix


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
    except UnicodeDecodeError as error:
        raise BadSource(
            f"{path}: byte {error.start} is not UTF-8",
            fix="convert it: iconv -f LATIN1 -t UTF-8",
        ) from error
    except pd.errors.EmptyDataError:
        raise BadSource(f"{path}: it is empty") from None
    except (pd.errors.ParserError, ValueError) as error:
        raise BadSource(f"{path}: {error}") from error
    frame.columns = pd.Index([str(name) for name in frame.columns])
    if not len(frame):
        raise BadSource(f"{path}: it has {len(frame.columns)} columns and no rows")
    return frame


def _read(path: Path) -> pd.DataFrame:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".csv", ".tsv")):
        separator = "\t" if name.endswith(".tsv") else ","
        _refuse_repeated_header(path, separator)
        return pd.read_csv(path, sep=separator, low_memory=False)
    if name.endswith((".parquet", ".pq")):
        try:
            return pd.read_parquet(path)
        except ImportError as error:
            raise BadSource(
                f"{path}: reading Parquet needs pyarrow", fix="pip install pyarrow"
            ) from error
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return _flat(pd.read_json(path, lines=True, dtype=False))
    raise BadSource(f"{path}: not a kind of file that is read here", fix=f"one of {_READS}")


def _refuse_repeated_header(path: Path, separator: str) -> None:
    """Two columns of one name would be renamed silently, and one of them watched by mistake."""
    header = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str)
    names = header.iloc[0].tolist()
    repeated = sorted({str(name) for name in names if names.count(name) > 1})
    if repeated:
        raise BadSource(
            f"{path}: the column {repeated[0]!r} is there {names.count(repeated[0])} times",
            fix="give every column a name of its own",
        )


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Events of the log as rows: the map of features becomes columns."""
    if "features" not in frame or not frame["features"].map(lambda x: isinstance(x, dict)).all():
        return frame
    features = pd.DataFrame(frame["features"].tolist(), index=frame.index)
    clash = sorted(set(map(str, features)) & set(map(str, frame)))
    if clash:
        raise BadSource(f"a feature and a field are both called {clash[0]!r}")
    return pd.concat([frame.drop(columns="features"), features], axis=1)
