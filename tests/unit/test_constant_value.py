"""A feature that stays at one value is broken, unless its values repeat in the reference too."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from stream_monitor.checks.constant_value import (
    ConstantValueChange,
    ConstantValueRule,
    ConstantValueState,
    run_limit,
)
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.formatting import format_value
from stream_monitor.statistics.dependence import tie_statistics
from stream_monitor.statistics.fixed_point import Floats
from tests.unit.test_feature_correlation import N, batch_of, pair, profile, version_of
from trainer.policy.excluded_ranges import excludes_data


def alerts_of(reference: Floats, *parts: Floats) -> list[DriftAlert]:
    columns = {"temp": np.concatenate(parts)}
    return version_of(profile({"temp": reference})).observe(batch_of(columns))[1]


def floats(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def test_a_constant_sensor_is_one_quality_alert_until_it_moves_again() -> None:
    rng = np.random.default_rng(1)
    normal = [50 + 10 * rng.standard_normal(n) for n in (N, 3_000, 4_000)]

    alerts = alerts_of(normal[0], normal[1], np.full(6_000, 51.3), normal[2])

    assert [(a.kind, a.phase) for a in alerts] == [("quality", "started"), ("quality", "recovered")]
    began, over = alerts
    assert (began.cause, began.detector, began.severity) == ("constant", "rule", "high")
    assert began.explanation.startswith("`temp`: constant at 51.3 since 1 Jan 1970 00:")
    assert began.decided_offset == 3_049
    assert began.onset_offset <= 3_000 < began.onset_offset + 64
    assert over.explanation == "`temp`: values vary, as in the reference."
    assert over.decided_offset == 9_049
    assert excludes_data(began)


@pytest.mark.parametrize("share", [0.7, 0.95])
def test_a_feature_that_is_mostly_zero_is_not_constant(share: float) -> None:
    rng = np.random.default_rng(2)
    first, then = (
        np.where(rng.random(n) < share, 0.0, rng.exponential(size=n)) for n in (N, 200_000)
    )

    assert alerts_of(first, then) == []


def test_a_slow_sensor_that_repeats_its_value_is_not_constant() -> None:
    rng = np.random.default_rng(3)
    values = np.repeat(rng.standard_normal(4_000), rng.integers(20, 60, 4_000))

    assert tie_statistics(values)[1] >= 59
    watched = version_of(profile({"temp": values[:40_000]}))
    found = watched.observe(batch_of({"temp": values[40_000:]}))[1]
    assert [alert for alert in found if alert.cause == "constant"] == []


def test_correlations_ignore_a_constant_feature() -> None:
    rng = np.random.default_rng(4)
    constant = pair(rng, 6_000, 0.6)
    constant["a"] = np.full(6_000, 0.1)

    watched = version_of(profile(pair(rng, N, 0.6)))
    alerts = watched.observe(batch_of(constant))[1]

    assert [(a.series, a.cause) for a in alerts] == [("feature/a", "constant")]


def test_a_run_begins_and_ends_at_its_values() -> None:
    watch = ConstantValueRule(3)

    assert watch.observe(floats(1, 2, 2)) == []
    assert watch.observe(floats(2, 2)) == [ConstantValueChange(1, 2, 3, broken=True)]
    assert watch.observe(floats(2, 5, 6)) == []
    assert watch.observe(floats(7)) == [ConstantValueChange(1, 7, 3, broken=False)]


@pytest.mark.parametrize("seed", range(20))
def test_results_do_not_depend_on_how_values_are_split(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    values = floats(*(rng.choice([1, 1, 1, 1, 2]) for _ in range(400)))
    whole = ConstantValueRule(6)
    expected = whole.observe(values)

    watch, found, at = ConstantValueRule(6), [], 0
    while at < len(values):
        end = at + rng.randint(0, 12)
        part = watch.observe(values[at:end])
        found += [change._replace(seen=change.seen + at) for change in part]
        stored = watch.state
        watch = ConstantValueRule(6)
        watch.restore(stored)
        at = end

    assert len(expected) > 4
    assert found == expected
    assert watch.state == whole.state


def test_the_limit_grows_with_the_repetitions_in_the_reference() -> None:
    assert run_limit(0.5, 1, 1e8) == 50
    assert run_limit(0.99, 400, 1e8) > 1_900
    assert run_limit(0.5, 1_000, 1e8) == 3_000


def _normal() -> tuple[Floats, Floats]:
    rng = np.random.default_rng(5)
    first, then = (50 + 10 * rng.standard_normal(n) for n in (N, 3_000))
    return first, then


@pytest.mark.parametrize("value", [0.0, -999.0, 2147483647.0, -2147483648.0, 1e80, 51.25])
def test_the_value_of_a_constant_feature_is_stated_exactly(value: float) -> None:
    """However far from the reference it is: people search it in their data."""
    reference, normal = _normal()

    began = alerts_of(reference, normal, np.full(2_000, value))[0]

    assert (began.cause, began.after) == ("constant", value)
    assert f"constant at {format_value(value)} since" in began.explanation


@pytest.mark.parametrize("factor", [1e9, -1e9, 1e80, 1e-12])
def test_values_that_differ_are_not_constant_on_any_scale(factor: float) -> None:
    """They have one fixed-point value, the limit or zero, and drift; the mean is only bounded."""
    reference, normal = _normal()

    alerts = alerts_of(reference, normal, factor * _normal()[1])

    assert [(a.kind, a.cause) for a in alerts if a.phase == "started"] == [("data", None)]
    bound = "→ 0" if abs(factor) < 1 else "at least" if factor > 0 else "at most"
    assert bound in alerts[0].explanation


@pytest.mark.parametrize("level", [290.0, 55.0, 38.0])
@pytest.mark.parametrize("before", [3_000, 3_008, 3_016, 3_024])
def test_a_sensor_that_fails_at_zero_is_not_sent_in_another_unit(level: float, before: int) -> None:
    """Zero is 1/100 of any level, nearly; and 290 K is nearly 0 °C.  Spans begin anywhere."""
    rng = np.random.default_rng(6)
    reference, normal = (level + 4 * rng.standard_normal(n) for n in (N, before))

    alerts = alerts_of(reference, normal, np.zeros(3_000))

    assert [(a.cause, a.after) for a in alerts] == [("constant", 0.0)]


def test_a_run_that_an_earlier_release_stored_is_counted_from_its_next_value() -> None:
    watch = ConstantValueRule(3)
    stored = msgspec.convert([52_428_800, 2, None, 0], ConstantValueState)
    watch.restore(stored)

    assert watch.observe(floats(50, 50)) == []
    assert watch.observe(floats(50)) == [ConstantValueChange(1, 50.0, 3, broken=True)]
