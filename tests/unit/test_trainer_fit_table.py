"""A frame crosses to the fitting process without losing a bit, and without pickle."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.fitting.files import read_table, write_table

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=8)
)


def bits(value: Any) -> Any:
    return struct.pack("d", value) if isinstance(value, float) else (type(value), value)


@given(st.lists(VALUES, max_size=20))
def test_any_value_round_trips_with_its_type(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any]
) -> None:
    file = tmp_path_factory.mktemp("table") / "t.npz"
    write_table(pd.DataFrame({"x": pd.Series(values, dtype=object)}), file)

    again = read_table(file)

    assert again["x"].dtype == object
    assert list(map(bits, again["x"].tolist())) == list(map(bits, values))


@given(st.lists(st.tuples(st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans())))
def test_numbers_round_trip_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, int, bool]]
) -> None:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    frame = pd.DataFrame(
        {
            name: np.array(column, dtype=dtype)
            for name, column, dtype in zip("fib", columns, ("f8", "i8", "?"), strict=True)
        }
    )
    file = tmp_path_factory.mktemp("table") / "t.npz"
    write_table(frame, file)

    again = read_table(file)

    assert again.dtypes.tolist() == frame.dtypes.tolist()
    assert again["f"].to_numpy().tobytes() == frame["f"].to_numpy().tobytes()
    pd.testing.assert_frame_equal(again, frame)


def test_text_and_order_of_columns_are_kept(tmp_path: Path) -> None:
    frame = pd.DataFrame({"z": ["é", None, ""], "a/b": [1.5, math.nan, -0.0], "a": [1, 2, 3]})

    write_table(frame, tmp_path / "t")

    pd.testing.assert_frame_equal(read_table(tmp_path / "t"), frame)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([{"a": 1}], "column 'x' contains a dict"),
        ([2**70], "column 'x'"),
        (pd.to_datetime(["2013-01-01"]), "column 'x' is of type datetime64"),
    ],
)
def test_an_unsupported_column_is_an_error_with_its_reason(
    tmp_path: Path, values: Any, message: str
) -> None:
    column = values if isinstance(values, pd.DatetimeIndex) else pd.Series(values, dtype=object)

    with pytest.raises(ValueError, match=message):
        write_table(pd.DataFrame({"x": column}), tmp_path / "t")
