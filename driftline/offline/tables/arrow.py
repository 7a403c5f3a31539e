"""Read Parquet and Arrow files, with columns of any Arrow type."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc, parquet

from driftline.offline.tables.source_error import SourceError

_UNNAMED_INDEX: Final = "__index_level_"
_EXACT_INTEGERS: Final = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}


def chunks(path: Path, kind: str, n_rows: int) -> Iterator[pd.DataFrame]:
    """Frames of up to ``n_rows`` rows; ``kind`` is ``parquet`` or ``arrow``.

    Raises:
        SourceError: the file is damaged, or two columns have the same name.
    """
    try:
        with _batches(path, kind, n_rows) as (names, batches):
            repeated = sorted(name for name, n in Counter(names).items() if n > 1)
            if repeated:
                raise SourceError(
                    f"{path}: {names.count(repeated[0])} columns have the name {repeated[0]!r}",
                    fix="give every column a different name",
                )
            wanted = [name for name in names if not name.startswith(_UNNAMED_INDEX)]
            none = True
            for batch in batches:
                none = False
                yield pd.DataFrame({name: _column(batch, name) for name in wanted})
            if none:
                yield pd.DataFrame({name: [] for name in wanted})
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        what = "Parquet" if kind == "parquet" else "an Arrow file"
        raise SourceError(
            f"{path}: the file cannot be read as {what}: {error}",
            fix="write or copy the file again",
        ) from error


@contextmanager
def _batches(path: Path, kind: str, n_rows: int) -> Iterator[tuple[list[str], Iterator[Any]]]:
    if kind == "parquet":
        with parquet.ParquetFile(path) as source:
            yield source.schema_arrow.names, source.iter_batches(batch_size=n_rows)
        return
    with pa.OSFile(str(path)) as file:
        try:
            reader = ipc.open_file(file)
            parts = (reader.get_batch(i) for i in range(reader.num_record_batches))
        except pa.ArrowInvalid:
            file.seek(0)
            reader = ipc.open_stream(file)
            parts = iter(reader)
        yield reader.schema.names, parts


def _column(batch: Any, name: str) -> pd.Series[Any]:
    """A column of a batch; periods of pandas are stored as counts, and become their start."""
    field, array = batch.schema.field(name), batch.column(name)
    frequency = _period_frequency(field)
    if frequency is None:
        return _series(array)
    counts = array.storage if isinstance(array.type, pa.BaseExtensionType) else array
    ordinals = counts.fill_null(pd.NaT.value).to_numpy(zero_copy_only=False)
    periods: Any = pd.PeriodIndex  # its stubs lack `from_ordinals`
    return pd.Series(periods.from_ordinals(ordinals, freq=frequency).to_timestamp())


def _period_frequency(field: Any) -> str | None:
    """The frequency of a column of periods; the type is known only once pandas registered it."""
    if isinstance(field.type, pa.BaseExtensionType):
        name, given = field.type.extension_name, field.type.__arrow_ext_serialize__()
    else:
        metadata = field.metadata or {}
        name = metadata.get(b"ARROW:extension:name", b"").decode()
        given = metadata.get(b"ARROW:extension:metadata", b"")
    return str(json.loads(given)["freq"]) if name == "pandas.period" else None


def _series(array: Any) -> pd.Series[Any]:
    """A column as a pandas series."""
    array = _plain(array)
    kind = array.type
    if pa.types.is_null(kind):
        return pd.Series([None] * len(array), dtype=object)
    if pa.types.is_map(kind):
        return pd.Series(array.to_pylist(maps_as_pydicts="lossy"), dtype=object)
    exact = kind in _EXACT_INTEGERS and array.null_count
    try:
        return pd.Series(
            array.to_pandas(types_mapper=_EXACT_INTEGERS.get) if exact else array.to_pandas()
        )
    except (pa.ArrowException, NotImplementedError, ValueError, OverflowError):
        return pd.Series(_values(array), dtype=object)


def _values(array: Any) -> list[Any]:
    try:
        values: list[Any] = array.to_pylist()
    except (pa.ArrowException, NotImplementedError, ValueError, OverflowError):
        return [b""] * len(array)  # Python has no type for these values
    return values


def _plain(array: Any) -> Any:
    """The array without dictionaries, run ends, extension types, decimals and dates."""
    while True:
        kind = array.type
        if isinstance(kind, pa.BaseExtensionType):
            array = array.storage
        elif pa.types.is_dictionary(kind):
            array = array.dictionary_decode()
        elif pa.types.is_run_end_encoded(kind):
            array = pc.run_end_decode(array)
        elif pa.types.is_decimal(kind):
            array = array.cast(pa.string()).cast(pa.float64())  # the nearest float
        elif pa.types.is_date(kind):
            array = array.cast(pa.timestamp("ms"))
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return _text(array)
        else:
            return array


def _text(array: Any) -> Any:
    """Bytes as text if all are valid text: old writers do not mark columns as text."""
    try:
        return array.cast(pa.large_string())
    except pa.ArrowInvalid:
        return array
