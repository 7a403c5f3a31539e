"""Our way to call River's detectors changes none of their results, nor does storing them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift

from stream_monitor.detectors.adwin import Adwin
from stream_monitor.detectors.adwin_state import AdwinState, check, compact, dump, expand, new
from stream_monitor.detectors.page_hinkley import PageHinkley, PageHinkleyState, min_instances
from stream_monitor.state_parts import CorruptState, decode_part, encode_part
from tests.hypothesis_profiles import examples

seeds = st.integers(0, 1_000_000)
allowances = st.sampled_from([0.25, 0.5, 1.0, 1.5])
law = settings(max_examples=examples(40))
CLOCK = 4


def stream(seed: int, n: int = 700) -> list[float]:
    """Standardised block means with some changes of level."""
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.choice([0.0, 0.0, 0.4, -1.0, 3.0], 7), n // 7 + 1)[:n]
    return np.clip(rng.standard_normal(n) + levels, -8, 8).tolist()  # type: ignore[no-any-return]


def river_page_hinkley(threshold: float, allowance: float, n_reference: int) -> Any:
    return drift.PageHinkley(
        min_instances=min_instances(n_reference),
        delta=allowance,
        threshold=threshold,
        alpha=1.0,
        mode="both",
    )


@law
@given(
    seed=seeds,
    threshold=st.floats(1.0, 15.0),
    allowance=allowances,
    n_reference=st.integers(0, 400),
)
def test_page_hinkley_equals_river_bit_by_bit(
    seed: int, threshold: float, allowance: float, n_reference: int
) -> None:
    theirs = river_page_hinkley(threshold, allowance, n_reference)
    for _ in range(n_reference):
        theirs.update(0.0)
    fired = []
    values = stream(seed)
    for i, value in enumerate(values):
        theirs.update(value)
        if theirs.drift_detected:
            fired.append(i)

    ours = PageHinkley(threshold, allowance, n_reference)
    assert [alarm.block for alarm in ours.observe(values)] == fired
    state = ours.snapshot()
    assert (state.up, state.low) == (theirs._sum_increase, theirs._min_increase)
    assert (state.down, state.high) == (theirs._sum_decrease, theirs._max_decrease)
    assert (state.n, state.mean) == (theirs._x_mean.n, theirs._x_mean.get())
    assert state.flagged == theirs.drift_detected


@law
@given(seed=seeds, delta=st.floats(1e-6, 0.5))
def test_adwin_equals_river_bit_by_bit(seed: int, delta: float) -> None:
    theirs: Any = drift.ADWIN(delta=delta, clock=CLOCK)  # type: ignore[no-untyped-call]
    values = [10 * value for value in stream(seed)]
    fired = []
    for i, value in enumerate(values):
        theirs.update(value)
        if theirs.drift_detected:
            fired.append(i)

    ours = Adwin.primed(None, delta, CLOCK)
    assert [alarm.block for alarm in ours.observe(values)] == fired
    assert expand(ours.snapshot()) == dump(theirs)


@law
@given(seed=seeds, cut=st.integers(0, 700), threshold=st.floats(2.0, 12.0), allowance=allowances)
def test_a_stored_page_hinkley_continues_identically(
    seed: int, cut: int, threshold: float, allowance: float
) -> None:
    values = stream(seed)
    whole = PageHinkley(threshold, allowance, 50)
    expected = whole.observe(values)

    first = PageHinkley(threshold, allowance, 50)
    found = first.observe(values[:cut])
    stored = decode_part(encode_part(first.snapshot()), PageHinkleyState)
    second = PageHinkley.restore(threshold, allowance, 50, stored)
    found += [alarm._replace(block=alarm.block + cut) for alarm in second.observe(values[cut:])]

    assert found == expected
    assert second.snapshot() == whole.snapshot()


@law
@given(seed=seeds, cut=st.integers(0, 700), delta=st.floats(1e-6, 0.5))
def test_a_stored_adwin_continues_identically(seed: int, cut: int, delta: float) -> None:
    values = [10 * value for value in stream(seed)]
    whole = Adwin.primed(None, delta, CLOCK)
    expected = whole.observe(values)

    first = Adwin.primed(None, delta, CLOCK)
    found = first.observe(values[:cut])
    stored = decode_part(encode_part(first.snapshot()), AdwinState)
    second = Adwin.restore(delta, CLOCK, stored)
    found += [alarm._replace(block=alarm.block + cut) for alarm in second.observe(values[cut:])]

    assert found == expected
    assert second.snapshot() == whole.snapshot()


def test_an_adwin_stored_at_its_detection_starts_over_at_the_next_update() -> None:
    adwin = Adwin.primed(None, 0.2, 1)
    values = [0.0] * 60 + [50.0] * 60
    i = next(i for i, value in enumerate(values) if adwin.observe([value]))

    restored = Adwin.restore(0.2, 1, adwin.snapshot())
    restored.observe([values[i + 1]])
    assert restored.snapshot().width == 1


@settings(max_examples=examples(300))
@given(seed=seeds, data=st.data())
def test_a_damaged_adwin_state_is_rejected_or_consistent_and_never_panics(
    seed: int, data: st.DataObject
) -> None:
    adwin = Adwin.primed(None, 0.01, CLOCK)
    adwin.observe([10 * value for value in stream(seed, 200)])
    state = adwin.snapshot()
    raw = bytearray(msgspec.msgpack.encode(state))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode_part(bytes(raw), AdwinState)
        restored = Adwin.restore(0.01, CLOCK, read)
    except CorruptState:
        return
    restored.observe([10 * value for value in stream(seed + 1, 300)])
    read = expand(read)
    totals = [
        value
        for start, used in _row_starts(read)
        for value in np.frombuffer(read.buckets[start : start + 8 * used], "<f8")
    ]
    assert sum(totals) == pytest.approx(read.total, abs=1e-3 + 1e-5 * sum(map(abs, totals)))


def _row_starts(state: AdwinState) -> list[tuple[int, int]]:
    starts, at = [], 0
    for used in state.rows:
        starts.append((at, used))
        at += 16 * used
    return starts


def valid_state() -> AdwinState:
    adwin = new(0.01, CLOCK)
    for value in stream(1, 200):
        adwin.update(value)  # type: ignore[no-untyped-call]
    return dump(adwin)


@law
@given(seed=seeds, n=st.integers(0, 700), constant=st.none() | st.floats(-9, 9))
def test_a_compact_adwin_state_is_shorter_and_the_same(
    seed: int, n: int, constant: float | None
) -> None:
    adwin = new(0.01, CLOCK)
    for value in stream(seed)[:n]:
        adwin.update(value if constant is None else constant)  # type: ignore[no-untyped-call]
    state = dump(adwin)

    stored = encode_part(compact(state))

    assert expand(decode_part(stored, AdwinState)) == state
    assert decode_part(encode_part(state), AdwinState) == state  # as it was stored before
    assert len(stored) <= len(encode_part(state))
    equal = constant is not None and state.variance == 0
    assert not equal or len(stored) < 150


@pytest.mark.parametrize(
    "change",
    [
        {"layout": 2},
        {"clock": 0},
        {"total": float("nan")},
        {"total": 1e9},
        {"variance": -1.0},
        {"variance": 1e9},
        {"width": 199.0},
        {"rows": ()},
        {"rows": (6, 5)},
        {"buckets": b""},
        {"counters": (0, 0, -1, 0)},
        {"counters": (0, 0, 1 << 40, 0)},
    ],
    ids=str,
)
def test_an_impossible_adwin_state_is_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptState):
        check(msgspec.structs.replace(valid_state(), **change))


@pytest.mark.parametrize("data", [None, [], [1] * 8, ["a"] * 9, {"n": 1}, [float("nan")] * 9])
def test_an_impossible_page_hinkley_state_is_rejected(data: Any) -> None:
    def restore() -> None:
        stored = decode_part(msgspec.msgpack.encode(data), PageHinkleyState)
        PageHinkley.restore(8.0, 0.5, 10, stored)

    with pytest.raises(CorruptState):
        restore()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("which", ["adwin", "page_hinkley"])
def test_direction_and_onset_point_at_the_change(sign: int, which: str) -> None:
    """Each at a shift, in sd of a block mean, that is its business."""
    shift = 0.6 if which == "adwin" else 1.5
    errors = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = np.concatenate([rng.standard_normal(500), rng.standard_normal(300) + sign * shift])
        if which == "adwin":
            alarms = Adwin.primed(None, 0.002, 4).observe((10 * values).tolist())
        else:
            alarms = PageHinkley(10.0, 0.5, 500).observe(values.tolist())
        first = next(alarm for alarm in alarms if alarm.block >= 500)
        assert first.direction == ("up" if sign > 0 else "down")
        errors.append(first.block - first.onset_blocks - 500)
    assert abs(float(np.median(errors))) <= 4
