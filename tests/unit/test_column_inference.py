"""The kind that is inferred for each column of a file, and its values in the core."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from driftline.offline.tables.convert import values_of
from driftline.offline.tables.layout import Layout, layout_of
from driftline.offline.tables.source_error import SourceError
from driftline.offline.tables.table_reader import table_of

N = 2_000
RNG = np.random.default_rng(11)
WATCHED = pd.Series(RNG.normal(size=N))


def layout(**columns: Any) -> Layout:
    frame = pd.DataFrame({"watched": WATCHED, **columns})
    return layout_of(table_of(frame, "frame"))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (RNG.integers(0, 9, N).astype(str), "numeric"),
        (np.where(np.arange(N) % 50 == 0, "n/a?", RNG.random(N).astype(str)), "numeric"),
        ([f"0{i % 90 + 10}" for i in range(N)], "categorical"),  # a code, as of a place
        ([i % 2 == 0 for i in range(N)], "boolean"),
        (pd.array([True, None] * (N // 2), dtype="boolean"), "boolean"),
        ([f"k{i % 200}" for i in range(N)], "categorical"),
        ([f"10.0.{i % 20}" for i in range(N)], "categorical"),
        ([5] * N, "numeric"),
        ([2**70 + i % 7 for i in range(N)], "numeric"),
        (np.repeat([2012, 2013], N // 2), "numeric"),
        (np.where(np.arange(N) % 9 == 0, np.inf, RNG.random(N)), "numeric"),
    ],
)
def test_most_values_decide_the_kind_of_a_column(values: Any, kind: str) -> None:
    found = layout(x=values)
    assert {f.column: f.kind for f in found.features} == {"watched": "numeric", "x": kind}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([None] * N, "missing"),
        (range(N), "counts up"),
        (np.sort(RNG.integers(1_700_000_000, 1_700_050_000, N)), "a time"),
        (pd.date_range("2024-01-01", periods=N, freq="h"), "a time"),
        (pd.date_range("2024-01-01", periods=N).strftime("%Y-%m-%d"), "a time"),
        (pd.date_range("2024-01-01", periods=N).strftime("%d/%m/%Y %H:%M"), "a time"),
        (["2024-01-01"] * N, "a time"),
        ([f"user-{i}" for i in range(N)], "identifier"),
        ([[1, 2]] * N, "lists or objects"),
    ],
)
def test_a_column_that_cannot_be_watched_is_left_out_with_its_reason(values: Any, why: str) -> None:
    found = layout(x=values)
    assert [f.column for f in found.features] == ["watched"]
    assert why in found.ignored["x"]


def test_columns_named_like_our_own_fields_are_columns_like_any_other() -> None:
    ours = ("id", "model", "version", "time_ms", "features", "prediction", "label", "loss")
    found = layout(**{name: RNG.normal(size=N) for name in ours})
    assert [f.column for f in found.features] == ["watched", *ours]


def test_a_column_is_a_feature_of_the_same_name() -> None:
    columns = ["wind (mph)", "wind [mph]", "größe", "a/b@c|d", "x" * 256]
    found = layout(**dict.fromkeys(columns, WATCHED))
    assert [(f.name, f.column) for f in found.features] == [
        (name, name) for name in ("watched", *columns)
    ]


@pytest.mark.parametrize("column", ["", "x" * 257, "line\nbreak"])
def test_a_column_with_an_invalid_feature_name_is_reported(column: str) -> None:
    with pytest.raises(SourceError, match=r"^column: .* is not a valid name: it "):
        layout(**{column: WATCHED})


def test_a_text_among_numbers_reaches_the_monitor_and_infinity_is_missing() -> None:
    assert values_of(pd.Series(["1", "2.5", "oops", None]), "numeric") == [1.0, 2.5, "oops", None]
    assert values_of(pd.Series([1.0, np.inf, np.nan]), "numeric") == [1.0, None, None]
    assert values_of(pd.Series([True, None, "no"]), "boolean") == [True, None, "no"]
