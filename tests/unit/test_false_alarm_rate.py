"""The promise of the budget, in small: no more false signals than were asked for.

Per detector one false signal in 100,000 events is asked for, on references of 10,000 events; the
limit leaves three standard deviations of chance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import norm, poisson

from stream_monitor.detectors.signal_detectors import SignalDetectors
from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.transform import Transform
from stream_monitor.statistics.fixed_point import Floats

ARL0 = 100_000.0
N_REFERENCE = 10_000
N_EVENTS = 50_000
RUNS = 4


def latent(rng: np.random.Generator, n: int, dependence: float) -> Floats:
    shocks = rng.standard_normal(n + 200) * np.sqrt(1 - dependence**2)
    values: Floats = lfilter([1.0], [1.0, -dependence], shocks)[200:]
    return values


def shaped(z: Floats, shape: str) -> Any:
    u = norm.cdf(z)
    if shape == "normal":
        return z
    if shape == "zero-inflated":
        return np.where(u < 0.7, 0.0, z)
    if shape == "poisson":
        return poisson.ppf(u, 2)
    if shape == "rare":
        return (u > 0.95).tolist()
    n_categories = int(shape.split(maxsplit=1)[0])
    mass = np.cumsum(1 / np.arange(1, n_categories + 1))
    order = np.random.default_rng(0).permutation(n_categories)
    codes = np.minimum(np.searchsorted(mass / mass[-1], u), n_categories - 1)
    return [f"c{code}" for code in order[codes].tolist()]


@pytest.mark.parametrize("dependence", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(
    "shape", ["normal", "zero-inflated", "poisson", "rare", "5 categories", "200 categories"]
)
def test_false_signals_stay_within_the_budget(shape: str, dependence: float) -> None:
    n_signals, asked = 0, 0.0
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        column = shaped(latent(rng, N_REFERENCE + N_EVENTS, dependence), shape)
        fitted = fit_feature("x", column[:N_REFERENCE])
        transform = Transform(fitted)
        detectors = SignalDetectors(fitted, transform, ARL0)
        n_signals += len(detectors.observe(transform.apply(column[N_REFERENCE:])))
        asked += detectors.n_detectors * N_EVENTS / ARL0

    assert n_signals <= asked + 3 * np.sqrt(asked)


@pytest.mark.slow
def test_a_model_of_twenty_correlated_features_shares_one_budget() -> None:
    """4 false signals per million events are asked for; 150,000 events, so 0.6 are expected."""
    rng = np.random.default_rng(7)
    n = 160_000
    common = rng.standard_normal(n)
    columns = [(common + rng.standard_normal(n)) / np.sqrt(2) for _ in range(20)]
    fitted = [fit_feature("x", column[:N_REFERENCE]) for column in columns]
    n_detectors = sum(2 * len(feature.channels) for feature in fitted)
    n_signals = 0
    for feature, column in zip(fitted, columns, strict=True):
        transform = Transform(feature)
        detectors = SignalDetectors(feature, transform, n_detectors * 1e6 / 4)
        n_signals += len(detectors.observe(transform.apply(column[N_REFERENCE:])))

    assert n_signals <= 4
