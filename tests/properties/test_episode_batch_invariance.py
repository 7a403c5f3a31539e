"""Episodes do not depend on where batches are cut, nor on a restart between any two of them."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.checks.monitored_signal import MonitoredSignal, SignalDecision
from stream_monitor.checks.unit import UnitRule
from stream_monitor.episodes.lifecycle import EpisodeTracker
from stream_monitor.episodes.phase_decision import PhaseDecision, Suspicion
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.fit import fit_feature
from stream_monitor.state_parts import encode_part

REFERENCE = [100] * 4
POLICY = EpisodePolicy(min_window_events=40, first_test_events=8, clear_windows=2)
SHORT = msgspec.structs.replace(POLICY, min_effect=0.1)
FEATURE = fit_feature("x", np.random.default_rng(0).standard_normal(2000))
cuts = st.lists(st.integers(0, 1200), max_size=12)


def stream(seed: int) -> tuple[np.ndarray, list[Suspicion]]:
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, 4, 300), rng.integers(2, 4, 300), rng.integers(0, 4, 600)]
    signals = sorted(rng.choice(np.arange(1, 1201), 25, replace=False).tolist())
    return np.concatenate(parts), [
        Suspicion(s, "adwin", "location", "up", s - 1, s - 1, 0, 0) for s in signals
    ]


@given(
    seed=st.integers(0, 10_000), at=cuts, restart=st.booleans(), fall=st.sampled_from([None, 3e4])
)
def test_an_episode_does_not_depend_on_batch_cuts_or_restarts(
    seed: int,
    at: list[int],
    restart: bool,  # noqa: FBT001
    fall: float | None,
) -> None:
    codes, signals = stream(seed)
    if fall is not None:  # decreasing values, with a part of the signals
        codes, signals = 3 - codes, signals[::8]
    where = np.arange(len(codes), dtype=np.int64)
    whole = EpisodeTracker(REFERENCE, 1.0, POLICY, decrease_arl0=fall)
    expected = whole.observe(codes, where, where, codes, signals)

    track, found = EpisodeTracker(REFERENCE, 1.0, POLICY, decrease_arl0=fall), list[PhaseDecision]()
    for start, end in pairwise(sorted({0, len(codes), *at})):
        part = [s._replace(seen=s.seen - start) for s in signals if start < s.seen <= end]
        found += track.observe(
            codes[start:end], where[start:end], where[start:end], codes[start:end], part
        )
        if restart:
            state = track.snapshot()
            track = EpisodeTracker(REFERENCE, 1.0, POLICY, decrease_arl0=fall)
            track.restore(state)

    def plain(decisions: list[PhaseDecision]) -> list[PhaseDecision]:
        return [v._replace(suspicion=v.suspicion._replace(seen=0)) for v in decisions]

    assert plain(found) == plain(expected)
    assert encode_part(track.snapshot()) == encode_part(whole.snapshot())


@given(seed=st.integers(0, 10_000), at=cuts, restart=st.booleans())
def test_the_unit_rule_does_not_depend_on_batch_cuts_or_restarts(
    seed: int,
    at: list[int],
    restart: bool,  # noqa: FBT001
) -> None:
    rng = np.random.default_rng(seed)
    raw = 40 + 3 * rng.standard_normal(1200)
    begin, end = sorted(rng.integers(0, 1200, 2).tolist())
    raw[begin:end] = (raw[begin:end] - 32) / 1.8
    values = np.rint((raw - 40) * (1 << 20)).astype(np.int64)
    outside = (raw < 15) | (raw > 60)

    def new() -> UnitRule:
        return UnitRule(40.0, 1.0, 9.0, 1 << 20)

    whole, cut = new(), new()
    expected = whole.observe(values, outside)
    found = []
    for start, stop in pairwise(sorted({0, 1200, *at})):
        found += [
            c._replace(seen=c.seen + start)
            for c in cut.observe(values[start:stop], outside[start:stop])
        ]
        if restart:
            state = cut.state
            cut = new()
            cut.restore(state)

    assert found == expected
    assert cut.state == whole.state


@given(seed=st.integers(0, 10_000), at=cuts, restart=st.booleans())
def test_missing_value_adjustment_does_not_depend_on_batch_boundaries(
    seed: int,
    at: list[int],
    restart: bool,  # noqa: FBT001
) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.standard_normal(1200)
    raw[200:800][raw[200:800] < rng.uniform(-1.5, 0.5)] = np.nan
    raw[600:700] += rng.uniform(0, 1)
    constant = int(rng.integers(200, 1100))
    raw[constant : constant + int(rng.integers(0, 100))] = 0.5
    where = np.arange(len(raw), dtype=np.int64)

    def new() -> MonitoredSignal:
        return MonitoredSignal(FEATURE, "data", 2_000.0, SHORT)

    def fed(series: MonitoredSignal, start: int, end: int) -> list[SignalDecision]:
        part = where[start:end]
        findings = series.observe(
            series.transform.apply(raw[start:end]),
            part,
            part,
            lambda position, back: (int(part[position]) - back, 0),
        )
        return [
            SignalDecision(name, v._replace(suspicion=v.suspicion._replace(seen=0)))
            for name, v in findings
        ]

    whole, series = new(), new()
    expected = fed(whole, 0, len(raw))
    found = list[SignalDecision]()
    for start, end in pairwise(sorted({0, len(raw), *at})):
        found += fed(series, start, end)
        if restart:
            state = series.snapshot()
            series = new()
            series.restore(state)

    def ordered(findings: list[SignalDecision]) -> list[SignalDecision]:
        return sorted(findings, key=lambda d: (d.decision.offset, d.check))

    assert ordered(found) == ordered(expected)
    assert encode_part(series.snapshot()) == encode_part(whole.snapshot())
