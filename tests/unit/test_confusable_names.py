"""Confusable names are reported; names that differ visibly are not."""

from __future__ import annotations

import unicodedata

import pytest

from driftline.doctor.health_checks import check_names
from driftline.monitor_state.confusable_names import confusable_groups, confusable_names
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.reference.fit import MIN_EVENTS
from tests.builders import batch_of, inference_event, record_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("churn", "Churn"),
        ("churn", "churn "),
        ("mean radius", "mean_radius"),
        ("mean radius", "mean\u00a0radius"),
        ("größe", unicodedata.normalize("NFD", "größe")),
        ("price", "\u0440rice"),  # a Cyrillic er
        ("model", "mode1"),
        ("age", "a\u200bge"),  # a space of no width
        ("A", "\uff21"),  # as wide as a Chinese sign
        ("a-b", "a\u2013b"),
    ],
)
def test_confusable_names_are_reported(one: str, other: str) -> None:
    assert confusable_groups([one, other, one]) == [tuple(sorted((one, other)))]


def test_different_names_are_not_confusable() -> None:
    assert (
        confusable_groups(["age", "wage", "ages", "f2", "f3", "f4", "größe", "maße", "猫", "犬"])
        == []
    )


def test_doctor_reports_models_and_features_with_confusable_names() -> None:
    events = [
        inference_event(
            f"e{i}",
            {"age": float(i % 9), "Age": float(i % 7)},
            0.1 + i % 7 / 9,
            model=model,
            time_ms=i,
        )
        for i in range(MIN_EVENTS)
        for model in ("churn", "Churn")
    ]
    records = [record_of(i, event, 1_000) for i, event in enumerate(events)]
    monitor = PartitionMonitor("t", 0, MonitorSpec(warm_up_events=MIN_EVENTS))
    monitor.observe(batch_of(records))
    [finding] = check_names(confusable_names([monitor]))
    assert finding.level == "warning"
    assert "models 'Churn', 'churn'; features of 'Churn' 'Age', 'age'" in finding.found
    assert check_names([]) == []
