"""The expected delay of an injected change, compared with that of real detectors and episodes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from driftline.offline.explain.detection_delay import expected_delay
from driftline.offline.injection import inject, parse
from stream_monitor.checks.monitored_signal import MonitoredSignal
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.fit import fit_feature
from stream_monitor.statistics.fixed_point import Floats

POLICY = EpisodePolicy()
ARL0 = 1e7
CHANGE = 200


def stream(shape: str, rng: np.random.Generator, n: int) -> Floats:
    normal = rng.normal(size=n)
    return np.exp(normal) if shape == "lognormal" else normal


def reported_after(series: MonitoredSignal, values: list[object]) -> float:
    at = np.arange(len(values))
    findings = series.observe(
        series.transform.apply(values),  # type: ignore[arg-type]
        at,
        at,
        lambda position, back: (position - back, 0),
    )
    started = [d.decision.offset for d in findings if d.decision.phase == "started"]
    return next((offset - CHANGE + 1 for offset in started if offset >= CHANGE), math.inf)


@pytest.mark.parametrize("shape", ["normal", "lognormal"])
@pytest.mark.parametrize(
    "change", ["mean:x:+0.5sd", "mean:x:+1sd", "mean:x:-2sd", "scale:x:1.5", "missing:x:0.3"]
)
def test_most_changes_are_reported_within_the_expected_delay(shape: str, change: str) -> None:
    """Eight of ten by the reckoning; 0.7 to 1.0 of forty were, over twelve shapes and sizes."""
    rng = np.random.default_rng(5)
    reference = fit_feature("x", stream(shape, rng, 5_000).tolist())
    injection = parse(f"{change}@{CHANGE}")
    expected = expected_delay(reference, injection, ARL0, POLICY)
    assert expected is not None
    within, runs = 0, 20
    for _ in range(runs):
        values = stream(shape, rng, CHANGE + 3 * expected.high).tolist()
        changed = [
            inject(injection, value, row, reference.sd or 0.0) for row, value in enumerate(values)
        ]
        reported = reported_after(MonitoredSignal(reference, "data", ARL0, POLICY), list(changed))
        within += expected.low <= reported <= expected.high

    assert within / runs >= 0.6


def test_larger_changes_are_expected_sooner_and_the_smallest_never() -> None:
    reference = fit_feature("x", stream("normal", np.random.default_rng(1), 5_000).tolist())
    found = [
        expected_delay(reference, parse(f"mean:x:+{sd}sd@0"), ARL0, POLICY)
        for sd in (0.25, 0.5, 1, 2)
    ]
    highs = [one.high for one in found if one is not None]

    assert len(highs) == 4
    assert highs == sorted(highs, reverse=True)
    assert expected_delay(reference, parse("mean:x:+0.001sd@0"), ARL0, POLICY) is None
    assert expected_delay(reference, parse("swap:x:UA=AA@0"), ARL0, POLICY) is None


def test_a_category_that_becomes_another_or_an_unseen_one_has_an_expected_delay() -> None:
    values = np.random.default_rng(2).choice(list("abc"), 5_000, p=[0.5, 0.3, 0.2]).tolist()
    reference = fit_feature("x", values)
    for change in ("swap:x:b=c@0", "swap:x:b=new@0"):
        expected = expected_delay(reference, parse(change), ARL0, POLICY)
        assert expected is not None
        assert expected.low < expected.high < 1_000
