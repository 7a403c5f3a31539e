"""Distances between binned events."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from stream_monitor.statistics.distance import distances, psi_adjusted

REFERENCE = [1000] * 10


def test_equal_shares_have_no_distance() -> None:
    assert distances([500] * 4, [500] * 4, 0.0) == (0.0, 0.0, 0.0)


def test_an_empty_bin_leaves_the_distance_finite() -> None:
    found = distances([0, 100], [100, 0], 1.0)
    assert 5 < found.psi < 20
    assert 0.6 < found.jensen_shannon < np.log(2)


def test_other_numbers_of_bins_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        distances([1, 2], [1, 2, 3], 1.0)


def test_the_p_value_is_that_of_a_chi_square() -> None:
    bins, tau = [120, 90, 95, 105, 80, 110, 100, 100, 95, 105], 3.0
    unit = tau * (1 / 1000 + 1 / 10_000)
    effect, p_value = psi_adjusted(bins, REFERENCE, tau)
    index = distances(bins, REFERENCE, tau).psi

    assert effect == pytest.approx(index - 9 * unit)
    assert p_value == pytest.approx(chi2.sf(index / unit, 9), rel=1e-12)


def test_without_events_or_with_one_bin_nothing_is_significant() -> None:
    assert psi_adjusted([0] * 10, REFERENCE, 1.0) == (0.0, 1.0)
    assert psi_adjusted([5], [100], 1.0) == (0.0, 1.0)
    assert distances([0] * 10, REFERENCE, 1.0) == (0.0, 0.0, 0.0)


def test_both_functions_give_the_same_effect() -> None:
    bins = [30, 20, 10, 5, 5, 5, 5, 5, 5, 10]
    assert distances(bins, REFERENCE, 2.0).effect == psi_adjusted(bins, REFERENCE, 2.0)[0]


def test_under_no_change_the_effect_has_no_bias_and_p_values_are_uniform() -> None:
    rng = np.random.default_rng(7)
    fresh = rng.multinomial(1000, [0.1] * 10, size=2000).tolist()
    references = rng.multinomial(10_000, [0.1] * 10, size=2000).tolist()
    results = [psi_adjusted(*bins, 1.0) for bins in zip(fresh, references, strict=True)]
    effects, p_values = np.array(results).T

    assert abs(effects.mean()) < 0.0005
    assert 0.035 < (p_values < 0.05).mean() < 0.065
    assert 0.45 < np.median(p_values) < 0.55


def test_a_shift_of_a_normal_mean_has_about_its_square_as_effect() -> None:
    rng = np.random.default_rng(8)
    edges = np.quantile(rng.normal(size=100_000), np.arange(1, 10) / 10)
    bins = np.bincount(np.digitize(rng.normal(0.5, 1, 100_000), edges), minlength=10).tolist()
    assert psi_adjusted(bins, [10_000] * 10, 1.0)[0] == pytest.approx(0.25, abs=0.03)
