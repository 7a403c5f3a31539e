"""File comparison: files of one distribution pass at any size, changed columns are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.offline.check.column_check import ColumnCheck, check
from driftline.offline.tables.layout import layout_of
from driftline.offline.tables.table_reader import table_of
from tests.hypothesis_profiles import examples

CATEGORIES = [f"k{i}" for i in range(200)]


def frame(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            **{f"normal {i}": rng.normal(size=n) for i in range(5)},
            **{f"heavy {i}": rng.lognormal(0, 2, n) for i in range(3)},
            **{
                f"zeros {i}": np.where(rng.random(n) < 0.7, 0, rng.exponential(1, n))
                for i in range(3)
            },
            **{
                f"gaps {i}": np.where(rng.random(n) < 0.003, np.nan, rng.poisson(2, n))
                for i in range(3)
            },
            **{f"many {i}": rng.choice(CATEGORIES, n) for i in range(3)},
            "few": rng.choice(["a", "b", "c"], n, p=[0.9, 0.09, 0.01]),
            "rarely": rng.random(n) < 0.01,
            "still": 1.0,
        }
    )


def compared(reference: pd.DataFrame, current: pd.DataFrame) -> dict[str, ColumnCheck]:
    before, now = table_of(reference, "reference"), table_of(current, "current")
    return {column.column: column for column in check(before, now, layout_of(before))}


@settings(max_examples=examples(25))
@given(
    seed=st.integers(0, 10**6),
    n=st.sampled_from([320, 2_000]),
    m=st.sampled_from([1, 3, 10, 100, 1_000, 5_000]),
)
def test_files_of_the_same_distribution_pass_at_any_size(seed: int, n: int, m: int) -> None:
    """20 columns: a false failure a thousand checks is what the method promises."""
    found = compared(frame(n, seed), frame(m, seed + 10**6 + 1))
    assert {c.column for c in found.values() if c.result in ("drift", "quality")} == set()


@pytest.mark.parametrize(
    ("column", "change", "expected"),
    [
        ("normal 0", lambda x: x + 0.3, "drift"),
        ("normal 1", lambda x: 1.4 * x, "drift"),
        ("heavy 0", lambda x: 1.8 * x, "drift"),
        ("zeros 0", lambda x: np.where(np.arange(len(x)) % 2 == 0, 0, x), "drift"),
        ("still", lambda x: x + 1, "drift"),
        ("few", lambda x: x.where(np.arange(len(x)) % 10 != 0, "c"), "drift"),
        ("few", lambda x: x.where(np.arange(len(x)) % 20 != 0, "new"), "quality"),
        ("rarely", lambda x: np.arange(len(x)) % 10 == 0, "drift"),
        ("gaps 0", lambda x: x.where(np.arange(len(x)) % 20 != 0), "quality"),
        (
            "normal 2",
            lambda x: x.astype(object).where(np.arange(len(x)) % 20 != 0, "n/a?"),
            "quality",
        ),
    ],
)
def test_exactly_the_changed_column_is_reported(column: str, change: Any, expected: str) -> None:
    current = frame(4_000, 2)
    current[column] = change(current[column])
    found = compared(frame(4_000, 1), current)
    reported = {c.column: c.result for c in found.values() if c.result != "ok"}
    assert reported == {column: expected}
    assert found[column].explanation


def test_real_but_tiny_differences_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    before, after = (
        pd.DataFrame({"normal": rng.normal(size=200_000) + mean}) for mean in (0, 0.05)
    )
    found = compared(before, after)["normal"]
    assert found.p_value < 1e-6
    assert found.result == "ok"


def test_columns_gone_and_new_are_reported_whatever_their_values() -> None:
    current = frame(400, 6).drop(columns="few").assign(extra=1)
    found = compared(frame(400, 5), current)
    assert (found["few"].result, found["extra"].result) == ("quality", "quality")


def test_autocorrelated_columns_need_larger_differences() -> None:
    """Two stretches of one slow process: their means differ, the process does not."""
    rng = np.random.default_rng(7)
    slow = np.zeros(12_000)
    for i, step in enumerate(rng.normal(size=len(slow))):
        slow[i] = 0.97 * slow[i - 1] + step
    process = pd.DataFrame({"slow": slow})
    assert compared(process[:10_000], process[10_000:])["slow"].result == "ok"


def test_a_mostly_null_column_that_is_filled_is_reported_without_a_comparison() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(size=2_000)
    there = rng.random(2_000) < 0.05
    columns: dict[str, pd.Series[Any]] = {
        "sparse": pd.Series(values),
        "word": pd.Series(["a", "b"] * 1_000),
        "flag": pd.Series([True, False] * 1_000, dtype="boolean"),
    }
    gaps = {name: column.where(there) for name, column in columns.items()}
    sparse = frame(2_000, 9).assign(**gaps)
    full = frame(2_000, 10).assign(**columns)
    found = compared(sparse, full)
    for name in gaps:
        assert (found[name].result, found[name].lost) == ("quality", False)
        assert "→ 0.0%" in found[name].explanation
    again = compared(sparse, sparse.sample(frac=1, random_state=1))
    assert {again[name].result for name in gaps} == {"not_compared"}
