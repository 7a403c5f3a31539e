"""A short reference of many categories, each too rare to be compared alone."""

from __future__ import annotations

import numpy as np

from stream_monitor.checks.monitored_signal import MonitoredSignal
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.fit import fit_feature, fit_profile
from stream_monitor.reference.profile import profile_from_data, profile_to_data
from stream_monitor.reference.values import Column

N = 400
RNG = np.random.default_rng(0)
NAMES: Column = [f"k{i}" for i in RNG.integers(0, 200, N).tolist()]


def test_categories_that_are_all_rare_are_watched_for_validity_alone() -> None:
    fitted = fit_feature("k", NAMES)
    assert fitted.categories == ("",)
    assert [channel.channel for channel in fitted.channels] == ["validity"]


def test_rare_categories_survive_a_round_trip_and_new_ones_are_found() -> None:
    made = fit_profile("m", "1", {"k": NAMES}, task="binary", origin="warm_up")
    reference = profile_from_data(profile_to_data(made)).features["k"]
    series = MonitoredSignal(reference, "data", 1e6, EpisodePolicy())
    at = np.arange(4 * N)
    fresh = [f"k{i}" for i in RNG.integers(0, 200, N).tolist()]
    values = series.transform.apply([*fresh, *(["new"] * (3 * N))])
    findings = series.observe(values, at, at * 1000, lambda position, back: (position - back, 0))
    assert [finding.check for finding in findings] == ["validity"]
    assert N <= findings[0].decision.suspicion.offset < N + 200
