"""The measurement of silence and volume on little traffic, and its report."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.checks.delay_history import delay_of, log_delay
from stream_monitor.checks.event_volume import EventVolumeCheck
from stream_monitor.episodes import traffic_messages as messages
from stream_monitor.state_parts import decode_part, encode_part
from stream_monitor.statistics.counts import Extremes, deviance
from tests.benchmarks.silence_detection import (
    DAY,
    SPEC,
    WEEK,
    Traffic,
    alerts_of,
    delays,
    false_alarms,
)

CALM = Traffic(20.0, of_day=0.03, of_hours=0.03, of_minute=0.1)
SINCE = 1_362_128_040_000


def test_days_weekends_and_moods_are_no_news() -> None:
    assert false_alarms(Traffic(20.0), 11, 5) == []


def test_silence_halving_and_doubling_are_reported_within_the_hour() -> None:
    silent, halved, doubled = delays(CALM, 3, 3 * WEEK + DAY + 720, (0.0, 0.5, 2.0))

    assert silent is not None
    assert silent <= 3
    assert halved is not None
    assert halved <= 60
    assert doubled is not None
    assert doubled <= 60


@pytest.mark.slow
@given(st.integers(0, 1_000), st.lists(st.integers(1, 2_999), max_size=4))
def test_restoring_at_any_slot_continues_identically(seed: int, cuts: list[int]) -> None:
    rng = random.Random(seed)  # noqa: S311
    counts = [0 if rng.random() < 0.3 else rng.randint(0, 9) for _ in range(3_000)]
    whole, parts = EventVolumeCheck(SPEC), EventVolumeCheck(SPEC)
    counted = np.array(counts)
    expected = list(alerts_of(counted, whole))
    found = []
    edges = sorted({0, len(counts), *cuts})
    for start, end in pairwise(edges):
        found += list(alerts_of(counted[start:end], parts, start))
        state = decode_part(encode_part(parts.snapshot()))
        parts = EventVolumeCheck(SPEC)
        parts.restore(state)

    assert encode_part(parts.snapshot()) == encode_part(whole.snapshot())
    assert len(found) == len(expected)


@given(st.floats(0.01, 1e6), st.floats(0, 5), st.floats(0, 10))
def test_a_deviance_is_zero_at_the_mean_and_grows_away_from_it(
    mean: float, dispersion: float, times: float
) -> None:
    assert deviance(mean, mean, dispersion) == pytest.approx(0, abs=1e-6 * mean)
    near, far = mean * (1 + times), mean * (1 + 2 * times)
    assert deviance(far, mean, dispersion) >= deviance(near, mean, dispersion) - 1e-6 * mean


@given(st.integers(0, 2**40))
def test_the_mean_of_equal_delays_is_that_delay(delay_ms: int) -> None:
    assert delay_of(log_delay(delay_ms)) == pytest.approx(delay_ms, rel=2e-3, abs=1)


def test_the_largest_value_is_forgotten_after_two_spans() -> None:
    seen = Extremes(100)
    seen.learn(0, 50.0)
    seen.learn(100, 1.0)
    assert seen.largest == 50.0

    seen.learn(200, 1.0)
    assert seen.largest == 1.0


def test_the_sentences() -> None:
    hour = 3_600_000
    assert [
        messages.silence_message(42 * 60_000, 1 / 3_000),
        messages.silence_message(26 * hour, 1 / (20 * 60_000), "7"),
        messages.silence_ended_message(42 * 60_000),
        messages.volume_message(12 / 60_000, 3.1 / 60_000, SINCE),
        messages.volume_message(12 / 60_000, 31 / 60_000, SINCE, worse=True),
        messages.volume_recovered_message(12 / 60_000, 11.6 / 60_000),
        messages.label_outage_message(26 * hour, 2 * hour),
        messages.label_outage_ended_message(26 * hour),
        messages.label_delay_message(2.1 * hour, 19 * hour, SINCE),
        messages.label_delay_message(2.1 * hour, 30 * hour, SINCE, worse=True),
        messages.label_delay_recovered_message(2.2 * hour),
    ] == [
        (
            "No events for 42 min; usually one every 3 s at this hour. Check the model server and "
            "its connection to Kafka."
        ),
        (
            "No events of version 7 for 26 h, and no more than usual of other versions; usually "
            "one every 20 min at this hour. Check the model server and its connection to Kafka."
        ),
        "Traffic resumed after 42 min without events.",
        (
            "Event volume 12 a minute → 3.1 a minute since 1 Mar 2013 08:54 UTC, all versions. "
            "Check why the callers of the model send fewer requests."
        ),
        (
            "Event volume 12 a minute → 31 a minute since 1 Mar 2013 08:54 UTC, all versions. "
            "Worse than reported before. Check why the callers of the model send more requests."
        ),
        "Event volume back to normal: 12 a minute (usual 12 a minute).",
        "No labels for 26 h; the longest gap before was 2 h. Check the job that writes labels.",
        "Labels resumed after 26 h without labels.",
        (
            "Labels arrive 19 h after the prediction (usual 2.1 h) since 1 Mar 2013 08:54 UTC. "
            "Check the job that writes labels."
        ),
        (
            "Labels arrive 30 h after the prediction (usual 2.1 h) since 1 Mar 2013 08:54 UTC. "
            "Worse than reported before. Check the job that writes labels."
        ),
        "Labels arrive in time, 2.2 h after the prediction.",
    ]
