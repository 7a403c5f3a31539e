"""A reference that changes within itself is named; one that varies as it always does is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.signal import lfilter

from driftline.offline.explain.reference_limits import change_within
from stream_monitor.statistics.fixed_point import Floats

Make = Callable[[np.random.Generator, int], Floats]


def normal(rng: np.random.Generator, n: int) -> Floats:
    return rng.normal(size=n)


def dependent(rng: np.random.Generator, n: int) -> Floats:
    return np.asarray(lfilter([1.0], [1.0, -0.9], rng.normal(size=n)))


def heavy(rng: np.random.Generator, n: int) -> Floats:
    return rng.standard_t(2, size=n)


def skewed(rng: np.random.Generator, n: int) -> Floats:
    return rng.lognormal(0, 2, size=n)


def mostly_zero(rng: np.random.Generator, n: int) -> Floats:
    return np.where(rng.random(n) < 0.95, 0.0, rng.exponential(size=n))


def seasonal(rng: np.random.Generator, n: int) -> Floats:
    return np.asarray(np.sin(np.arange(n) * 2 * np.pi / (n / 5)) + rng.normal(size=n))


@pytest.mark.parametrize("make", [normal, dependent, heavy, skewed, mostly_zero, seasonal])
@pytest.mark.parametrize("n", [600, 5_000])
def test_no_change_is_named_where_the_level_stays(make: Make, n: int) -> None:
    rng = np.random.default_rng(7)
    assert [c for c in (change_within(make(rng, n)) for _ in range(50)) if c is not None] == []


@pytest.mark.parametrize("share", [0.25, 0.5, 0.667, 0.8])
def test_a_change_is_named_with_its_row_and_both_means(share: float) -> None:
    rng = np.random.default_rng(8)
    for _ in range(20):
        at = round(2_000 * share)
        values = rng.normal(10, 2, size=2_000) + 6 * (np.arange(2_000) >= at)
        values[rng.random(2_000) < 0.1] = np.nan
        found = change_within(values)
        assert found is not None
        assert abs(found.row - at) <= 10
        assert (found.before, found.after) == pytest.approx((10, 16), abs=0.5)


@pytest.mark.parametrize("values", [[], [1.0] * 5_000, [np.nan] * 5_000, [1.0, 2.0] * 100])
def test_too_few_values_are_no_change(values: list[float]) -> None:
    assert change_within(np.array(values)) is None
