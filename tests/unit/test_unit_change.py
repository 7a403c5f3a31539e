"""A feature that is suddenly sent in another unit is named, even where it is autocorrelated."""

from __future__ import annotations

from itertools import cycle

import msgspec
import numpy as np
import pytest

from stream_monitor.checks.unit import (
    CONVERSIONS,
    Conversion,
    SpanStatistics,
    UnitChange,
    UnitRule,
    conversion_between,
)

FIXED = 1 << 20


def watch() -> UnitRule:
    return UnitRule(centre=40.0, scale=10.0, sd=9.0, fixed_point=FIXED)


def feed(
    units: UnitRule, raw: np.ndarray, low: float = 12.0, high: float = 62.0
) -> list[UnitChange]:
    scaled = np.rint((raw - 40.0) / 10.0 * FIXED).astype(np.int64)
    return units.observe(scaled, (raw < low) | (raw > high))


def test_fahrenheit_that_becomes_celsius_is_named_within_two_spans() -> None:
    rng = np.random.default_rng(1)
    raw = 40 + 3 * rng.standard_normal(400)
    raw[200:] = (raw[200:] - 32) / 1.8
    changes = feed(watch(), raw)

    assert [(c.broken, c.conversion) for c in changes] == [(True, "°F → °C")]
    assert 200 < changes[0].seen <= 264


def test_the_break_ends_when_the_old_unit_returns() -> None:
    rng = np.random.default_rng(2)
    raw = 40 + 3 * rng.standard_normal(900)
    raw[200:600] = (raw[200:600] - 32) / 1.8
    changes = feed(watch(), raw)

    assert [c.broken for c in changes] == [True, False]
    assert 600 < changes[1].seen <= 700


@pytest.mark.parametrize("sizes", [(1,), (7, 33), (200, 31, 65)])
def test_the_cuts_between_batches_change_nothing(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    raw = 40 + 3 * rng.standard_normal(1_000)
    raw[310:650] = (raw[310:650] - 32) / 1.8
    raw[900:] += 200
    whole, parted = watch(), watch()
    changes = feed(whole, raw)
    found, start = [], 0
    for size in cycle(sizes):
        part = feed(parted, raw[start : start + size])
        found += [change._replace(seen=start + change.seen) for change in part]
        start += size
        if start >= len(raw):
            break

    assert found == changes
    assert msgspec.to_builtins(parted.state) == msgspec.to_builtins(whole.state)


def test_a_cold_snap_is_not_a_change_of_unit() -> None:
    raw = np.concatenate([np.full(200, 40.0), np.linspace(40, 8, 300), np.full(300, 8.0)])

    assert feed(watch(), raw) == []


def test_a_level_inside_the_reference_is_never_a_change_of_unit() -> None:
    raw = np.concatenate([np.full(200, 60.0), np.full(200, (60.0 - 32) / 1.8)])

    assert feed(watch(), raw) == []


def test_a_heat_wave_is_not_a_change_of_unit() -> None:
    """It matches miles to km, beyond all the reference has seen, but it comes hour by hour."""
    raw = np.concatenate([np.full(200, 52.0), np.linspace(52, 84, 40), np.full(300, 84.0)])

    assert feed(watch(), raw) == []


@pytest.mark.parametrize("conversion", CONVERSIONS, ids=lambda c: c.name)
def test_every_conversion_is_recognised_by_level_and_spread(conversion: Conversion) -> None:
    before = SpanStatistics(level=3.7, spread=0.5, step=0.1)
    level = conversion.slope * before.level + conversion.intercept
    jump = abs(level - before.level)
    after = SpanStatistics(level=level, spread=conversion.slope * before.spread, step=jump)
    found = conversion_between(before, after, sd=jump / 10)

    assert found is not None
    assert found.slope == pytest.approx(conversion.slope, rel=0.02)


@pytest.mark.parametrize("factor", [0.0, 1e-9, 1e-6, 1e-4, 3e-3])
def test_a_level_near_zero_is_not_taken_for_the_next_smaller_unit(factor: float) -> None:
    before = SpanStatistics(level=50.0, spread=3.0, step=1.0)
    after = SpanStatistics(level=50 * factor, spread=3 * factor, step=50.0)

    assert conversion_between(before, after, sd=3.0) is None
