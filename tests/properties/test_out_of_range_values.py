"""Values outside all that was seen, and values that repeat: found soon, named, exact under cuts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import json

from stream_monitor.checks.monitored_signal import MonitoredSignal, SignalDecision
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.bounds import ValueBounds, fit_bounds, tail_bounds
from stream_monitor.reference.fit import fit_feature, fit_profile
from stream_monitor.reference.profile import FeatureReference, profile_from_data, profile_to_data
from stream_monitor.state_parts import encode_part
from stream_monitor.statistics.fixed_point import Floats
from tests.hypothesis_profiles import examples

ARL0: Final = 72e6
Shape = str


def _prices(rng: np.random.Generator, n: int) -> Floats:
    amount = np.exp(rng.normal(4, 1, n))
    return np.where(rng.random(n) < 0.7, np.floor(amount) + 0.99, amount.round(2))


SHAPES: Final[dict[Shape, Callable[[np.random.Generator, int], Floats]]] = {
    "normal": lambda rng, n: rng.normal(50, 10, n),
    "Pareto": lambda rng, n: rng.pareto(1.5, n),
    "zero-inflated": lambda rng, n: np.where(rng.random(n) < 0.7, 0.0, rng.exponential(5, n)),
    "whole numbers": lambda rng, n: np.clip(np.round(rng.normal(40, 12, n)), 18, 95),
    "two decimals": lambda rng, n: rng.normal(50, 10, n).round(2),
    "lognormal, two decimals": lambda rng, n: np.exp(rng.normal(0, 1, n)).round(2),
    "prices": _prices,
    "wide integers": lambda rng, n: rng.integers(0, 5_000, n).astype(np.float64),
}


def drawn(shape: Shape, rng: np.random.Generator, n: int) -> Floats:
    return SHAPES[shape](rng, n)


PARTLY_REPEATING: Final = ("two decimals", "lognormal, two decimals", "prices", "wide integers")


def watched(reference: Floats) -> MonitoredSignal:
    fitted = fit_feature("age", reference)
    return MonitoredSignal(fitted, "data", ARL0, EpisodePolicy(), bounds=fitted.bounds)


def reported(
    series: MonitoredSignal, values: Floats, cuts: Sequence[int] = ()
) -> list[SignalDecision]:
    findings: list[SignalDecision] = []
    for start, end in pairwise(sorted({0, len(values), *cuts})):
        offsets = np.arange(start, end)

        def onset(position: int, back: int, start: int = start) -> tuple[int, int]:
            return start + position - back, 1_000 * (start + position - back)

        column = series.transform.apply(values[start:end])
        findings += series.observe(column, offsets, offsets * 1_000, onset)
    return findings


def of_range(findings: Sequence[SignalDecision]) -> list[tuple[str, int, str | None]]:
    return [
        (d.decision.phase, d.decision.offset, d.decision.cause)
        for d in findings
        if d.check == "range"
    ]


def bound(share: float, n: int) -> float:
    """1.5 ln(ARL0) / KL + 20, against one event in as many as the reference has."""
    kl = share * math.log(share * n) + (1 - share) * math.log((1 - share) / (1 - 1 / n))
    return 1.5 * math.log(ARL0) / kl + 20


@pytest.mark.parametrize("shape", ["normal", "Pareto", "zero-inflated", "whole numbers"])
@pytest.mark.parametrize(("n", "share"), [(3_000, 0.04), (10_000, 0.005)])
@pytest.mark.parametrize("odd", ["-999", "1e12", "any beyond 1e9"])
def test_values_outside_are_found_within_the_bound(
    shape: Shape, n: int, share: float, odd: str
) -> None:
    delays, times = [], []
    for seed in range(15):
        rng = np.random.default_rng((seed, n))
        series = watched(drawn(shape, rng, n))
        values = drawn(shape, rng, round(20 / share))
        where = rng.random(len(values)) < share
        values[where] = rng.uniform(1e9, 1e10, where.sum()) if odd.startswith("any") else float(odd)
        first = next(iter(of_range(reported(series, values))), None)
        delays.append(math.inf if first is None else first[1] + 1)
        times.append(math.inf if first is None else int(where[: first[1] + 1].sum()))
    assert np.median(delays) <= bound(share, n)
    if not odd.startswith("any"):
        assert max(times) <= 10


@pytest.mark.parametrize("value", [50.0, -1.0, 999.0])
@pytest.mark.parametrize("share", [0.04, 0.005, 0.001])
def test_a_value_that_repeats_is_found_within_ten_occurrences(value: float, share: float) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        series = watched(np.exp(rng.normal(3, 2, 10_000)))
        values = np.exp(rng.normal(3, 2, round(15 / share)))
        where = rng.random(len(values)) < share
        values[where] = value
        ((phase, offset, explanation), *_) = of_range(reported(series, values))
        assert phase == "started"
        assert int(where[: offset + 1].sum()) <= 10
        assert explanation is not None
        assert f"% of values are {value:g}" in explanation


@pytest.mark.parametrize("share", [0.04, 0.02])
@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("two decimals", 77.77),
        ("two decimals", 25.0),
        ("lognormal, two decimals", 17.0),
        ("lognormal, two decimals", 0.0),
        ("prices", 450.0),
        ("wide integers", 999.0),
    ],
)
def test_a_value_inside_the_range_is_found_where_others_repeat_too(
    shape: Shape, value: float, share: float
) -> None:
    """Of a feature in which no other value comes as often, on the median within 10 occurrences."""
    times = []
    for seed in range(7):
        rng = np.random.default_rng(seed)
        reference = drawn(shape, rng, 10_000)
        series = watched(reference[reference != value])
        values = drawn(shape, rng, round(30 / share))
        where = rng.random(len(values)) < share
        values[where] = value
        first = next(iter(of_range(reported(series, values))), None)
        times.append(math.inf if first is None else int(where[: first[1] + 1].sum()))
        assert first is None or f"% of values are {value:g}" in str(first[2])
    assert np.median(times) <= 10
    assert max(times) <= 20


@pytest.mark.parametrize("shape", PARTLY_REPEATING)
def test_the_values_that_repeat_take_little_of_a_profile(shape: Shape) -> None:
    values = drawn(shape, np.random.default_rng(2), 100_000)
    profile = fit_profile("m", "1", {"age": values}, task="regression", origin="training")
    bounds = profile.features["age"].bounds
    assert bounds is not None
    assert bounds.chance > 0
    assert len(bounds.known + bounds.frequent) <= 800
    assert profile_from_data(json.decode(json.encode(profile_to_data(profile)))) == profile


@pytest.mark.parametrize("spread", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("shift", [0.0, 15.0])
def test_a_population_of_two_decimals_that_moved_is_drift(shift: float, spread: float) -> None:
    rng = np.random.default_rng(5)
    series = watched(np.round(rng.normal(50, 10, 10_000), 2))
    moved = np.round(rng.normal(50 + shift, 10 * spread, 10_000), 2)
    assert {d.check for d in reported(series, moved)} <= {"data"}


def test_the_episode_ends_when_no_such_value_occurs_any_more() -> None:
    rng = np.random.default_rng(1)
    series = watched(rng.normal(50, 10, 5_000))
    values = rng.normal(50, 10, 6_000)
    values[1_000:3_000:25] = -999.0
    phases = of_range(reported(series, values))
    assert [phase for phase, *_ in phases] == ["started", "recovered"]
    assert 3_000 <= phases[1][1] <= 3_000 + 3 * (phases[0][1] - 1_000) + 500


@pytest.mark.parametrize("share", [0.3, 0.04, 0.005])
def test_out_of_range_values_are_one_episode_while_they_occur(share: float) -> None:
    phases = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        values = rng.normal(50, 10, round(200 / share))
        values[rng.random(len(values)) < share] = -999.0
        phases += [
            phase for phase, *_ in of_range(reported(watched(rng.normal(50, 10, 5_000)), values))
        ]
    assert phases == ["started"] * 10


@pytest.mark.parametrize(
    ("shift", "spread"), [(4.0, 1.0), (6.0, 1.0), (12.0, 1.0), (0.0, 4.0), (0.0, 1.75)]
)
def test_a_population_that_moved_is_drift_and_no_odd_values(shift: float, spread: float) -> None:
    rng = np.random.default_rng(5)
    series = watched(rng.normal(50, 10, 5_000))
    findings = reported(series, 50 + 10 * (shift + spread * rng.standard_normal(10_000)))
    assert {d.check for d in findings} == {"data"}


def test_drift_next_to_out_of_range_values_is_measured_on_the_others() -> None:
    rng = np.random.default_rng(6)
    odd = rng.normal(50, 10, 12_000)
    odd[::10] = -999.0
    only = reported(watched(rng.normal(50, 10, 5_000)), odd)
    assert {d.check for d in only} == {"range"}
    odd[4_000:][odd[4_000:] != -999.0] += 5.0
    both = reported(watched(rng.normal(50, 10, 5_000)), odd)
    assert {d.check for d in both} == {"range", "data"}


def test_values_out_of_range_by_a_wider_distribution_are_no_finding_of_their_own() -> None:
    wider = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        series = watched(rng.normal(50, 10, 5_000))
        values = np.append(50 + 10 * 3**0.5 * rng.standard_normal(10_000), rng.normal(50, 10, 9000))
        findings = reported(series, values)
        wider.append([d.check for d in findings if d.decision.phase == "started"])
        assert not series.rules.open
    assert wider.count(["data"]) >= 11


@pytest.mark.parametrize("odd", [-999.0, 57.25])
def test_a_value_that_repeats_is_found_while_the_population_drifts(odd: float) -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(58, 10, 6_000)
    values[3_000::50] = odd
    findings = reported(watched(rng.normal(50, 10, 5_000)), values)
    started = [d.check for d in findings if d.decision.phase == "started"]
    assert started == ["data", "range"]


def test_values_out_of_range_are_reported_when_the_drift_that_explained_them_recovers() -> None:
    rng = np.random.default_rng(9)
    wider = 50 + 10 * 3**0.5 * rng.standard_normal(6_000)
    values = np.append(wider, rng.normal(50, 10, 12_000))
    n = len(values[3_000::100])
    values[3_000::100] = rng.uniform(105, 125, n)
    series = watched(rng.normal(50, 10, 5_000))
    findings = [d for d in reported(series, values) if d.decision.phase in ("started", "recovered")]
    assert [(d.check, d.decision.phase) for d in findings] == [
        ("data", "started"),
        ("data", "recovered"),
        ("range", "started"),
    ]


def test_another_grid_of_the_same_numbers_is_no_value_that_repeats() -> None:
    rng = np.random.default_rng(7)
    fahrenheit = np.round(rng.normal(60, 15, 5_000))
    celsius = np.round((np.round(rng.normal(60, 15, 4_000)) - 32) / 1.8, 1)
    findings = reported(watched(fahrenheit), celsius)
    assert "range" not in {d.check for d in findings}


def test_nothing_is_found_where_nothing_changes() -> None:
    found = []
    for seed in range(4):
        for shape in ("normal", "Pareto", "zero-inflated", "whole numbers", *PARTLY_REPEATING):
            rng = np.random.default_rng(seed)
            series = watched(drawn(shape, rng, 1_000))
            found += of_range(reported(series, drawn(shape, rng, 60_000)))
    assert not found


def _odd_stream(seed: int) -> tuple[FeatureReference, Floats]:
    rng = np.random.default_rng(seed)
    shape = ("normal", "zero-inflated", "whole numbers", "two decimals")[seed % 4]
    values = drawn(shape, rng, 3_000)
    for _ in range(3):
        start, length = rng.integers(0, 2_500), rng.integers(50, 900)
        where = np.flatnonzero(rng.random(length) < rng.choice([0.02, 0.2, 0.9])) + start
        odd = rng.choice([-999.0, 1e12, 33.25])
        values[where[where < 3_000]] = odd * (rng.random() if rng.random() < 0.5 else 1.0)
    if shape == "normal":  # drift, and values out of range which it may explain
        values[:2_000] += 12 * (seed % 2)
        near = np.flatnonzero(rng.random(2_500) < 0.02)
        values[near] = rng.uniform(100, 140, len(near))
    return fit_feature("age", drawn(shape, rng, 2_000 if seed % 4 == 3 else 800)), values


def _in_log(findings: Sequence[SignalDecision]) -> list[SignalDecision]:
    """The decisions by offset: without the place in a batch."""
    plain = [
        d._replace(decision=d.decision._replace(suspicion=d.decision.suspicion._replace(seen=0)))
        for d in findings
    ]
    return sorted(plain, key=lambda d: (d.decision.offset, d.check))


@settings(max_examples=examples(20))
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(1, 2_999), max_size=8))
def test_cuts_and_restarts_change_nothing(seed: int, cuts: list[int]) -> None:
    reference, values = _odd_stream(seed)

    def series() -> MonitoredSignal:
        return MonitoredSignal(reference, "data", 1e5, EpisodePolicy(), bounds=reference.bounds)

    whole, parted = series(), series()
    expected = reported(whole, values)
    found: list[SignalDecision] = []
    for start, end in pairwise(sorted({0, len(values), *cuts})):
        offsets = np.arange(start, end)
        found += parted.observe(
            parted.transform.apply(values[start:end]),
            offsets,
            offsets * 1_000,
            lambda position, back, start=start: (  # type: ignore[misc]
                start + position - back,
                1_000 * (start + position - back),
            ),
        )
        state: Any = parted.snapshot()
        parted = series()
        parted.restore(state)
        assert encode_part(parted.snapshot()) == encode_part(state)
    assert _in_log(found) == _in_log(expected)
    assert encode_part(parted.snapshot()) == encode_part(whole.snapshot())


def sampled(shape: Shape, rng: np.random.Generator, n: int) -> Floats:
    if shape == "Cauchy":
        return rng.standard_cauchy(n)
    if shape == "exponential":
        return rng.standard_exponential(n)
    return rng.random(n) if shape == "uniform" else drawn(shape, rng, n)


@pytest.mark.parametrize(
    "shape", ["normal", "Pareto", "Cauchy", "exponential", "uniform", "zero-inflated"]
)
def test_hardly_a_value_lies_outside_where_nothing_changes(shape: str) -> None:
    """On the mean over references fewer than a fifth of one event in as many as they have."""
    n, rates = 2_000, []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        low, high = tail_bounds(sampled(shape, rng, n), 1.0, n)
        later = sampled(shape, rng, 50_000)
        rates.append(np.mean((later < low) | (later > high)) * n)
    assert np.mean(rates) < 0.2


def test_a_declared_range_is_used_unchanged() -> None:
    values = np.append(np.linspace(1, 119, 990), [130.0] * 10)
    bounds = fit_bounds(values, 1.0, (0, 120))
    assert (bounds.low, bounds.high, bounds.n_outside) == (0, 120, 10)
    assert 0.01 < bounds.rate < 0.02
    half: ValueBounds = fit_bounds(values, 1.0, (0, None))
    assert half.high > 1e300
