"""`/metrics`: label names are of one list, and their values are bounded and escaped."""

from __future__ import annotations

from typing import get_args

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.metrics import MAX_REJECTED, Label, Metrics
from stream_monitor.state.partition_state import PartitionState
from tests.builders import alert, dead_letter
from tests.properties.partition_logs import SPEC, TOPIC, batch_of, events_of
from tests.properties.test_forget_command_laws import record_at, update_of
from trainer.service.metrics import TrainerMetrics

REJECTED = dead_letter(0, size_bytes=0)


def test_by_model_reason_and_producer() -> None:
    metrics = Metrics()
    metrics.observed((), [REJECTED, REJECTED])
    line = (
        'driftline_records_rejected_total{model="fraud",producer="/svc",reason="invalid_event"} 2.0'
    )
    assert line in metrics.text().decode()


def test_made_up_names_and_producers_are_bounded_and_escaped() -> None:
    metrics = Metrics()
    hostile = [
        msgspec.structs.replace(REJECTED, model=f"m{n}", source=f"\x1b\u202e\n{n}")
        for n in range(2 * MAX_REJECTED)
    ]
    metrics.observed((), hostile)
    lines = [
        x for x in metrics.text().decode().split("\n") if x.startswith("driftline_records_rej")
    ]
    assert len(lines) <= 2 * (MAX_REJECTED + 1)
    assert all(line.isprintable() for line in lines)
    other = f'{{model="other",producer="other",reason="invalid_event"}} {float(MAX_REJECTED)}'
    assert f"driftline_records_rejected_total{other}" in lines


def labels_of(text: bytes) -> dict[str, set[str]]:
    """The labels of each metric in an answer to a scrape."""
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def state_of(model: str) -> PartitionState:
    """A partition whose version in service has predictions, labels and a profile."""
    events = events_of(2, 700)
    first = record_at(events[0].offset - 1, 0, update_of(model, 2))
    state = PartitionState(PartitionMonitor(TOPIC, 0, SPEC), "p")
    state.observe(batch_of([first, *events]))
    return state


def test_labels_of_the_monitor_are_of_one_list() -> None:
    metrics, state = Metrics(), state_of("churn")
    metrics.watch(lambda: [(0, state)])
    metrics.observed([alert(model="a@b", version="1@2")], [REJECTED])
    labels = labels_of(metrics.text())

    assert set().union(*labels.values()) - {"le"} <= set(get_args(Label))
    assert labels["driftline_drift_state"] == {"model", "version", "series"}
    assert labels["driftline_error_rate"] == {"partition", "model", "version", "kind"}
    assert {"model", "version", "phase"} <= labels["driftline_alerts_total"]
    for name, names in labels.items():
        assert "version" not in names or "model" in names, name


def test_model_and_version_are_labels_of_their_own() -> None:
    metrics, state = Metrics(), state_of("churn")
    metrics.watch(lambda: [(0, state)])
    metrics.observed([alert(model="a@b", version="1@2")], [])
    samples = [
        sample
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    ]

    assert {"churn", "a%40b"} <= {s.labels["model"] for s in samples if "model" in s.labels}
    assert all("@" not in value for s in samples for value in s.labels.values())


def test_labels_of_the_trainer_are_of_the_same_list_and_its_own() -> None:
    metrics = TrainerMetrics()
    metrics.alerts.labels("churn", "retrain", "drift").inc()
    metrics.jobs.labels("churn", "promoted").inc()
    metrics.active.labels("waiting").set(1)
    metrics.lag.labels("0").set(1)
    labels = labels_of(metrics.text())

    assert set().union(*labels.values()) <= {*get_args(Label), "action", "rule", "state"}
