"""A feature that is one value more than half of the time: the other values are watched too."""

from __future__ import annotations

import numpy as np
import pytest

from stream_monitor.checks.monitored_signal import MonitoredSignal, SignalDecision
from stream_monitor.episodes.messages import SignalScope, signal_message
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.transform import Transform
from stream_monitor.statistics.fixed_point import FIXED_POINT, Floats
from tests.properties.test_out_of_range_values import ARL0, reported


def amounts(rng: np.random.Generator, n: int, zeros: float, times: float = 1.0) -> Floats:
    return np.where(rng.random(n) < zeros, 0.0, times * rng.exponential(5, n))


def series_of(values: Floats) -> MonitoredSignal:
    fitted = fit_feature("amount", values)
    return MonitoredSignal(fitted, "data", ARL0, EpisodePolicy(), bounds=fitted.bounds)


@pytest.mark.parametrize(("zeros", "within"), [(0.6, 800), (0.95, 4_000)])
def test_the_rest_trebles(zeros: float, within: int) -> None:
    rng = np.random.default_rng(2)
    for _ in range(3):
        series = series_of(amounts(rng, 10_000, zeros))
        assert reported(series, amounts(rng, 3_000, zeros)) == []
        (first, *_) = reported(series, amounts(rng, within, zeros, 3.0))
        assert (first.check, first.decision.phase) == ("data", "started")


def test_the_mass_itself_is_watched_as_before() -> None:
    rng = np.random.default_rng(3)
    series = series_of(amounts(rng, 10_000, 0.95))
    (first, *_) = reported(series, amounts(rng, 2_000, 0.85))
    assert (first.check, first.decision.suspicion.channel) == ("data", "location")


def test_the_sentence_is_about_the_rest() -> None:
    rng = np.random.default_rng(4)
    series = series_of(amounts(rng, 10_000, 0.6))
    findings = reported(series, amounts(rng, 2_000, 0.6, 2.0))
    first: SignalDecision = next(d for d in findings if d.decision.suspicion.channel != "location")
    decision, reference = first.decision, series.reference
    mean = reference.centre + reference.scale * decision.total / decision.n_events / FIXED_POINT
    message = signal_message(SignalScope("data", "amount", "1"), "data", reference, decision, mean)
    assert message.startswith("`amount`: mean of values other than 0 ")


@pytest.mark.parametrize("mass", [0.0, 5.0, 20.0])
def test_the_rest_is_ranked_among_itself(mass: float) -> None:
    """Off the mass, scores are what the other values alone would give; whatever their place."""
    rng = np.random.default_rng(5)
    values = np.where(rng.random(8_000) < 0.6, mass, rng.exponential(5, 8_000))
    reference = fit_feature("x", values)
    assert {"rest", "rest_spread"} <= {channel.channel for channel in reference.channels}
    transform = Transform(reference)
    other = np.sort(rng.exponential(5, 2_000))
    index = transform.apply(other).index
    assert transform.point_mass not in index
    assert transform.rest is not None
    scores = transform.rest[index] / FIXED_POINT
    assert (np.diff(scores) >= 0).all()
    assert abs(scores.mean()) < 0.1
    assert abs(scores.std() - 1) < 0.1
    assert (transform.apply(np.full(3, mass)).index == transform.point_mass).all()
