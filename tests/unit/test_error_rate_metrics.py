"""Metrics of the error rates of the versions in service."""

from __future__ import annotations

from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.state.partition_state import PartitionState
from tests.properties.partition_logs import SPEC, TOPIC, batch_of, events_of
from tests.properties.test_forget_command_laws import record_at, update_of


def fold_of(n_events: int) -> PartitionState:
    events = events_of(2, n_events + 1)
    first = record_at(events[0].offset - 1, 0, update_of("churn", 2))
    fold = PartitionState(PartitionMonitor(TOPIC, 0, SPEC), "p")
    fold.observe(batch_of([first, *events[:n_events]]))
    return fold


def test_status_shows_the_expected_and_the_measured_error() -> None:
    fold = fold_of(700)
    (watched,) = [
        version
        for version in fold.monitor.models["churn"].versions.values()
        if version.estimate is not None and not version.idle
    ]
    name = f"churn@{watched.profile.version}"
    assert watched.estimate is not None

    rates = fold.error_rates()

    assert rates[name, "estimated"] == watched.estimate.of_predictions.expected > 0
    assert rates[name, "estimated_of_labelled"] == watched.estimate.of_labels.expected > 0
    assert rates[name, "realised"] == watched.estimate.of_labels.realised > 0
    assert {key[0] for key in rates} == {name}


def test_a_version_without_predictions_has_no_estimate() -> None:
    assert fold_of(0).error_rates() == {}
