"""One lasting change is one episode: confirmed on fresh events, silent while open."""

from __future__ import annotations

import numpy as np

from stream_monitor.alerts.episode import Suspicion, Track, Verdict
from stream_monitor.alerts.policy import EpisodePolicy
from stream_monitor.ingest.batch import Ints

REFERENCE = [1000] * 10
POLICY = EpisodePolicy()


def suspicion(seen: int) -> Suspicion:
    return Suspicion(seen, "adwin", "location", "up", seen - 1, seen - 1, 0, 0)


def uniform(rng: np.random.Generator, n: int) -> Ints:
    return rng.integers(0, 10, n)


def skewed(rng: np.random.Generator, n: int) -> Ints:
    return np.maximum(rng.integers(0, 10, n), rng.integers(0, 10, n))


def feed(track: Track, codes: Ints, *suspicions: Suspicion) -> list[Verdict]:
    where = np.arange(len(codes), dtype=np.int64)
    return track.observe(codes, where, where, codes, suspicions)


def test_a_signal_without_a_change_opens_no_episode() -> None:
    track = Track(REFERENCE, 1.0, POLICY)
    verdicts = feed(track, uniform(np.random.default_rng(1), 12_000), suspicion(100))

    assert verdicts == []
    assert track.state == "quiet"
    assert track.dismissed == 1


def test_a_lasting_change_is_one_started_alert_however_many_signals_follow() -> None:
    rng = np.random.default_rng(2)
    track = Track(REFERENCE, 1.0, POLICY)
    signals = [suspicion(seen) for seen in range(40, 6000, 40)]
    verdicts = feed(track, skewed(rng, 6000), *signals)

    assert [v.phase for v in verdicts if v.phase != "ongoing"] == ["started"]
    assert verdicts[0].suspicion == signals[0]
    assert len([v for v in verdicts if v.phase == "ongoing"]) <= 2


def test_an_episode_is_confirmed_on_events_after_its_signal_only() -> None:
    """The events that raised the signal look odd by selection: they prove nothing."""
    confirmed = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        codes = np.concatenate([skewed(rng, 400), uniform(rng, 4000)])
        confirmed += bool(feed(Track(REFERENCE, 1.0, POLICY), codes, suspicion(400)))

    assert confirmed <= 4  # one is expected at the significance of 0.01; P(> 4) = 0.003


def test_an_episode_recovers_after_three_clear_windows() -> None:
    rng = np.random.default_rng(4)
    track = Track(REFERENCE, 1.0, POLICY)
    window = POLICY.window_events(len(REFERENCE), 1.0)
    codes = np.concatenate([skewed(rng, 2000), uniform(rng, 6 * window)])
    verdicts = feed(track, codes, suspicion(40))

    recovered = [v for v in verdicts if v.phase == "recovered"]
    assert len(recovered) == 1
    assert 2000 + 3 * window <= recovered[0].offset <= 2000 + 5 * window


def test_superseding_ends_an_open_episode_once() -> None:
    track = Track(REFERENCE, 1.0, POLICY)
    feed(track, skewed(np.random.default_rng(5), 1000), suspicion(40))

    ended = track.end("superseded", 1000, 1000)
    assert ended is not None
    assert ended.phase == "superseded"
    assert track.end("superseded", 1001, 1001) is None


def test_superseding_drops_a_suspicion_without_a_word() -> None:
    track = Track(REFERENCE, 1.0, POLICY)
    feed(track, uniform(np.random.default_rng(6), 50), suspicion(40))

    assert track.state == "suspected"
    assert track.end("superseded", 50, 50) is None
    assert track.snapshot() == Track(REFERENCE, 1.0, POLICY).snapshot()


def test_a_suspicion_stored_before_invalid_events_were_counted_is_continued() -> None:
    track, again = Track(REFERENCE, 1.0, POLICY), Track(REFERENCE, 1.0, POLICY)
    feed(track, uniform(np.random.default_rng(7), 50), suspicion(40))

    again.restore(track.snapshot()[:-1])

    assert again.snapshot() == track.snapshot()
