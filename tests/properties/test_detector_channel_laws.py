"""Signals depend on the order of values and on their ranks: not on cuts, restarts or units."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.detectors.channel import Channel, ChannelState
from stream_monitor.detectors.detection import Detection
from stream_monitor.detectors.signal_detectors import SignalDetectors
from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.profile import FeatureReference
from stream_monitor.reference.transform import Transform
from stream_monitor.state_parts import CorruptState, decode_part, encode_part
from stream_monitor.statistics.fixed_point import FIXED_POINT
from tests.hypothesis_profiles import examples

ARL0 = 2000.0  # loose, so that something happens
N = 1500
cuts = st.lists(st.integers(0, N), max_size=12)
law = settings(max_examples=examples(30))


@cache
def reference(kind: str) -> FeatureReference:
    return fit_feature("x", values(kind, 0, 1000, moved=False))


def values(kind: str, seed: int, n: int = N, *, moved: bool = True) -> list[Any]:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(n)
    if moved:
        z[n // 3 : 2 * n // 3] += 0.8
    column: list[Any] = {
        "numeric": z.tolist(),
        "boolean": (z > 1).tolist(),
        "categorical": [f"c{int(x)}" for x in np.clip(np.abs(z) * 3, 0, 9)],
    }[kind]
    for i in np.flatnonzero(rng.random(n) < 0.03):
        column[i] = None
    return column


def observe_in_parts(
    kind: str, column: list[Any], at: list[int], *, restart: bool
) -> tuple[list[Detection], Any]:
    transform = Transform(reference(kind))
    detectors = SignalDetectors(reference(kind), transform, ARL0)
    found: list[Detection] = []
    for start, end in pairwise(sorted({0, len(column), *at})):
        signals = detectors.observe(transform.apply(column[start:end]))
        found += [signal._replace(position=signal.position + start) for signal in signals]
        if restart:
            stored = decode_part(encode_part(detectors.snapshot()), dict[str, ChannelState])
            detectors = SignalDetectors(reference(kind), transform, ARL0, stored)
    return found, detectors.snapshot()


@pytest.mark.parametrize("kind", ["numeric", "boolean", "categorical"])
@law
@given(seed=st.integers(0, 10_000), at=cuts, restart=st.booleans())
def test_signals_do_not_depend_on_cuts_or_restarts(
    kind: str,
    seed: int,
    at: list[int],
    restart: bool,  # noqa: FBT001
) -> None:
    column = values(kind, seed)

    found, state = observe_in_parts(kind, column, at, restart=restart)
    expected, expected_state = observe_in_parts(kind, column, [], restart=False)
    assert sorted(found) == sorted(expected)
    assert state == expected_state


@pytest.mark.parametrize("kind", ["numeric", "boolean", "categorical"])
def test_the_streams_of_these_laws_raise_signals(kind: str) -> None:
    signals, _ = observe_in_parts(kind, values(kind, 1), [], restart=False)

    assert {signal.detector for signal in signals} == {"adwin", "page_hinkley"}
    assert [s.position for s in signals] == sorted(s.position for s in signals)


@law
@given(seed=st.integers(0, 10_000))
def test_scale_and_monotone_shape_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base, fresh = rng.standard_normal(2000), rng.standard_normal(1500)
    fresh[500:] += 0.7

    def signals(before: Any, after: Any) -> list[Detection]:
        fitted = fit_feature("x", before)
        transform = Transform(fitted)
        detectors = SignalDetectors(fitted, transform, 20_000.0)
        return detectors.observe(transform.apply(after))

    expected = signals(base, fresh)
    assert expected
    assert signals(1e-3 * base, 1e-3 * fresh) == expected
    assert signals(1e6 * base, 1e6 * fresh) == expected
    assert signals(np.exp(base), np.exp(fresh)) == expected


@law
@given(seed=st.integers(0, 10_000))
def test_the_position_is_the_event_that_completed_the_block(seed: int) -> None:
    """So the events after it never helped to raise the signal."""
    column = values("numeric", seed)
    signals, _ = observe_in_parts("numeric", column, [], restart=False)

    for signal in signals[:3]:
        until, _ = observe_in_parts("numeric", column[: signal.position + 1], [], restart=False)
        before, _ = observe_in_parts("numeric", column[: signal.position], [], restart=False)
        assert signal in until
        assert signal not in before


@settings(max_examples=examples(200))
@given(seed=st.integers(0, 100), data=st.data())
def test_a_damaged_signal_state_is_rejected_or_usable(seed: int, data: st.DataObject) -> None:
    transform = Transform(reference("numeric"))
    detectors = SignalDetectors(reference("numeric"), transform, ARL0)
    detectors.observe(transform.apply(values("numeric", seed, 333)))
    raw = bytearray(msgspec.msgpack.encode(detectors.snapshot()))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        damaged = decode_part(bytes(raw), dict[str, ChannelState])
        restored = SignalDetectors(reference("numeric"), transform, ARL0, damaged)
    except CorruptState:
        return
    restored.observe(transform.apply(values("numeric", seed, 500)))


@pytest.mark.parametrize(("count", "total"), [(8, 0), (-1, 0), (1, 1 << 40)])
def test_an_impossible_channel_state_is_rejected(count: int, total: int) -> None:
    fitted = reference("numeric").channels[0]
    state = Channel(fitted, ARL0).snapshot()
    with pytest.raises(CorruptState):
        Channel(fitted, ARL0, msgspec.structs.replace(state, count=count, total=total))


def test_a_channel_is_fed_exact_block_means() -> None:
    """A sum of floats would depend on the order; this one is an integer."""
    fitted = reference("numeric").channels[0]
    one, other = Channel(fitted, ARL0), Channel(fitted, ARL0)
    parts = np.array([FIXED_POINT // 3, 1, -7, FIXED_POINT, 5, 11, 0, 1] * 40, dtype=np.int64)
    one.observe(parts)
    for value in parts:
        other.observe(np.array([value]))

    assert one.snapshot() == other.snapshot()


@given(sizes=st.lists(st.integers(0, 600), max_size=8), first=st.integers(0, FIXED_POINT))
def test_zeros_are_applied_by_their_number_as_one_by_one(sizes: list[int], first: int) -> None:
    fitted = reference("numeric").channels[0]
    one, other = Channel(fitted, ARL0), Channel(fitted, ARL0)
    for size in sizes:
        value = np.array([first], dtype=np.int64)
        assert one.observe(value) == other.observe(value)
        assert one.observe_zeros(size) == other.observe(np.zeros(size, dtype=np.int64))

    assert one.snapshot() == other.snapshot()
