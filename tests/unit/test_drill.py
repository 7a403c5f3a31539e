"""Drills without servers: the copied events, the evaluation of the alerts, and the report."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.drill.measurement import (
    DrillMeasurement,
    DrillPlan,
    DrillReport,
    SyntheticEventCopier,
    injection_of,
)
from driftline.drill.messages import FinalState, found_lines, reason_not_found
from driftline.offline.explain.detection_delay import ExpectedDelay
from producer.events import InferenceEvent
from producer.names import invalid_name_reason
from producer.synthetic import is_synthetic, is_synthetic_copy_of, synthetic_name
from stream_monitor.contracts import DriftAlert
from tests.builders import alert, inference_event
from tests.properties.name_strategies import NAMES

SHADOW = synthetic_name("churn", "0123456789ab")


def plan(text: str = "mean:temp:+1sd", after: int = 3) -> DrillPlan:
    injection = injection_of(text, after)
    return DrillPlan(
        model="churn", version="7", synthetic_model=SHADOW, injection=injection, sd=10.0
    )


def event(number: int, **changes: object) -> InferenceEvent:
    plain = inference_event(
        f"e{number}",
        {"temp": 1.0, "plan": "pro"},
        model="churn",
        version="7",
        time_ms=number,
        segment={"site": "north"},
    )
    return msgspec.structs.replace(plain, **changes)


@given(model=NAMES, drill=st.from_regex(r"[0-9a-f]{12}", fullmatch=True))
def test_a_synthetic_model_has_a_valid_name_and_is_recognised_by_it(model: str, drill: str) -> None:
    synthetic_model = synthetic_name(model, drill)

    assert invalid_name_reason(synthetic_model) is None
    assert len(f"{synthetic_model}/1000000".encode()) <= 256
    assert is_synthetic(synthetic_model)
    assert is_synthetic_copy_of(synthetic_model, model)
    assert synthetic_model != model


def test_a_drill_id_that_marks_no_synthetic_model_is_rejected() -> None:
    with pytest.raises(ValueError, match="12 hexadecimal digits"):
        synthetic_name("churn", "xyz")


def test_copies_change_from_the_first_after_on_and_nothing_else_does() -> None:
    copier = SyntheticEventCopier(plan())
    copies = [copier.copy(event(number)) for number in range(5)]

    assert [copy and copy.features["temp"] for copy in copies] == [1.0, 1.0, 1.0, 11.0, 11.0]
    for number, copy in enumerate(copies):
        assert copy is not None
        assert (copy.id, copy.model) == (f"{SHADOW}/{number}", SHADOW)
        restored = msgspec.structs.replace(
            copy, id=f"e{number}", model="churn", features=event(number).features
        )
        assert restored == event(number)


def test_repeats_other_versions_and_other_models_are_not_copied() -> None:
    copier = SyntheticEventCopier(plan(after=0))

    assert copier.copy(event(1)) is not None
    assert copier.copy(event(1)) is None
    assert copier.copy(event(2, version="8")) is None
    assert copier.copy(event(3, model=SHADOW)) is None
    assert copier.copy(event(4, features={"plan": "pro"})) is not None
    assert copier.n_copies == 2


@pytest.mark.parametrize("text", ["mean:temp:+1sd@100", "mean:temp", "rise:temp:1"])
def test_an_unknown_injection_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        injection_of(text, 100)


def watched(after: int = 3, n_copies: int = 10) -> DrillMeasurement:
    """Copy n lies at offset 10 n of partition 1, and arrives n seconds after the first."""
    watch = DrillMeasurement(plan(after=after), ExpectedDelay(4, 8))
    for number in range(n_copies):
        watch.on_delivered(number, 1, 10 * number, float(number))
    return watch


def drill_alert(decided: int, **changes: object) -> DriftAlert:
    return alert(
        model=SHADOW,
        version="7",
        partition=1,
        detected_offset=decided - 20,
        decided_offset=decided,
        episode_id=f"e{decided}",
        drill=True,
        **changes,
    )


def test_an_alert_is_counted_from_the_change_and_timed_from_its_arrival() -> None:
    watch = watched()
    watch.on_alert(drill_alert(70), 7.25)
    watch.on_alert(drill_alert(70, phase="ongoing"), 8.0)
    report = watch.report()

    assert (report.found, report.signal_events, report.alert_events) == (True, 3, 5)
    assert (report.alert_s, report.latency_s) == (4.25, 0.25)
    assert (report.unchanged_events, report.changed_events) == (3, 7)
    assert (report.false_alerts, report.other_alerts) == ([], [])
    assert found_lines(report)[0] == "found after 5 events, in 4.2 s; 4 to 8 were expected"


def test_alerts_before_the_change_or_of_another_signal_are_no_finding() -> None:
    watch = watched()
    watch.on_alert(drill_alert(20, explanation="temp: early"), 2.5)
    watch.on_alert(drill_alert(50, feature="plan", explanation="plan: moved"), 5.5)
    watch.on_alert(alert(model="churn", partition=1, decided_offset=60), 6.5)
    watch.on_alert(drill_alert(80, phase="recovered"), 8.5)
    report = watch.report()

    assert not report.found
    assert (report.false_alerts, report.other_alerts) == (["temp: early"], ["plan: moved"])
    assert report.already_drifting


def test_shards_are_counted_together() -> None:
    watch = DrillMeasurement(plan(after=2), None)
    for number in range(8):
        watch.on_delivered(number, number % 2, 5 + number // 2, float(number))
    watch.on_alert(drill_alert(8), 9.0)  # of partition 1: copy 7

    assert watch.report().alert_events == 6
    assert watch.ends == {0: 9, 1: 9}


def report(**changes: object) -> DrillReport:
    plain = DrillReport(
        model="churn",
        version="7",
        synthetic_model=SHADOW,
        feature="temp",
        unchanged_events=100,
        changed_events=500,
        found=False,
        expected_low_events=96,
        expected_high_events=160,
    )
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize(
    ("changes", "unread", "known", "why"),
    [
        ({"unchanged_events": 0, "changed_events": 0}, 0, True, "no event of churn@7 arrived"),
        ({"unchanged_events": 7, "changed_events": 0}, 0, True, "7 events of churn@7 arrived"),
        ({}, 5, True, "has not read 5 records"),
        ({}, 0, False, "does not watch the synthetic model"),
        (
            {"already_drifting": True, "false_alerts": ["x"]},
            0,
            True,
            "drifted before the change: x",
        ),
        ({"expected_low_events": None, "expected_high_events": None}, 0, True, "no alert"),
        ({"changed_events": 120}, 0, True, "120 changed events arrived within 60 s; 96 to 160"),
        ({}, 0, True, "500 changed events were processed; 96 to 160 were expected"),
    ],
)
def test_a_drill_without_a_finding_has_reason_and_fix(
    changes: dict[str, object],
    unread: int,
    known: bool,  # noqa: FBT001
    why: str,
) -> None:
    found = reason_not_found(report(**changes), FinalState(60.0, unread, known))

    assert why in found.why
    assert found.fix
