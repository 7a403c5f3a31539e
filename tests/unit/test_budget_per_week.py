"""A budget per week is one per as many events as the reference has in a week, for everything."""

from __future__ import annotations

import math
from functools import cache

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.offline.explain.threshold_calibration import calibration_of, effective_budget
from stream_monitor.checks.signal_check import SignalCheck
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.alert_budget import arl0_per_detector
from stream_monitor.core.version import VersionMonitor
from stream_monitor.detectors.calibration import Budget, in_events
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data, profile_to_data
from stream_monitor.reference.season import WEEK_MS
from stream_monitor.settings import Settings
from tests.unit.traffic_simulation import SPEC, Partition

RATES = st.floats(1.0, 1e12)
WEEKS = st.floats(0.01, 520.0)
ALERTS = st.floats(0.1, 100.0)


@cache
def profile(events_per_week: float | None = None) -> ReferenceProfile:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(1_000)
    made = fit_profile(
        "m",
        "1",
        {"x": x, "y": x + rng.standard_normal(1_000)},
        predictions=rng.random(1_000),
        task="binary",
        origin="training",
    )
    return msgspec.structs.replace(made, events_per_week=events_per_week)


@given(ALERTS, WEEKS, RATES)
def test_a_budget_per_week_equals_one_per_the_events_of_that_time(
    alerts: float, weeks: float, rate: float
) -> None:
    per_week = Budget(alerts, per_weeks=weeks)
    per_events = Budget(alerts, max(1, round(weeks * rate)))
    watched = msgspec.structs.replace(profile(), events_per_week=rate)

    assert in_events(per_week, rate) == per_events
    assert arl0_per_detector(watched, per_week) == arl0_per_detector(profile(), per_events)


@given(ALERTS, st.integers(1, 10**12), st.none() | RATES)
def test_a_budget_per_events_is_what_it_was_whatever_the_rate(
    alerts: float, events: int, rate: float | None
) -> None:
    assert in_events(Budget(alerts, events), rate) == Budget(alerts, events)


@given(ALERTS, WEEKS)
def test_without_a_rate_it_holds_per_events(alerts: float, weeks: float) -> None:
    assert in_events(Budget(alerts, per_weeks=weeks), None) == Budget(alerts)


def test_more_weeks_than_can_be_counted_are_still_a_budget() -> None:
    most = in_events(Budget(per_weeks=1e300), 1e300)

    assert 1e17 < most.per_events < 1e19
    assert math.isfinite(arl0_per_detector(profile(), most))


def test_detectors_correlations_and_explain_use_the_same_budget() -> None:
    budget, reference = Budget(per_weeks=2.0), profile(70_000.0)
    watched = VersionMonitor("t", 0, reference, budget, EpisodePolicy(), 1_000)
    per_events = VersionMonitor(
        "t", 0, profile(), Budget(per_events=140_000), EpisodePolicy(), 1_000
    )

    assert reference.correlations
    assert watched.arl0_events == per_events.arl0_events
    of_series = {
        check.signal.detectors.arl0_events
        for check in watched.checks.values()
        if isinstance(check, SignalCheck)
    }
    explained = {one.arl0_events for one in calibration_of(reference, budget)}
    assert of_series == explained == {watched.arl0_events}
    thresholds = [one.page_hinkley for one in calibration_of(reference, budget)]
    assert thresholds == [
        one.page_hinkley for one in calibration_of(profile(), Budget(per_events=140_000))
    ]


def test_the_effective_budget_has_its_unit() -> None:
    budget = Budget(2.0, per_weeks=3.0)

    known, unknown = (effective_budget(profile(rate), budget) for rate in (1_000.0, None))

    assert (known.unit, known.per_events, known.events_per_week) == ("weeks", 3_000, 1_000.0)
    assert (unknown.unit, unknown.per_events, unknown.per_weeks) == ("events", 1_000_000, 3.0)
    assert effective_budget(profile(1_000.0), Budget()).unit == "events"


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"per_weeks": 0}, "per_weeks is a positive number"),
        ({"per_weeks": -1}, "per_weeks is a positive number"),
        ({"per_weeks": math.inf}, "per_weeks is a positive number"),
        ({"per_weeks": math.nan}, "per_weeks is a positive number"),
        ({"per_weeks": "often"}, "per_weeks"),
        ({"false_alerts": 0, "per_weeks": 1}, "false_alerts is a positive number"),
        ({"false_alerts": math.inf}, "false_alerts is a positive number"),
        ({"per_events": 0}, "per_events is a positive number"),
        ({"per_events": 1_000_000, "per_weeks": 1}, "leave one of them out"),
    ],
    ids=str,
)
def test_an_invalid_budget_is_an_error_with_a_fix(stated: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Settings(budget=stated).monitor_spec()


def test_a_budget_per_week_can_be_set_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLINE_BUDGET__PER_WEEKS", "0.5")

    assert Settings().monitor_spec().budget == Budget(per_weeks=0.5)


def test_a_profile_of_before_there_were_rates_reads_and_has_none() -> None:
    data = profile_to_data(profile(5.0))
    assert profile_from_data(data).events_per_week == 5.0
    del data["events_per_week"]

    assert profile_from_data(data).events_per_week is None


def silence(budget: Budget) -> tuple[DriftAlert, ReferenceProfile | None]:
    """The alert after the events stop, one event a second before, and the reference by then."""
    spec = msgspec.structs.replace(SPEC, budget=budget, warm_up_events=5_000)
    partition = Partition(spec)
    partition.live(15)
    (reported,) = partition.live(5, None)
    model = partition.monitor.models["m"]
    return reported, model.versions["1"].profile if model.versions else None


def test_without_a_reference_the_traffics_own_rate_counts() -> None:
    """A week has 604,800 events here: stricter than one in a million, and looser, both show."""
    reported = [
        silence(budget)[0].decided_ms
        for budget in (Budget(1e4, per_weeks=1.0), Budget(), Budget(per_weeks=1e6))
    ]

    assert silence(Budget())[1] is None
    assert reported[0] < reported[1] < reported[2]


def test_the_first_events_of_a_model_give_its_rate() -> None:
    spec = msgspec.structs.replace(SPEC, budget=Budget(per_weeks=1.0), warm_up_events=300)
    partition = Partition(spec)
    partition.live(6)
    (watched,) = partition.monitor.models["m"].versions.values()
    rate = watched.profile.events_per_week

    assert rate == pytest.approx(WEEK_MS / 1_000, rel=0.15)
    assert watched.arl0_events == arl0_per_detector(
        watched.profile, Budget(per_events=round(rate or 0))
    )
    before = watched.arl0_events
    partition.restart()
    assert partition.monitor.models["m"].versions["1"].arl0_events == before
