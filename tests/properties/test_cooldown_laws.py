"""Which alerts a cooldown suppresses, for any alerts of any partition."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.contracts import ENDED_PHASES, SEVERITY_RANK, DriftAlert, Kind, Phase, Severity
from stream_monitor.episodes.open_episodes import EventTimes, OpenEpisodes, OpenEpisodesState
from stream_monitor.state_parts import decode_part, encode_part
from tests.builders import alert
from tests.hypothesis_profiles import examples

COOLDOWN_MS = 200
N = 120
SEVERITIES: list[Severity] = ["low", "medium", "high"]
ENDS: list[Phase] = ["recovered", "recovered", "recovered", "resolved", "superseded"]
seeds = st.integers(0, 1_000_000)
some_cuts = st.lists(st.integers(1, N - 1), max_size=20)


def times_of(seed: int) -> list[int]:
    """Event times at N offsets, out of order and sometimes far on."""
    rng = random.Random(seed)  # noqa: S311
    now_ms, times = 1_000, []
    for _ in range(N):
        now_ms += rng.choice([0, 10, 10, 20, 400])
        times.append(max(0, now_ms - rng.choice([0, 0, 5, 300])))
    return times


def alerts_of(seed: int, times: list[int]) -> list[DriftAlert]:
    """Episodes of two series, one after the other, as they begin, grow worse and end."""
    rng = random.Random(seed + 1)  # noqa: S311
    found: list[DriftAlert] = []
    for series in ("feature/temp", "feature/hour"):
        at, n, worst, open_ = 0, 0, 0, False
        while (at := at + rng.randint(1, 12)) < N:
            phase: Phase = "started"
            if open_:
                phase = "ongoing" if rng.random() < 0.2 and worst < 2 else rng.choice(ENDS)
            n += phase == "started"
            worst = rng.randint(0, 2) if phase == "started" else worst + (phase == "ongoing")
            open_ = phase in ("started", "ongoing")
            found.append(
                alert(
                    alert_id=f"{series}-{at}",
                    episode_id=f"{series}-{n}",
                    series=series,
                    phase=phase,
                    severity=SEVERITIES[worst],
                    decided_offset=at,
                    decided_ms=times[at],
                )
            )
    return sorted(found, key=lambda one: (one.decided_offset, one.alert_id))


def process(seed: int, cuts: list[int]) -> tuple[list[DriftAlert], OpenEpisodes]:
    """All reported alerts; the open episodes are stored and loaded at every cut."""
    times = times_of(seed)
    alerts = alerts_of(seed, times)
    register, found_alerts = OpenEpisodes(COOLDOWN_MS), list[DriftAlert]()
    for start, end in pairwise(sorted({0, N, *cuts})):
        offsets = np.arange(start, end, dtype=np.int64)
        mine = [one for one in alerts if start <= one.decided_offset < end]
        events = EventTimes(offsets, np.array(times[start:end], dtype=np.int64))
        found_alerts += register.process(mine, offsets, offsets * 0, events)
        if (state := register.take_changes()) is not None:
            register = OpenEpisodes(COOLDOWN_MS)
            register.restore(decode_part(encode_part(state), OpenEpisodesState))
    return found_alerts, register


@given(seed=seeds, cuts=some_cuts)
def test_alerts_do_not_depend_on_cuts_and_restarts(seed: int, cuts: list[int]) -> None:
    found_alerts, register = process(seed, cuts)
    at_once, whole = process(seed, [])
    in_order = [sorted(x, key=lambda a: a.decided_offset) for x in (found_alerts, at_once)]

    assert in_order[0] == in_order[1]
    first: dict[str, Phase] = {}
    for one in in_order[0]:
        first.setdefault(one.episode_id, one.phase)
    assert set(first.values()) <= {"started"}
    assert (register.by_id, register.suppressed) == (whole.by_id, whole.suppressed)


@settings(max_examples=examples(150))
@given(seed=seeds)
def test_an_episode_is_reported_within_a_cooldown_only_if_it_is_worse(seed: int) -> None:
    times = times_of(seed)
    latest = {0: 0}
    for one in alerts_of(seed, times):
        latest[one.decided_offset] = max(one.decided_ms, *latest.values())
    found_alerts, _ = process(seed, [])
    recovered: dict[str, tuple[int, int]] = {}
    worst: dict[str, int] = {}
    for one in found_alerts:
        if one.phase == "recovered":
            recovered[one.series] = one.decided_ms, worst[one.episode_id]
        elif one.phase in ENDED_PHASES:
            recovered.pop(one.series, None)
        elif one.phase == "started" and one.series in recovered:
            at_ms, was = recovered[one.series]
            now_ms = latest.get(one.decided_offset, one.decided_ms)
            back = one.decided_ms < at_ms - COOLDOWN_MS
            assert back or now_ms >= at_ms + COOLDOWN_MS or SEVERITY_RANK[one.severity] > was
        worst[one.episode_id] = max(worst.get(one.episode_id, 0), SEVERITY_RANK[one.severity])


@settings(max_examples=examples(150))
@given(seed=seeds)
def test_every_suppressed_alert_is_counted_and_no_end_is_sent_without_its_start(seed: int) -> None:
    times = times_of(seed)
    alerts = alerts_of(seed, times)
    found_alerts, register = process(seed, [])
    late = [one for one in found_alerts if "Suppressed by the cooldown" in one.explanation]
    started = {one.episode_id for one in found_alerts if one.phase == "started"}

    assert len(found_alerts) - len(late) + register.suppressed == len(alerts)
    assert {one.episode_id for one in found_alerts} == started
    for episode in register.by_id.values():
        if episode.cooldown_hold is not None:
            since = episode.latest.decided_offset + 1
            assert max(times[since:], default=0) < episode.cooldown_hold.until_ms
        else:
            assert episode.reported


@pytest.mark.parametrize("kind", ["quality", "concept", "volume", "labels"])
def test_broken_data_the_loss_and_silence_are_reported_at_once_each_time(kind: Kind) -> None:
    offsets = np.arange(10, dtype=np.int64)
    phases: list[Phase] = ["started", "recovered", "started"]
    alerts = [
        alert(episode_id=f"e{i > 1}", kind=kind, phase=phase, decided_offset=i, decided_ms=i)
        for i, phase in enumerate(phases)
    ]
    found_alerts = OpenEpisodes(COOLDOWN_MS).process(alerts, offsets, offsets)
    assert [one.phase for one in found_alerts] == phases


def test_replayed_traffic_is_reported() -> None:
    """A file played into the same log twice: the second time may never come as far as the first."""
    offsets = np.arange(10, dtype=np.int64)
    phases: list[Phase] = ["started", "recovered", "started"]
    alerts = [
        alert(episode_id=f"e{i > 1}", phase=phase, decided_offset=i, decided_ms=time_ms)
        for i, (phase, time_ms) in enumerate(zip(phases, (5_000, 9_000, 5_000), strict=True))
    ]
    found_alerts = OpenEpisodes(COOLDOWN_MS).process(alerts, offsets, offsets)
    assert [one.phase for one in found_alerts] == phases


def test_drift_that_lasts_after_a_person_resolved_it_is_reported() -> None:
    offsets = np.arange(10, dtype=np.int64)
    story: list[tuple[str, Phase, Severity]] = [
        ("a", "started", "low"),
        ("a", "recovered", "low"),
        ("b", "started", "high"),
        ("b", "resolved", "high"),
        ("c", "started", "low"),
    ]
    alerts = [
        alert(episode_id=name, phase=phase, severity=bad, decided_offset=i, decided_ms=i)
        for i, (name, phase, bad) in enumerate(story)
    ]
    found_alerts = OpenEpisodes(COOLDOWN_MS).process(alerts, offsets, offsets)
    assert [(one.episode_id, one.phase) for one in found_alerts] == [one[:2] for one in story]


def test_these_logs_hold_all_that_the_laws_are_about() -> None:
    """A law about nothing would prove nothing."""
    found_alerts = [one for seed in range(20) for one in process(seed, [])[0]]
    waiting = [
        e for seed in range(20) for e in process(seed, [])[1].by_id.values() if e.cooldown_hold
    ]

    assert any("Suppressed by the cooldown" in one.explanation for one in found_alerts)
    assert any(one.suppressed for one in found_alerts if one.phase == "recovered")
    assert waiting
