"""A change of dependence is found where no feature moves, and raises one alert."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from driftline.offline.replay.replay_episodes import episodes_of
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.alert_budget import TRAFFIC_DETECTORS
from stream_monitor.core.version import VersionMonitor
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.incidents import incidents_of
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.reference.correlation_fit import MAX_CORRELATIONS
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data, profile_to_data
from stream_monitor.statistics.contingency import dependence_distance
from stream_monitor.statistics.fixed_point import Floats, Ints
from tests.benchmarks.detection.streams import DAY_MS
from tests.builders import stored, table_of

N = 10_000


def pair(rng: np.random.Generator, n: int, rho: float) -> dict[str, Floats]:
    a = rng.standard_normal(n)
    return {"a": a, "b": rho * a + math.sqrt(1 - rho * rho) * rng.standard_normal(n)}


def star(rng: np.random.Generator, n: int, rho: float) -> dict[str, Floats]:
    """Three features that follow ``hub``, and one another through it."""
    hub = rng.standard_normal(n)
    noise = math.sqrt(1 - rho * rho)
    follow = {name: rho * hub + noise * rng.standard_normal(n) for name in "abc"}
    return {"hub": hub, **follow}


def profile(columns: dict[str, Floats], times_ms: Ints | None = None) -> ReferenceProfile:
    made = fit_profile("m", "1", columns, task="binary", origin="training", times_ms=times_ms)
    return profile_from_data(msgspec.json.decode(msgspec.json.encode(profile_to_data(made))))


def version_of(reference: ReferenceProfile) -> VersionMonitor:
    return VersionMonitor("t", 0, reference, Budget(), EpisodePolicy(), 1000)


def batch_of(columns: dict[str, Floats], start: int = 0, every_ms: int = 1000) -> EventBatch:
    n = len(next(iter(columns.values())))
    offsets = np.arange(start, start + n)
    return EventBatch(
        model="m",
        version="1",
        offsets=offsets,
        times_ms=offsets * every_ms,
        ids=offsets.astype(np.uint64),
        predictions=[0.5] * n,
        features=table_of(
            {
                name: [None if math.isnan(v) else v for v in column.tolist()]
                for name, column in columns.items()
            }
        ),
        segments=table_of({}, n),
    )


def joined(*parts: dict[str, Floats]) -> dict[str, Floats]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def alerts_of(reference: dict[str, Floats], *parts: dict[str, Floats]) -> list[DriftAlert]:
    return version_of(profile(reference)).observe(batch_of(joined(*parts)))[1]


@pytest.mark.parametrize(
    ("before", "after", "found_within"),
    [(0.6, -0.6, 60), (0.6, 0.0, 160), (0.6, 0.3, 600), (0.0, 0.5, 300), (0.9, 0.6, 600)],
)
def test_a_changed_correlation_is_one_alert_with_both_values(
    before: float, after: float, found_within: int
) -> None:
    rng = np.random.default_rng(1)

    first, *others = alerts_of(
        pair(rng, N, before), pair(rng, 2_000, before), pair(rng, 6_000, after)
    )

    assert {other.phase for other in others} <= {"ongoing"}
    assert {other.episode_id for other in others} <= {first.episode_id}
    assert (first.series, first.kind, first.phase) == ("relation/a~b", "data", "started")
    assert first.feature is None
    assert 2_000 <= first.detected_offset <= 2_000 + found_within
    assert first.before == pytest.approx(before, abs=0.04)
    assert first.after == pytest.approx(after, abs=0.25)
    assert first.direction == ("down" if after < before else "up")
    text = f"`a` and `b`: rank correlation {first.before:.2f} → {first.after:.2f} since"
    assert first.explanation.startswith(text)


def test_a_correlation_that_returns_recovers() -> None:
    rng = np.random.default_rng(2)

    alerts = alerts_of(
        pair(rng, N, 0.6), pair(rng, 2_000, 0.6), pair(rng, 5_000, 0.0), pair(rng, 6_000, 0.6)
    )

    assert [a.phase for a in alerts if a.phase != "ongoing"] == ["started", "recovered"]
    assert 7_000 < alerts[-1].decided_offset < 7_000 + 4 * 500
    assert alerts[-1].explanation.startswith("`a` and `b`: back to the reference (rank corr")


@pytest.mark.parametrize(("shift", "spread"), [(0.3, 1), (1, 1), (4, 1), (0, 2), (0, 0.3), (1, 3)])
@pytest.mark.parametrize("rho", [0.6, 0.95])
def test_a_drifting_feature_is_no_change_of_its_correlations(
    shift: float, spread: float, rho: float
) -> None:
    rng = np.random.default_rng(3)
    moved = pair(rng, 20_000, rho)
    moved["a"] = spread * moved["a"] + shift

    alerts = alerts_of(pair(rng, N, rho), pair(rng, 2_000, rho), moved, pair(rng, 20_000, rho))

    assert {alert.series for alert in alerts} == {"feature/a"}


def test_features_moved_by_a_common_cause_are_no_change_of_correlation() -> None:
    rng = np.random.default_rng(4)
    moved = {name: column + 1.0 for name, column in pair(rng, 20_000, 0.6).items()}

    alerts = alerts_of(pair(rng, N, 0.6), pair(rng, 2_000, 0.6), moved)

    assert {alert.series for alert in alerts} == {"feature/a", "feature/b"}


def test_a_feature_that_lost_all_its_correlations_is_reported_once() -> None:
    rng = np.random.default_rng(5)
    alone = star(rng, 20_000, 0.8)
    alone["hub"] = rng.standard_normal(20_000)

    alerts = alerts_of(star(rng, N, 0.8), star(rng, 2_000, 0.8), alone)

    assert len({alert.episode_id for alert in alerts}) == 1
    assert "hub" in alerts[0].explanation


def test_drift_that_a_feature_explained_is_reported_after_its_recovery() -> None:
    rng = np.random.default_rng(6)
    both = pair(rng, 10_000, 0.0)
    both["a"] += 2.0

    alerts = alerts_of(pair(rng, N, 0.6), pair(rng, 2_000, 0.6), both, pair(rng, 20_000, 0.0))

    (began,) = (a for a in alerts if a.series == "relation/a~b" and a.phase == "started")
    returned = next(a for a in alerts if a.series == "feature/a" and a.phase == "recovered")
    assert returned.decided_offset < began.decided_offset < returned.decided_offset + 600
    assert 2_000 <= began.detected_offset <= 2_300


def turned(rng: np.random.Generator, n: int, shift: float) -> dict[str, Floats]:
    """``b`` stops following ``a``, and moves."""
    columns = pair(rng, n, 0.0)
    return {"a": columns["a"], "b": columns["b"] + shift}


def test_drift_of_a_correlation_becomes_that_of_the_feature_that_moved() -> None:
    rng = np.random.default_rng(15)

    reported = alerts_of(
        pair(rng, N, 0.9), pair(rng, 2_000, 0.9), turned(rng, 6_000, 0.3), pair(rng, 9_000, 0.9)
    )
    first, *others = sorted(reported, key=lambda alert: alert.decided_offset)

    assert (first.series, first.phase) == ("relation/a~b", "started")
    began = next(a for a in others if a.series == "feature/b")
    (over,) = (a for a in others if a.episode_id == first.episode_id and a.phase != "ongoing")
    assert (over.phase, over.cause) == ("superseded", "feature/b")
    assert over.decided_offset == began.decided_offset
    assert (
        over.explanation
        == "`a` and `b`: reported as drift of `b` from now on, because `b` itself has changed."
    )
    found = episodes_of([first, *others], lambda offset, _row: offset, str, timed=False)
    assert [one.feature for one in found] == ["b"]
    (incident,) = incidents_of([first, *others])
    assert [cause.name for cause in incident.causes] == ["feature_change"]
    assert incident.causes[0].why == "b moved"


def test_every_episode_ends_and_no_alert_repeats_for_any_cut() -> None:
    rng = np.random.default_rng(15)
    reference = profile(pair(rng, N, 0.9))
    rows = joined(
        pair(rng, 2_000, 0.9), turned(rng, 6_000, 0.3), pair(rng, 3_000, 0.0), pair(rng, 9_000, 0.9)
    )
    whole, cut = version_of(reference), version_of(reference)
    expected = whole.observe(batch_of(rows))[1]
    found = list[DriftAlert]()
    for start in range(0, 20_000, 333):
        part = {name: column[start : start + 333] for name, column in rows.items()}
        found += cut.observe(batch_of(part, start))[1]
        again = version_of(reference)
        again.restore(stored(cut.take_changes()))
        cut = again
        cut._meta_changed, cut._has_changes = True, set(cut.checks)

    def by_offset(alerts: list[DriftAlert]) -> list[DriftAlert]:
        return sorted(alerts, key=lambda a: (a.decided_offset, a.alert_id))

    assert by_offset(found) == by_offset(expected)
    assert {a.phase for a in found if a.series == "relation/a~b"} >= {"superseded", "recovered"}
    assert max(cut.levels().values()) == 0


def test_resolving_a_feature_resolves_its_correlations() -> None:
    rng = np.random.default_rng(16)
    watched = version_of(profile(pair(rng, N, 0.9)))
    alerts = watched.observe(batch_of(joined(pair(rng, 2_000, 0.9), turned(rng, 2_000, 2.0))))[1]
    began = next(a for a in alerts if a.series == "feature/b")
    assert watched.levels()["relation/a~b"] > 0

    ended = watched.resolve(began, 4_000, 4_000_000)

    assert {a.series: a.phase for a in ended}["feature/b"] == "resolved"
    assert watched.levels() == dict.fromkeys(watched.levels(), 0)


def test_a_broken_feature_is_the_only_alert() -> None:
    rng = np.random.default_rng(7)
    broken = pair(rng, 5_000, 0.6)
    broken["a"] = np.where(rng.random(5_000) < 0.5, np.nan, broken["a"])

    alerts = alerts_of(pair(rng, N, 0.6), pair(rng, 2_000, 0.6), broken, pair(rng, 5_000, 0.6))

    assert {(alert.series, alert.kind) for alert in alerts} == {("feature/a", "quality")}


def test_only_events_that_have_both_values_count() -> None:
    """Missing in one half of the events, and in the other half of the other: none is left."""
    rng = np.random.default_rng(8)

    def half(columns: dict[str, Floats], either: bool) -> dict[str, Floats]:  # noqa: FBT001
        first = np.arange(len(columns["a"])) % 2 == 0
        return {
            "a": np.where(first, columns["a"], np.nan),
            "b": np.where(first == either, np.nan, columns["b"]),
        }

    never = profile(half(pair(rng, N, 0.6), either=True))
    every_other = profile(half(pair(rng, N, 0.6), either=False))

    assert never.correlations == ()
    assert every_other.correlations[0].n_events == N // 2
    watched = version_of(every_other)
    watched.observe(batch_of(half(pair(rng, 4_000, 0.6), either=False)))
    changed = batch_of(half(pair(rng, 4_000, 0.0), either=False), 4_000)
    (first, *_) = watched.observe(changed)[1]
    assert first.series == "relation/a~b"
    assert 4_000 <= first.detected_offset < 4_400


def test_all_pairs_of_five_features_are_watched_and_the_ten_strongest_of_more() -> None:
    rng = np.random.default_rng(9)
    five = {name: rng.standard_normal(2_000) for name in "abcde"}
    twelve = {f"x{i}": rng.standard_normal(2_000) for i in range(10)} | pair(rng, 2_000, 0.4)

    assert len(profile(five).correlations) == MAX_CORRELATIONS
    found = profile(twelve).correlations
    assert len(found) == MAX_CORRELATIONS
    assert found[0].name == "a~b"
    assert found[0].correlation == pytest.approx(0.385, abs=0.06)


def test_a_constant_feature_has_no_correlations() -> None:
    rng = np.random.default_rng(10)

    made = profile({**pair(rng, 2_000, 0.5), "c": np.ones(2_000)})

    assert [pair.name for pair in made.correlations] == ["a~b"]


def test_each_correlation_costs_the_budget_two_detectors() -> None:
    rng = np.random.default_rng(11)
    made = profile(pair(rng, 2_000, 0.5))
    without = msgspec.structs.replace(made, correlations=())

    def arl0(reference: ReferenceProfile) -> float:
        return version_of(reference).arl0_events

    channels = sum(len(one.channels) for one in made.features.values()) + 1  # and the loss
    channels += sum(one.bounds is not None for one in made.features.values())
    channels += TRAFFIC_DETECTORS // 2  # of events and labels
    assert arl0(made) / arl0(without) == pytest.approx((channels + 1) / channels)


def test_a_profile_without_correlations_can_be_read() -> None:
    rng = np.random.default_rng(12)
    data = profile_to_data(profile(pair(rng, 2_000, 0.5)))
    del data["relations"]

    watched = version_of(profile_from_data(data))

    assert not any(series.startswith("relation/") for series in watched.checks)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"first": "z"}, "no feature 'z'"),
        ({"cells": (1, 2)}, "cells"),
        ({"scale": 0.0}, "scale"),
        ({"first_starts": (0, 5, 5)}, "levels"),
    ],
)
def test_an_inconsistent_correlation_is_rejected(change: dict[str, object], error: str) -> None:
    made = profile(pair(np.random.default_rng(13), 2_000, 0.5))
    bad = msgspec.structs.replace(made.correlations[0], **change)

    with pytest.raises(ValueError, match=error):
        profile_from_data(profile_to_data(msgspec.structs.replace(made, correlations=(bad,))))


def test_a_season_that_features_share_is_no_change_every_night() -> None:
    """By day both are high and apart, by night both are low and together."""
    rng = np.random.default_rng(14)

    def days(n_days: int, rho_of_night: float) -> dict[str, Floats]:
        hours = np.arange(1_440 * n_days) // 60 % 24
        night = hours < 8
        apart, together = (pair(rng, len(hours), rho) for rho in (0.0, rho_of_night))
        return {k: np.where(night, together[k] - 1, apart[k] + 1) for k in ("a", "b")}

    reference = profile(days(14, 0.8), np.arange(14 * 1_440) * (DAY_MS // 1_440))
    watched = version_of(reference)
    assert reference.correlations[0].channel.season is not None
    assert reference.correlations[0].calendar is not None

    before_change = watched.observe(batch_of(days(14, 0.8), 0, 60_000))[1]
    changed = watched.observe(batch_of(days(7, 0.0), 14 * 1_440, 60_000))[1]

    assert before_change == []
    assert {alert.series for alert in changed} == {"relation/a~b"}


def test_margins_alone_are_no_distance_of_dependence() -> None:
    """Odds ratios of 1, 2 and 4 stay what they are when rows and columns are reweighted."""
    reference = np.array([[400, 200, 100], [300, 300, 300], [100, 200, 400]])
    weighed = reference * np.array([[1], [2], [5]]) * np.array([3, 1, 2])

    effect, p_value = dependence_distance(
        weighed.ravel().tolist(), reference.ravel().tolist(), 3, 1.0
    )

    assert abs(effect) < 0.005
    assert p_value > 0.99
