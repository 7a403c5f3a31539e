"""Thresholds hold the rate of false alarms they were made for, and changes are found in time."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stream_monitor.detectors.adwin import Adwin
from stream_monitor.detectors.calibration import (
    Budget,
    adwin_delta,
    arl0_events,
    page_hinkley_threshold,
)
from stream_monitor.detectors.page_hinkley import PageHinkley
from stream_monitor.detectors.signal_detectors import SignalDetectors
from stream_monitor.reference.feature_reference import ChannelReference
from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.transform import Transform
from stream_monitor.statistics.fixed_point import Floats

NORMAL = ChannelReference(
    channel="location",
    mean=0.0,
    sd=1.0,
    block=8,
    tau=1.0,
    skew=0.0,
    theta=1.0,
    vif=1.0,
    adwin_scale=10.0,
    n_blocks=1250,
    adwin=None,
)


def test_a_budget_is_shared_by_all_detectors_of_a_model() -> None:
    assert arl0_events(Budget(), 72) == 72_000_000
    assert arl0_events(Budget(false_alerts=4.0, per_events=1_000_000), 72) == 18_000_000


@pytest.mark.parametrize("budget", [(0.0, 10), (-1.0, 10), (float("nan"), 10), (1.0, 0)])
def test_a_budget_is_positive(budget: tuple[float, int]) -> None:
    with pytest.raises(ValueError, match="budget"):
        Budget(*budget)


@pytest.mark.parametrize(("blocks", "threshold"), [(1e4, 8.05), (1e5, 10.35), (1e6, 12.65)])
def test_thresholds_are_those_of_siegmund(blocks: float, threshold: float) -> None:
    assert page_hinkley_threshold(NORMAL, 8 * blocks) == pytest.approx(threshold, abs=0.01)


def test_rarer_alarms_heavier_tails_and_dependence_make_detectors_more_cautious() -> None:
    heavy = msgspec.structs.replace(NORMAL, theta=0.7)
    dependent = msgspec.structs.replace(NORMAL, tau=19.0, vif=1.6)
    short = msgspec.structs.replace(NORMAL, widening=10.0)

    assert page_hinkley_threshold(NORMAL, 1e7) > page_hinkley_threshold(NORMAL, 1e6)
    assert page_hinkley_threshold(heavy, 1e6) > page_hinkley_threshold(NORMAL, 1e6)
    assert page_hinkley_threshold(short, 1e6) == page_hinkley_threshold(NORMAL, 1e7)
    assert adwin_delta(NORMAL, 1e7) < adwin_delta(NORMAL, 1e6)
    assert adwin_delta(dependent, 1e6) < adwin_delta(NORMAL, 1e6)


@pytest.mark.parametrize("allowance", [0.5, 0.75, 1.0])
@pytest.mark.parametrize(("blocks", "least", "most"), [(1e4, 150, 260), (1e5, 8, 40)])
def test_page_hinkley_signals_as_often_as_its_threshold_states(
    blocks: float, least: int, most: int, allowance: float
) -> None:
    """2 million normal block means: 200 and 20 alarms are expected."""
    channel = msgspec.structs.replace(NORMAL, allowance=allowance, theta=2 * allowance)
    detector = PageHinkley(page_hinkley_threshold(channel, 8 * blocks), allowance, 500)
    values = np.random.default_rng(1).standard_normal(2_000_000)

    assert least <= len(detector.observe(values.tolist())) <= most


def test_adwin_fires_no_more_often_than_its_delta_was_made_for() -> None:
    """Delta 0.01 with clock 4 is made for one alarm in 30,000 blocks: 33 in a million."""
    values = 10 * np.random.default_rng(2).standard_normal(1_000_000)

    assert 7 <= len(Adwin.primed(None, 0.01, 4).observe(values.tolist())) <= 35


def delays(before: Floats, after: Floats, *, runs: int, seed: int) -> float:
    """Median events from the change to the first signal, at one false alarm in a million."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(runs):
        fitted = fit_feature("x", rng.permutation(before)[:10_000])
        transform = Transform(fitted)
        detectors = SignalDetectors(fitted, transform, 1e6 * 2 * len(fitted.channels))
        detectors.observe(transform.apply(rng.choice(before, 2000)))
        signals = detectors.observe(transform.apply(rng.choice(after, 3000)))
        found.append(signals[0].position + 1 if signals else 10_000)
    return float(np.median(found))


NORMALS = np.random.default_rng(3).standard_normal(200_000)


@pytest.mark.parametrize(
    ("name", "after", "limit"),
    [
        ("0.25 sd", NORMALS + 0.25, 550),
        ("0.5 sd", NORMALS + 0.5, 150),
        ("1 sd", NORMALS + 1, 46),
        ("variance x 3", NORMALS * 3**0.5, 60),
        ("variance x 1.5", NORMALS * 1.5**0.5, 450),
    ],
)
def test_a_change_of_a_normal_feature_is_found_in_time(
    name: str, after: Floats, limit: float
) -> None:
    assert delays(NORMALS, after, runs=15, seed=4) <= limit, name


def test_a_change_of_a_lognormal_feature_is_found_as_soon() -> None:
    assert delays(np.exp(1.5 * NORMALS), np.exp(1.5 * (NORMALS + 0.5)), runs=15, seed=5) <= 150


def with_missing(share: float) -> Floats:
    missing = np.random.default_rng(6).random(len(NORMALS)) < share
    return np.where(missing, np.nan, NORMALS)


def test_more_missing_values_are_found_and_hide_no_other_change() -> None:
    assert delays(with_missing(0.01), with_missing(0.05), runs=15, seed=7) <= 520
    assert delays(with_missing(0.01), with_missing(0.01) + 0.5, runs=15, seed=8) <= 165


def test_missing_values_new_to_the_reference_are_found_though_rare() -> None:
    """1 % missing where none was: blocks are short, and few of them are needed for a signal."""
    assert delays(NORMALS, with_missing(0.01), runs=15, seed=10) <= 1400


def test_poison_raises_no_signal_of_its_own() -> None:
    """One value in a hundred is no number: as in the reference, so nothing has changed."""
    rng = np.random.default_rng(9)
    poison = [None, float("nan"), float("inf"), -float("inf"), "x", 1e300, ""]

    def column(n: int) -> list[object]:
        values: list[object] = rng.standard_normal(n).tolist()
        for i in np.flatnonzero(rng.random(n) < 0.01).tolist():
            values[i] = poison[i % len(poison)]
        return values

    fitted = fit_feature("x", column(10_000))  # type: ignore[arg-type]
    transform = Transform(fitted)
    detectors = SignalDetectors(fitted, transform, 6e6)

    assert detectors.observe(transform.apply(column(50_000))) == []  # type: ignore[arg-type]
