"""The effects that `explain power` reports are found by the detectors and episodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from driftline.offline.explain.minimum_detectable_effect import minimum_detectable_effect
from stream_monitor.checks.monitored_signal import MonitoredSignal
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.fit import fit_feature

POLICY = EpisodePolicy()
ARL0 = 1e7
RNG = np.random.default_rng(17)
CATEGORIES, SHARES = list("abcde"), np.array([0.05, 0.1, 0.15, 0.2, 0.5])


def category(n: int, moved: float) -> list[str]:
    after = SHARES + moved * SHARES / SHARES[:-1].sum()
    after[-1] = SHARES[-1] - moved
    found: list[str] = RNG.choice(CATEGORIES, n, p=after).tolist()
    return found


STREAMS: dict[str, Callable[[int, float], list[Any]]] = {
    "normal": lambda n, d: RNG.normal(d, 1, n).tolist(),
    "lognormal": lambda n, d: np.exp(1.5 * RNG.normal(d, 1, n)).tolist(),
    "zeros": lambda n, d: np.maximum(0, RNG.normal(d, 1, n) - 0.5).tolist(),
    "boolean": lambda n, d: (RNG.random(n) < 0.1 + d).tolist(),
    "category": category,
}


def found_after(series: MonitoredSignal, values: list[Any], change: int) -> float:
    at = np.arange(len(values))
    findings = series.observe(
        series.transform.apply(values), at, at * 1_000, lambda position, back: (position - back, 0)
    )
    decisions = [one.decision for one in findings if one.decision.offset >= change]
    return next((v.offset - change for v in decisions if v.phase == "started"), math.inf)


@pytest.mark.parametrize("shape", STREAMS)
def test_about_half_of_the_smallest_changes_are_alerts_in_time(shape: str) -> None:
    stream = STREAMS[shape]
    reference = fit_feature(shape, stream(10_000, 0.0))
    in_time, runs = 0, 0
    for events in (300, 1_000):
        least = minimum_detectable_effect(reference, "value", ARL0, POLICY, events)
        assert least is not None
        size = least.units if least.sd is None else least.sd
        for _ in range(20):
            series = MonitoredSignal(reference, "data", ARL0, POLICY)
            values = stream(1_000, 0.0) + stream(2 * events, size)
            in_time += found_after(series, values, 1_000) <= events
            runs += 1
    assert 0.2 <= in_time / runs <= 0.9


@pytest.mark.parametrize("shape", STREAMS)
def test_more_events_show_smaller_changes(shape: str) -> None:
    reference = fit_feature(shape, STREAMS[shape](5_000, 0.0))
    for change in ("value", "missing"):
        found = [
            minimum_detectable_effect(reference, change, ARL0, POLICY, 10.0**i) for i in range(1, 7)
        ]
        units = [math.inf if one is None else one.units for one in found]
        assert units == sorted(units, reverse=True)
        assert units[0] == math.inf
        assert 0 < units[-1] < 0.5


def test_no_more_events_show_what_the_policy_calls_no_change() -> None:
    """A mean shift of 0.09 sd: below it no distance is large enough to be confirmed."""
    reference = fit_feature("x", STREAMS["normal"](10_000, 0.0))
    least = minimum_detectable_effect(reference, "value", ARL0, POLICY, 1e9)
    assert least is not None
    assert least.sd == pytest.approx(math.sqrt(POLICY.min_effect), rel=0.1)


def test_scale_and_shape_of_a_feature_do_not_matter() -> None:
    normal = RNG.normal(size=10_000)
    found = [
        minimum_detectable_effect(fit_feature("x", values.tolist()), "value", ARL0, POLICY, 1_000)
        for values in (normal, 1e-3 * normal, 1e6 * normal, np.exp(normal))
    ]
    assert len({one.sd for one in found if one is not None}) == 1
    assert None not in found


def test_a_constant_has_no_scale_to_shift_on_but_may_go_missing() -> None:
    reference = fit_feature("still", [1.0] * 1_000)
    assert minimum_detectable_effect(reference, "value", ARL0, POLICY, 1_000) is None
    missing = minimum_detectable_effect(reference, "missing", ARL0, POLICY, 1_000)
    assert missing is not None
    assert missing.units < 0.1
