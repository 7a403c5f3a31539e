"""Values that repeat are followed alike, however many come at once."""

from __future__ import annotations

import numpy as np
import pytest

from stream_monitor.checks.repeated_value import RepeatedValue, RepeatedValueDetector
from stream_monitor.statistics.fixed_point import Floats


def detector() -> RepeatedValueDetector:
    return RepeatedValueDetector(np.array([0.0]), chance=1e-6, arl0_events=1e8)


def observed(repeated: RepeatedValueDetector, values: Floats, size: int) -> list[RepeatedValue]:
    """What is found, with positions among all values."""
    found, start = [], 0
    while start < len(values):
        one = repeated.observe(values[start : start + size])
        if one is not None:
            found.append(one._replace(position=start + one.position))
        start += size if one is None else one.position + 1
    return found


@pytest.mark.parametrize("decimals", [3, 4, 6])
@pytest.mark.parametrize("size", [1, 300, 5_000])
def test_the_sizes_of_batches_change_nothing(decimals: int, size: int) -> None:
    """Rounded values repeat by chance, so that more are followed than there is room for."""
    rng = np.random.default_rng(decimals)
    values = rng.standard_normal(12_000).round(decimals)
    values[rng.integers(6_000, 12_000, 12)] = 7.25
    whole, parted = detector(), detector()
    found = observed(whole, values, len(values))

    assert any(one.value == 7.25 for one in found)
    assert observed(parted, values, size) == found
    assert parted.snapshot() == whole.snapshot()
