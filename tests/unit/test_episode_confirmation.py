"""One lasting change is one episode: confirmed on fresh events, silent while open."""

from __future__ import annotations

import numpy as np
import pytest

from stream_monitor.episodes.lifecycle import EpisodeTracker
from stream_monitor.episodes.phase_decision import PhaseDecision, Suspicion
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.ingest.batch import Ints

REFERENCE = [1000] * 10
POLICY = EpisodePolicy()


def suspicion(seen: int) -> Suspicion:
    return Suspicion(seen, "adwin", "location", "up", seen - 1, seen - 1, 0, 0)


def uniform(rng: np.random.Generator, n: int) -> Ints:
    return rng.integers(0, 10, n)


def skewed(rng: np.random.Generator, n: int) -> Ints:
    return np.maximum(rng.integers(0, 10, n), rng.integers(0, 10, n))


def feed(track: EpisodeTracker, codes: Ints, *suspicions: Suspicion) -> list[PhaseDecision]:
    where = np.arange(len(codes), dtype=np.int64)
    return track.observe(codes, where, where, codes, suspicions)


def test_a_signal_without_a_change_opens_no_episode() -> None:
    track = EpisodeTracker(REFERENCE, 1.0, POLICY)
    decisions = feed(track, uniform(np.random.default_rng(1), 12_000), suspicion(100))

    assert decisions == []
    assert track.state == "quiet"
    assert track.dismissed == 1


def test_a_lasting_change_is_one_started_alert_however_many_signals_follow() -> None:
    rng = np.random.default_rng(2)
    track = EpisodeTracker(REFERENCE, 1.0, POLICY)
    signals = [suspicion(seen) for seen in range(40, 6000, 40)]
    decisions = feed(track, skewed(rng, 6000), *signals)

    assert [v.phase for v in decisions if v.phase != "ongoing"] == ["started"]
    assert decisions[0].suspicion == signals[0]._replace(seen=0)
    assert len([v for v in decisions if v.phase == "ongoing"]) <= 2


def test_an_episode_is_confirmed_on_events_after_its_signal_only() -> None:
    """The events that raised the signal look odd by selection: they prove nothing."""
    confirmed = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        codes = np.concatenate([skewed(rng, 400), uniform(rng, 4000)])
        confirmed += bool(feed(EpisodeTracker(REFERENCE, 1.0, POLICY), codes, suspicion(400)))

    assert confirmed <= 4  # one is expected at the significance of 0.01; P(> 4) = 0.003


def mixed(rng: np.random.Generator, n: int, share: float) -> Ints:
    """So many of the events as `skewed` has them, the others as the reference has."""
    return np.where(rng.random(n) < share, skewed(rng, n), uniform(rng, n))


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_an_episode_recovers_soon_after_its_change_is_gone_and_once(share: float) -> None:
    """Sooner than the detection of it took, by far; a quarter of 500 events is the least."""
    for seed in range(20):
        rng = np.random.default_rng((4, seed))
        track = EpisodeTracker(REFERENCE, 1.0, POLICY)
        codes = np.concatenate([mixed(rng, 4000, share), uniform(rng, 12_000)])
        decisions = feed(track, codes, suspicion(40))

        phases = [v.phase for v in decisions if v.phase != "ongoing"]
        assert phases == ["started", "recovered"]
        assert 4000 + 3 * 64 <= decisions[-1].offset <= 4000 + (1500 if share < 1 else 600)
        assert decisions[-1].n_events >= 4 * 64
        assert track.state == "quiet"


def test_a_larger_change_is_over_sooner() -> None:
    def events_until_over(share: float) -> float:
        found = []
        for seed in range(15):
            rng = np.random.default_rng((5, seed))
            codes = np.concatenate([mixed(rng, 4000, share), uniform(rng, 8000)])
            decisions = feed(EpisodeTracker(REFERENCE, 1.0, POLICY), codes, suspicion(40))
            found += [v.offset - 4000 for v in decisions if v.phase == "recovered"]
        return float(np.median(found))

    assert events_until_over(1.0) < 300 < 1.5 * events_until_over(1.0) < events_until_over(0.4)


def test_an_episode_stays_open_while_its_change_lasts() -> None:
    for seed in range(10):
        rng = np.random.default_rng((6, seed))
        decisions = feed(
            EpisodeTracker(REFERENCE, 1.0, POLICY), mixed(rng, 60_000, 0.5), suspicion(40)
        )
        assert [v.phase for v in decisions if v.phase != "ongoing"] == ["started"]


def test_half_of_the_recovery_is_reported_once() -> None:
    rng = np.random.default_rng(7)
    codes = np.concatenate([mixed(rng, 4000, 0.5), uniform(rng, 6000)])
    *before, over = feed(EpisodeTracker(REFERENCE, 1.0, POLICY), codes, suspicion(40))

    (reported,) = (v.progress for v in before if v.progress is not None)
    assert over.phase == "recovered"
    assert reported.n_needed / 2 <= reported.n_events < over.n_events
    assert reported.n_needed == pytest.approx(over.n_events, rel=0.5)


def test_an_episode_that_did_not_recover_after_all_is_reported_once() -> None:
    """The effect falls by half and rises again: the fall is reported, then the rise."""
    rng = np.random.default_rng(8)
    track = EpisodeTracker(REFERENCE, 1.0, POLICY)
    feed(track, mixed(rng, 4000, 0.4), suspicion(40))
    step, reported = track._recovery.step_events, list[PhaseDecision]()
    while not reported:
        reported += feed(track, uniform(rng, step))
    assert reported[0].progress is not None

    again = [v for _ in range(60) for v in feed(track, mixed(rng, step, 0.4))]

    assert [v.progress and v.progress.n_events for v in again] == [0]


def test_another_change_in_place_of_the_first_is_no_recovery() -> None:
    """Another change replaces the first: the episode stays open, or one opens again at once."""
    reopened = 0
    for seed in range(20):
        rng = np.random.default_rng((9, seed))
        track = EpisodeTracker(REFERENCE, 1.0, POLICY)
        other = 9 - mixed(rng, 20_000, 0.5)
        decisions = feed(track, np.concatenate([skewed(rng, 2000), other]), suspicion(40))

        assert track.state == "open"
        last = max((v.offset for v in decisions if v.phase == "started"), default=0)
        assert last < 2000 + 2500
        reopened += sum(v.phase == "started" for v in decisions) > 1

    assert reopened <= 10


def test_a_partial_recovery_is_found_without_a_signal() -> None:
    """A fifth of the events stay drifted: the detectors have adapted and raise no signal."""
    reopened = still_open = 0
    for seed in range(10):
        rng = np.random.default_rng((10, seed))
        track = EpisodeTracker(REFERENCE, 1.0, POLICY)
        codes = np.concatenate([skewed(rng, 2000), mixed(rng, 12_000, 0.2)])
        decisions = feed(track, codes, suspicion(40))

        still_open += track.state == "open"
        for again in [v for v in decisions if v.phase == "started"][1:]:
            assert again.suspicion.detector == "rule"
            assert again.suspicion.offset > 2000
            reopened += 1

    assert still_open >= 8
    assert reopened >= 5


def test_a_check_after_a_recovery_gives_way_to_a_signal_and_raises_no_suspicion() -> None:
    rng = np.random.default_rng(11)
    track = EpisodeTracker(REFERENCE, 1.0, POLICY)
    feed(track, np.concatenate([skewed(rng, 2000), uniform(rng, 1000)]), suspicion(40))
    assert (track.state, track.is_unprompted, track.dismissed) == ("suspected", True, 0)

    (started,) = feed(track, skewed(rng, 300), suspicion(30))

    assert started.suspicion.detector == "adwin"
    assert started.n_events <= 128
    assert track.dismissed == 0


def test_a_signal_after_a_window_without_evidence_starts_a_new_test() -> None:
    """What came before it would only hide what begins now."""
    rng = np.random.default_rng(12)
    codes = np.concatenate([uniform(rng, 4000), skewed(rng, 400)])
    track = EpisodeTracker(REFERENCE, 1.0, POLICY)

    (started,) = feed(track, codes, suspicion(100), suspicion(4030))

    assert started.suspicion.offset + 1 == 4030
    assert started.n_events == 64
    assert track.dismissed == 1


def test_superseding_ends_an_open_episode_once() -> None:
    track = EpisodeTracker(REFERENCE, 1.0, POLICY)
    feed(track, skewed(np.random.default_rng(5), 1000), suspicion(40))

    ended = track.end("superseded", 1000, 1000)
    assert ended is not None
    assert ended.phase == "superseded"
    assert track.end("superseded", 1001, 1001) is None


def test_superseding_drops_a_suspicion_without_a_word() -> None:
    track = EpisodeTracker(REFERENCE, 1.0, POLICY)
    feed(track, uniform(np.random.default_rng(6), 50), suspicion(40))

    assert track.state == "suspected"
    assert track.end("superseded", 50, 50) is None
    assert track.snapshot() == EpisodeTracker(REFERENCE, 1.0, POLICY).snapshot()
