"""Categories: a shift between two of similar frequency, and a reference of rare ones alone."""

from __future__ import annotations

import numpy as np

from stream_monitor.checks.monitored_signal import MonitoredSignal
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.fit import fit_feature, fit_profile
from stream_monitor.reference.profile import profile_from_data, profile_to_data
from stream_monitor.reference.transform import alternating_scores
from stream_monitor.reference.values import Column
from stream_monitor.statistics.fixed_point import FIXED_POINT
from tests.benchmarks.detection.measure import delays, false_alerts
from tests.benchmarks.detection.plan import SWAP, WIDER
from tests.benchmarks.detection.streams import Stream

ONE = FIXED_POINT


def test_the_most_frequent_categories_alternate_and_the_rest_count_for_nothing() -> None:
    four = alternating_scores(np.array([0, 10, 20, 30, 40]))
    many = alternating_scores(np.array([5, *range(10, 30)]))

    assert four is not None
    assert many is not None
    assert four.tolist() == [0, -ONE, ONE, -ONE, ONE]
    assert np.count_nonzero(many) == 9
    assert many[-2:].tolist() == [-ONE, ONE]


def test_few_categories_need_no_channel_for_their_mix() -> None:
    assert alternating_scores(np.array([0, 10, 20, 30])) is None


def test_a_feature_with_many_categories_has_one() -> None:
    column = [f"c{i % 7}" for i in range(2000)]

    names = [channel.channel for channel in fit_feature("x", column).channels]
    assert names == ["location", "spread", "mix", "validity"]


def test_five_points_that_change_places_are_found_and_nothing_is_found_where_none_do() -> None:
    stream = Stream("5 categories")
    found = delays(stream, SWAP, 15, 0, 20_000, seed=3)
    stationary = false_alerts(stream, 2, 200_000, 0, seed=3)

    assert found.median is not None
    assert found.median <= 4000
    assert stationary.signals <= stationary.allowed


def test_a_change_near_the_least_effect_still_becomes_an_episode() -> None:
    """Half as much variance again is an index of about 0.03: close to 0.02 for few events."""
    found = delays(Stream(), WIDER, 15, 0, 20_000, seed=7)

    assert found.missed == 0
    assert found.not_started <= 1


N_RARE = 400
RNG = np.random.default_rng(0)
NAMES: Column = [f"k{i}" for i in RNG.integers(0, 200, N_RARE).tolist()]


def test_categories_that_are_all_rare_are_watched_for_validity_alone() -> None:
    fitted = fit_feature("k", NAMES)
    assert fitted.categories == ("",)
    assert [channel.channel for channel in fitted.channels] == ["validity"]


def test_rare_categories_survive_a_round_trip_and_new_ones_are_found() -> None:
    made = fit_profile("m", "1", {"k": NAMES}, task="binary", origin="warm_up")
    reference = profile_from_data(profile_to_data(made)).features["k"]
    series = MonitoredSignal(reference, "data", 1e6, EpisodePolicy())
    at = np.arange(4 * N_RARE)
    fresh = [f"k{i}" for i in RNG.integers(0, 200, N_RARE).tolist()]
    values = series.transform.apply([*fresh, *(["new"] * (3 * N_RARE))])
    findings = series.observe(values, at, at * 1000, lambda position, back: (position - back, 0))
    assert [finding.check for finding in findings] == ["validity"]
    assert N_RARE <= findings[0].decision.suspicion.offset < N_RARE + 200
