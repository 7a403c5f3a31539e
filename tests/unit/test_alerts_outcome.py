"""Episodes of the loss end whenever somebody ends them, be there events to compare or none."""

from __future__ import annotations

import numpy as np
import pytest

from stream_monitor.alerts.episode import Suspicion
from stream_monitor.alerts.outcome import track_for
from stream_monitor.alerts.policy import EpisodePolicy
from stream_monitor.reference.profile import ReferenceProfile
from tests.benchmarks.estimate import CHANGES, profile_of, rows


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
    track = track_for(outcome, EpisodePolicy(first_look_events=64))
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
