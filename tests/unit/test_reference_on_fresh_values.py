"""A reference describes fresh values without bias, also where it chose bins and categories.

Bins, kept categories and cuts are chosen by the reference. Measured on the values that chose
them, many equally frequent categories look steadier and more frequent than in fresh values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pytest
from scipy.stats import binom, poisson

from stream_monitor.detectors.signal_detectors import SignalDetectors
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.categories import split_halves
from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.season import DAY_MS
from stream_monitor.reference.transform import Transform
from stream_monitor.reference.values import Column
from stream_monitor.statistics.distance import psi_adjusted
from tests.hypothesis_profiles import examples

POLICY: Final = EpisodePolicy()
N_REFERENCE: Final = {
    1_000: examples(60),
    2_000: examples(60),
    10_000: examples(20),
}  # events: runs
CUTS: Final = (-0.4, 0.3, 0.9, 1.4)  # between five categories
Source = Callable[[np.random.Generator, int], Column]


def named(weights: list[float]) -> Source:
    shares = np.array(weights) / sum(weights)

    def draw(rng: np.random.Generator, n: int) -> Column:
        return [f"c{code}" for code in rng.choice(len(shares), n, p=shares).tolist()]

    return draw


SOURCES: Final[dict[str, Source]] = {
    "5 categories": named([1 / rank for rank in range(1, 6)]),
    "50 categories": named([1 / rank for rank in range(1, 51)]),
    "200 categories": named([1 / rank for rank in range(1, 201)]),
    "12 equal": named([1.0] * 12),
    "50 equal": named([1.0] * 50),
    "200 equal": named([1.0] * 200),
    "normal": lambda rng, n: rng.standard_normal(n),
    "zero-inflated": lambda rng, n: np.where(rng.random(n) < 0.7, 0, rng.lognormal(size=n)),
    "Poisson 20": lambda rng, n: rng.poisson(20, n).astype(float),
    "rare": lambda rng, n: (rng.random(n) < 0.01).tolist(),
}


def confirmed(source: Source, n_reference: int, seed: int) -> bool:
    """Whether an unfounded suspicion of a stationary stream would be confirmed at any look."""
    rng = np.random.default_rng((n_reference, seed))
    fitted = fit_feature("x", source(rng, n_reference))
    window = POLICY.window_events(len(fitted.bin_counts), fitted.tau)
    looks = [POLICY.first_test_events << look for look in range(POLICY.n_interim_tests(window))]
    index = Transform(fitted).apply(source(rng, looks[-1])).index
    codes = fitted.bin_of_index[index]
    for n_events in looks:
        bins = np.bincount(codes[:n_events], minlength=len(fitted.bin_counts)).tolist()
        effect, p_value = psi_adjusted(bins, fitted.bin_counts, fitted.tau)
        if p_value < POLICY.significance / len(looks) and effect >= POLICY.min_effect:
            return True
    return False


@pytest.mark.parametrize("name", SOURCES)
def test_an_unfounded_suspicion_is_confirmed_no_more_often_than_stated(name: str) -> None:
    """Counted on the values that chose the bins, 200 equal categories were in half of all runs."""
    runs = [(n, seed) for n, n_runs in N_REFERENCE.items() for seed in range(n_runs)]
    n_confirmed = sum(confirmed(SOURCES[name], n, seed) for n, seed in runs)

    assert n_confirmed <= binom.ppf(0.999, len(runs), POLICY.significance)


@pytest.mark.parametrize("n_reference", [1_000, 2_000])
@pytest.mark.parametrize("name", ["50 equal", "200 equal", "200 categories"])
def test_a_short_reference_of_many_categories_keeps_the_budget(name: str, n_reference: int) -> None:
    """With order and scores from the same values, 200 equal ones gave 30 times the signals."""
    arl0, n_events, n_signals, asked = 100_000.0, 30_000, 0, 0.0
    for seed in range(3):
        rng = np.random.default_rng((n_reference, seed))
        fitted = fit_feature("x", SOURCES[name](rng, n_reference))
        transform = Transform(fitted)
        detectors = SignalDetectors(fitted, transform, arl0)
        n_signals += len(detectors.observe(transform.apply(SOURCES[name](rng, n_events))))
        asked += detectors.n_detectors * n_events / arl0

    assert n_signals <= poisson.ppf(0.999, asked)


def test_only_where_the_choice_was_by_chance_half_of_the_values_count() -> None:
    rng = np.random.default_rng(3)
    clear = fit_feature("x", SOURCES["5 categories"](rng, 2000))
    steep = fit_feature("x", named([2.0**-rank for rank in range(12)])(rng, 20_000))
    equal = fit_feature("x", SOURCES["12 equal"](rng, 2000))

    assert sum(clear.bin_counts) == 2000
    assert sum(steep.bin_counts) == 20_000 - steep.n_invalid
    assert sum(equal.bin_counts) == 1000
    assert sum(equal.category_counts) == 2000


@pytest.mark.parametrize("n_days", [5, 6, 7, 10, 14, 16, 20, 28])
def test_halves_favour_no_hour_of_the_day(n_days: int) -> None:
    """Every second of 20 chunks would be all nights of ten days."""
    n = n_days * 240
    times_ms = np.arange(n) * (DAY_MS // 240)
    share = split_halves(n, times_ms).reshape(n_days, 240).mean(axis=0)

    assert share.min() >= 0.4
    assert share.max() <= 0.6
    assert abs(share.mean() - 0.5) < 0.02


def test_categories_by_the_hour_keep_the_budget_after_ten_days() -> None:
    """Halves that are days and nights of ten days gave thousands of signals where one was asked."""
    n_reference, n_events = 10 * 1440, 40_000
    rng = np.random.default_rng(778)
    times_ms = np.arange(n_reference + n_events) * (DAY_MS // 1440)
    hour = np.sin(2 * np.pi * times_ms / DAY_MS)
    codes = np.searchsorted(CUTS, 0.8 * hour + 0.8 * rng.standard_normal(len(times_ms)))
    column = [f"c{code}" for code in codes.tolist()]
    fitted = fit_feature("x", column[:n_reference], times_ms=times_ms[:n_reference])
    transform = Transform(fitted)
    detectors = SignalDetectors(fitted, transform, 1_000_000.0)
    signals = detectors.observe(transform.apply(column[n_reference:]), times_ms[n_reference:])

    assert fitted.calendar is not None
    assert len(signals) <= poisson.ppf(0.999, detectors.n_detectors * n_events / 1e6)
