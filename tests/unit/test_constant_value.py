"""A feature that stays at one value is broken, unless its values repeat in the reference too."""

from __future__ import annotations

import random

import numpy as np
import pytest

from stream_monitor.checks.constant_value import ConstantValueChange, ConstantValueRule, run_limit
from stream_monitor.contracts import DriftAlert
from stream_monitor.statistics.dependence import tie_statistics
from stream_monitor.statistics.fixed_point import Floats, Ints
from tests.unit.test_feature_correlation import N, batch_of, pair, profile, version_of
from trainer.policy.excluded_ranges import excludes_data


def alerts_of(reference: Floats, *parts: Floats) -> list[DriftAlert]:
    columns = {"temp": np.concatenate(parts)}
    return version_of(profile({"temp": reference})).observe(batch_of(columns))[1]


def ints(*values: int) -> Ints:
    return np.array(values, dtype=np.int64)


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

    assert watch.observe(ints(1, 2, 2)) == []
    assert watch.observe(ints(2, 2)) == [ConstantValueChange(1, 2, 3, broken=True)]
    assert watch.observe(ints(2, 5, 6)) == []
    assert watch.observe(ints(7)) == [ConstantValueChange(1, 7, 3, broken=False)]


@pytest.mark.parametrize("seed", range(20))
def test_results_do_not_depend_on_how_values_are_split(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    values = ints(*(rng.choice([1, 1, 1, 1, 2]) for _ in range(400)))
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
