"""Every value gets a score, none affects its neighbours, and all else follows from ranks."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.profile import FeatureReference
from stream_monitor.reference.transform import RankLookup, Transform
from stream_monitor.statistics.fixed_point import FIXED_POINT
from tests.hypothesis_profiles import examples

KINDS = ["numeric", "boolean", "categorical"]
law = settings(max_examples=examples(100))

anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.integers(-3, 3),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-4, 4),
    st.sampled_from(["true", "false", "a", "b", "1", "", "zz", "nan", "\x00"]),
    st.text(max_size=5),
)


@cache
def transform(kind: str) -> Transform:
    return Transform(reference(kind))


@cache
def reference(kind: str) -> FeatureReference:
    rng = np.random.default_rng(0)
    columns: dict[str, list[Any]] = {
        "numeric": np.round(rng.standard_normal(3000), 2).tolist(),
        "boolean": (rng.random(3000) < 0.3).tolist(),
        "categorical": rng.choice(["a", "b", "c", "1"], 3000).tolist(),
    }
    return fit_feature("x", columns[kind], kind=kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@law
@given(column=st.lists(anything, max_size=20))
def test_every_value_is_valid_or_invalid_and_its_index_in_range(
    kind: str, column: list[Any]
) -> None:
    result = transform(kind).apply(column)

    assert len(result.valid) == len(column)
    assert len(result.index) == int(result.valid.sum())
    assert ((result.index >= 0) & (result.index < reference(kind).n_indices)).all()
    assert (result.scaled is not None) == (kind == "numeric")


@pytest.mark.parametrize("kind", KINDS)
@law
@given(column=st.lists(anything, max_size=12))
def test_a_value_is_validated_the_same_alone_and_among_others(kind: str, column: list[Any]) -> None:
    together = transform(kind).apply(column)
    alone = [transform(kind).apply([value]) for value in column]

    assert together.valid.tolist() == [bool(one.valid[0]) for one in alone]
    assert together.index.tolist() == [int(i) for one in alone for i in one.index]
    if together.scaled is not None:
        assert together.scaled.tolist() == [
            int(s) for one in alone for s in (one.scaled if one.scaled is not None else [])
        ]


@law
@given(column=st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_the_index_is_the_number_of_quantiles_below_and_not_above(column: list[float]) -> None:
    quantiles = reference("numeric").quantiles.tolist()
    expected = [bisect_left(quantiles, x) + bisect_right(quantiles, x) for x in column]

    assert transform("numeric").apply(column).index.tolist() == expected
    assert transform("numeric").apply(np.array(column)).index.tolist() == expected


@given(
    st.lists(
        st.sampled_from([0.0, 1.0, 1e-300, -1e100, 1e100])
        | st.floats(-5, 5)
        | st.floats(-1e100, 1e100),
        min_size=20,
        max_size=60,
    ),
    st.sampled_from([np.sort, np.exp, np.cbrt, np.round]),
    st.integers(0, 99),
)
def test_the_index_of_many_values_is_that_of_a_binary_search(
    odd: list[float], shape: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    quantiles = np.sort(np.concatenate((odd, shape(rng.standard_normal(200)))))
    values = np.concatenate(
        (quantiles, np.nextafter(quantiles, 0), shape(rng.standard_normal(900)))
    )

    below, above = quantiles.searchsorted(values), quantiles.searchsorted(values, "right")
    assert RankLookup(quantiles).index_of(values).tolist() == (below + above).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_bins_are_ranges_of_the_index_and_count_the_reference_exactly(kind: str) -> None:
    rng = np.random.default_rng(0)
    fitted = reference(kind)
    column = {
        "numeric": np.round(rng.standard_normal(3000), 2).tolist(),
        "boolean": [],
        "categorical": [],
    }[kind]
    table = transform(kind).bin

    assert table.tolist() == fitted.bin_of_index.tolist()
    assert (np.diff(table) >= 0).all()
    assert sum(fitted.bin_counts) == fitted.n_events - fitted.n_invalid
    assert len(fitted.bin_labels) == len(fitted.bin_counts) == table.max() + 1
    if column:
        counts = np.bincount(table[transform(kind).apply(column).index])
        assert tuple(counts.tolist()) == fitted.bin_counts


def test_tables_are_bounded_fixed_point() -> None:
    tables = transform("numeric")

    assert np.abs(tables.location).max() <= 3.3 * FIXED_POINT
    assert tables.spread is not None
    assert 0 <= tables.spread.min() <= tables.spread.max() <= 9 * FIXED_POINT
    assert (np.diff(tables.location) >= 0).all()


@settings(max_examples=examples(30))
@given(
    column=st.lists(
        st.sampled_from([0.0, 1.0, 1.5, 2.0, -1.0, 100.0, 7.25]), min_size=300, max_size=600
    )
)
def test_any_reference_gives_a_reference_that_reads_back(column: list[float]) -> None:
    fitted = fit_feature("x", column, kind="numeric")
    again = msgspec.convert(msgspec.to_builtins(fitted), FeatureReference)

    assert again == fitted
    assert sum(fitted.bin_counts) == len(column)
    for channel in fitted.channels:
        assert channel.sd > 0
        assert 0 < channel.theta <= 2 * channel.allowance
