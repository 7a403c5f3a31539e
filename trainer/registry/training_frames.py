"""Training frames: the labelled rows that versions were made from, as Parquet files.

    frames/<sha256 of the file>.parquet

A retrain continues from the frame of an earlier version, so that rows which the event topic no
longer has, the first training rows among them, still train.
"""

from __future__ import annotations

import io
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import msgspec
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from trainer.registry.artifact import sha256_of
from trainer.registry.atomic import write_atomically
from trainer.registry.errors import CorruptArtifact, NoSuchVersion

_JSON_COLUMNS: Final = b"driftline.json_columns"
"""Names of columns whose values have different types and are stored as JSON texts."""
_NEW_S: Final = 3_600.0


class TrainingFrames:
    """The training frames of a folder, named by the hash of their bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def store(self, frame: pd.DataFrame) -> str:
        """Store a frame, without its index; return its hash."""
        columns: dict[str, Any] = {}
        as_json: list[str] = []
        for name, series in frame.items():
            values: Any = series.to_numpy()
            if series.dtype == object:
                present = [value for value in series if value is not None]
                if not all(isinstance(value, str) for value in present):
                    as_json.append(str(name))
                    values = [msgspec.json.encode(value).decode() for value in series]
                columns[str(name)] = pa.array(list(values), type=pa.string())
            else:
                columns[str(name)] = pa.array(values)
        table = pa.table(columns)
        table = table.replace_schema_metadata({_JSON_COLUMNS: msgspec.json.encode(as_json)})
        sink = io.BytesIO()
        parquet.write_table(table, sink, compression="zstd")
        data = sink.getvalue()
        sha256 = sha256_of(data)
        if not self._file(sha256).is_file():
            write_atomically(self._file(sha256), data)
        return sha256

    def load(self, sha256: str) -> pd.DataFrame:
        """Load a frame, after verifying the hash of its bytes.

        Raises:
            NoSuchVersion: there is no such frame.
            CorruptArtifact: the bytes are not those that were stored.
        """
        file = self._file(sha256)
        try:
            data = file.read_bytes()
        except FileNotFoundError as error:
            raise NoSuchVersion(f"no training frame {sha256} in {self.folder}") from error
        if sha256_of(data) != sha256:
            raise CorruptArtifact(f"{file} was changed or truncated")
        table = parquet.read_table(io.BytesIO(data))
        as_json = msgspec.json.decode((table.schema.metadata or {}).get(_JSON_COLUMNS, b"[]"))
        columns = {}
        for name in table.column_names:
            column = table.column(name)
            if name in as_json:
                texts = column.to_pylist()
                columns[name] = pd.Series([msgspec.json.decode(t) for t in texts], dtype=object)
            elif pa.types.is_string(column.type):
                columns[name] = pd.Series(column.to_pylist(), dtype=object)
            else:
                columns[name] = pd.Series(column.to_numpy())
        return pd.DataFrame(columns)

    def remove_except(self, kept: Collection[str]) -> None:
        """Remove the frames whose hashes are not among ``kept``.

        A frame of the last hour stays: the manifest that names it may not be written yet.
        """
        before_s = time.time() - _NEW_S
        for file in self.folder.glob("*.parquet"):
            if file.stem not in kept and file.stat().st_mtime < before_s:
                file.unlink(missing_ok=True)

    def _file(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.parquet"
