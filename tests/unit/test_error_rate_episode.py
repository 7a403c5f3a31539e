"""Error-rate episodes end by every command that ends them, with or without events to compare."""

from __future__ import annotations

import numpy as np
import pytest

from stream_monitor.checks.feature import FeatureCheck
from stream_monitor.checks.monitored_signal import MonitoredSignal
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.alert import alert_of
from stream_monitor.episodes.error_rate_tracker import tracker_for
from stream_monitor.episodes.finding import AlertSource
from stream_monitor.episodes.phase_decision import Suspicion
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.fit import fit_loss
from stream_monitor.reference.profile import ReferenceProfile, Task
from stream_monitor.statistics.fixed_point import Floats
from tests.benchmarks.error_estimation import CHANGES, profile_of, rows


@pytest.fixture(scope="module")
def profile() -> ReferenceProfile:
    return profile_of(rows(np.random.default_rng(0), 4_000, CHANGES[0]))


@pytest.mark.parametrize("channel", ["location", "residual"])
@pytest.mark.parametrize("n_more", [0, 1, 7])
def test_an_open_episode_ends_after_any_number_of_events(
    profile: ReferenceProfile, channel: str, n_more: int
) -> None:
    assert profile.expected_loss is not None
    outcome = profile.expected_loss.outcome
    track = tracker_for(outcome, EpisodePolicy(first_test_events=64))
    signal = Suspicion(0, "adwin", channel, "up", 0, 0, 0, 0)
    some_bin = 2 * int(np.argmax(np.array(outcome.bin_counts).reshape(-1, 2).sum(axis=1)))
    wrong = np.full(64, some_bin + 1)
    (started,) = track.observe(wrong, np.arange(64), np.arange(64), None, [signal])
    more = np.arange(64, 64 + n_more)
    track.observe(wrong[:n_more], more, more, None, [])

    ended = track.end("superseded", 64 + n_more, 64 + n_more)

    assert started.phase == "started"
    assert ended is not None
    assert (ended.phase, ended.n_events) == ("superseded", n_more)
    assert 0 <= ended.p_value <= 1
    assert (ended.effect == 0) == (n_more == 0)


def reported(
    reference: Floats, losses: Floats, arl0_events: float = 1e6, task: Task = "binary"
) -> list[DriftAlert]:
    series = MonitoredSignal(
        fit_loss(reference.tolist(), task=task), "concept", arl0_events, EpisodePolicy()
    )
    where = np.arange(len(losses), dtype=np.int64)
    findings = series.observe(
        series.transform.apply(losses.tolist()), where, where, lambda at, back: (at - back, 0)
    )
    place = AlertSource("t", 0, "m", "1", "training")
    return list(map(alert_of, FeatureCheck(place, "loss", series).findings_of(findings)))


def errors(rng: np.random.Generator, n: int, rate: float) -> Floats:
    return (rng.random(n) < rate).astype(float)


def test_an_improvement_is_reported_as_such_with_low_severity() -> None:
    rng = np.random.default_rng(1)

    first, *others = reported(errors(rng, 5_000, 0.39), errors(rng, 6_000, 0.16))

    assert (first.kind, first.phase, first.direction) == ("concept", "started", "better")
    assert first.after == pytest.approx(0.16, abs=0.06)
    assert "Model error: rate 39.7 % → 15" in first.explanation
    assert "The error is below the reference" in first.explanation
    assert {alert.severity for alert in (first, *others)} == {"low"}
    assert {alert.phase for alert in others} <= {"ongoing"}


def test_an_improvement_without_a_detector_signal_is_reported() -> None:
    """Detectors are as careful as the reference is dependent: here they wait for ever."""
    rng = np.random.default_rng(2)
    reference, losses = (
        np.repeat(errors(rng, n // 100, rate), 100) for n, rate in ((50_000, 0.39), (60_000, 0.16))
    )

    alerts = reported(reference, losses, 1e9)

    assert [alert.phase for alert in alerts if alert.phase != "ongoing"] == ["started"]
    assert (alerts[0].direction, alerts[0].severity) == ("better", "low")


def test_a_loss_like_that_of_the_reference_is_no_improvement() -> None:
    rng = np.random.default_rng(3)
    assert reported(errors(rng, 20_000, 0.39), errors(rng, 200_000, 0.39)) == []


def test_a_loss_that_was_lower_and_is_higher_is_another_episode() -> None:
    rng = np.random.default_rng(4)
    losses = np.concatenate([errors(rng, 3_000, 0.16), errors(rng, 3_000, 0.7)])

    alerts = reported(errors(rng, 5_000, 0.39), losses)

    phases = [(a.phase, a.direction) for a in alerts if a.phase != "ongoing"]
    assert phases == [("started", "better"), ("recovered", "better"), ("started", "up")]
    assert alerts[-1].severity == "high"
    assert 3_000 < alerts[-1].decided_offset < 3_600
    assert len({alert.episode_id for alert in alerts}) == 2


@pytest.mark.parametrize("far", [0.0, 5.0, 60.0])
def test_an_improved_error_has_the_lowest_severity(far: float) -> None:
    """Most absolute errors shrink; with ``far`` 2 % of them grow so much that the mean rises."""
    rng = np.random.default_rng(5)
    reference = np.abs(rng.normal(size=5_000))
    losses = np.abs(0.3 * rng.normal(size=6_000)) + far * (rng.random(6_000) < 0.02)

    alerts = reported(reference, losses, task="regression")

    directions = {alert.direction for alert in alerts}
    assert directions == ({"down"} if far == 60.0 else {"better"})
    assert all(a.severity == "low" for a in alerts if a.direction == "better")
    expectations = {
        "The error is below the reference" in a.explanation for a in alerts if a.phase == "started"
    }
    assert expectations == {far != 60.0}
