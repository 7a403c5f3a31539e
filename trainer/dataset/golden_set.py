"""The golden set: a user's labelled cases on which no challenger may be worse than the champion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from trainer.dataset.frame import column_of

LABEL: Final = "label"
_SHOWN: Final = 5


class InvalidGoldenSet(ValueError):  # noqa: N818 - expected, and it has a fix
    """The golden set cannot be used; the text states the file and the reason."""


def read_golden_set(file: str, features: Sequence[str] | None, min_rows: int) -> pd.DataFrame:
    """Read ``features`` (``None``: all columns) and the label of the golden set.

    Raises:
        InvalidGoldenSet: the file cannot be read, has no such column, too few rows, or a row
            without a label.
    """
    path = Path(file)
    if not path.is_file():
        raise InvalidGoldenSet(f"there is no file {path.absolute()}")
    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidGoldenSet(f"{file} is not a Parquet file: {error}") from error
    wanted = [n for n in table.column_names if n != LABEL] if features is None else list(features)
    missing = [name for name in (LABEL, *wanted) if name not in table.column_names]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InvalidGoldenSet(f"{file} has no column {', '.join(missing[:_SHOWN])}{more}")
    if table.num_rows < min_rows:
        raise InvalidGoldenSet(
            f"{file} has {table.num_rows:,} rows; {min_rows:,} are needed (trainer.gate.min_events)"
        )
    unlabelled = table.column(LABEL).null_count
    if unlabelled:
        raise InvalidGoldenSet(f"{file} has {unlabelled:,} rows without a label")
    columns = {name: table.column(name).to_pylist() for name in (*wanted, LABEL)}
    for name, values in columns.items():
        odd = next((v for v in values if not isinstance(v, float | int | str | bool | None)), None)
        if odd is not None:
            raise InvalidGoldenSet(
                f"{file}: column {name} has a value of type {type(odd).__name__}; numbers, text "
                "and booleans are supported"
            )
    return pd.DataFrame({name: column_of(values) for name, values in columns.items()})
