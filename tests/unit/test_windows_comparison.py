"""Binned events against the reference: the distances, their significance, and one drift level."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy.stats import chi2, chi2_contingency, norm, wasserstein_distance

from driftline.cli.status import differing
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.transform import Transform, bin_positions
from stream_monitor.statistics.bin_comparison import BinComparison, compare_bins
from stream_monitor.statistics.distance import distances, psi_adjusted
from stream_monitor.statistics.fixed_point import Floats
from stream_monitor.windows.closed_window import ClosedFeature, ClosedWindow
from tests.benchmarks.detection.streams import latent

REFERENCE = [1000] * 10


def compared(reference: FeatureReference, values: object, n_features: int = 1) -> BinComparison:
    transform = Transform(reference)
    index = transform.apply(values).index  # type: ignore[arg-type]
    bins = np.bincount(transform.bin[index], minlength=len(reference.bin_counts)).tolist()
    return compare_bins(
        bins,
        reference.bin_counts,
        reference.tau,
        positions=bin_positions(reference),
        n_features=n_features,
    )


def normal(seed: int, n: int, shift: float = 0.0) -> Floats:
    return np.random.default_rng(seed).standard_normal(n) + shift


def test_chi_square_is_that_of_the_contingency_table_divided_by_tau() -> None:
    bins = [120, 90, 95, 105, 80, 110, 100, 100, 95, 105]
    statistic, p_value, _, _ = chi2_contingency([bins, REFERENCE])

    one = compare_bins(bins, REFERENCE, 1.0, positions=None, n_features=1)
    three = compare_bins(bins, REFERENCE, 3.0, positions=None, n_features=1)

    assert (one.chi_square, one.chi_square_p) == pytest.approx((statistic, p_value))
    assert three.chi_square == pytest.approx(statistic / 3)
    assert (one.psi, one.effect, one.jensen_shannon) == distances(bins, REFERENCE, 1.0)
    assert one.wasserstein is one.ks is one.ks_p is None


@pytest.mark.parametrize("shape", [lambda z: z, lambda z: np.exp(1.5 * z), lambda z: 1e6 * z])
def test_wasserstein_is_in_standard_deviations_whatever_the_shape(shape: object) -> None:
    assert callable(shape)
    reference = fit_feature("x", shape(normal(1, 10_000)))

    found = compared(reference, shape(normal(2, 5_000, 0.5)))

    # The outermost bins are not resolved: a little of the way is lost there.
    assert found.wasserstein == pytest.approx(0.5, abs=0.07)
    assert found.ks == pytest.approx(2 * norm.cdf(0.25) - 1, abs=0.03)
    assert found.drifted


def test_wasserstein_of_bins_is_that_of_their_positions() -> None:
    bins, positions = [10, 20, 30, 40], (-1.0, 0.0, 0.5, 2.0)

    found = compare_bins(bins, [25, 25, 25, 25], 1.0, positions=positions, n_features=1)

    assert found.wasserstein == pytest.approx(
        wasserstein_distance(positions, positions, bins, [25, 25, 25, 25])
    )


def test_booleans_have_the_share_that_moved_and_categories_no_order() -> None:
    yes = fit_feature("yes", (normal(3, 5_000) > 0).tolist(), kind="boolean")
    word = fit_feature("word", ["a", "b", "c", "d"] * 500)

    moved = compared(yes, normal(4, 5_000) > 0.5)
    swapped = compared(word, ["a", "a", "a", "d"] * 500)

    assert moved.wasserstein == moved.ks == pytest.approx(norm.cdf(0.5) - 0.5, abs=0.03)
    assert swapped.wasserstein is None
    assert moved.drifted
    assert swapped.drifted


def test_a_significant_but_small_change_is_no_drift() -> None:
    reference = fit_feature("x", normal(5, 50_000))

    found = compared(reference, normal(6, 50_000, 0.08))

    assert found.chi_square_p < 1e-6
    assert not found.drifted


def test_few_events_prove_nothing() -> None:
    reference = fit_feature("x", normal(7, 10_000))

    assert not compared(reference, normal(8, 20, 0.4)).drifted
    assert not compared(reference, []).drifted


@pytest.mark.parametrize("dependence", ["iid", "AR .9"])
def test_windows_of_the_reference_itself_hardly_ever_differ(dependence: str) -> None:
    rng = np.random.default_rng(9)
    decisions, p_values = [], []
    for _ in range(4):
        z = latent(rng, dependence, 110_000)  # type: ignore[arg-type]
        reference = fit_feature("x", z[:10_000])
        for at in range(10_000, len(z), 1_000):
            found = compared(reference, z[at : at + 1_000])
            decisions.append(found.drifted)
            p_values += [found.chi_square_p, found.ks_p]

    assert sum(decisions) <= 0.02 * len(decisions)
    assert np.mean(np.array(p_values) < 0.01) <= 0.02


def test_status_counts_the_windows_a_feature_differs_in() -> None:
    feature = ClosedFeature(count=1, invalid=0, bins=[1], psi=0.0, effect=0.0, jensen_shannon=0.0)
    drifted = msgspec.structs.replace(feature, drifted=True)

    def window(start_ms: int, partition: int, **features: ClosedFeature) -> ClosedWindow:
        return ClosedWindow(
            model="m",
            version="1",
            start_ms=start_ms,
            end_ms=start_ms + 1,
            first_offset=0,
            last_offset=1,
            closed_offset=2,
            n_events=1,
            features=features,
            partition=partition,
        )

    windows = [
        window(0, 0, a=drifted, b=feature),
        window(0, 1, a=drifted, b=feature),
        window(1, 0, a=drifted, b=drifted),
        window(2, 0, a=feature, b=feature),
    ]

    assert differing(windows) == {"a": 2, "b": 1}


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
