"""``driftline status`` holds the estimated error against the realised one."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from driftline.cli.status import model_rows, status_lines, versions_without_rate, with_budget_unit
from driftline.monitor_state.error_rate_estimates import error_rate_estimates, line_of
from producer.events import Event, Label, ModelUpdate
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.detectors.calibration import Budget
from stream_monitor.reference.profile import profile_to_data
from tests.benchmarks.error_estimation import CHANGES, profile_of, rows
from tests.builders import batch_of, inference_event, record_of


def monitor_of(partition: int, n: int, n_labels: int) -> PartitionMonitor:
    rng = np.random.default_rng(partition)
    profile = profile_of(rows(np.random.default_rng(9), 2_000, CHANGES[0]))
    events = rows(rng, n, CHANGES[0])
    log: list[Event] = [
        ModelUpdate(id="u", model="m", version="1", time_ms=0, profile=profile_to_data(profile))
    ]
    for i, (score, label) in enumerate(
        zip(events.scores.tolist(), events.labels.tolist(), strict=True)
    ):
        name = f"{partition}-{i}"
        log.append(inference_event(name, {}, score, time_ms=i))
        if i < n_labels:
            log.append(Label(id=name, model="m", label=label, time_ms=i))
    records = [record_of(offset, event, offset) for offset, event in enumerate(log)]
    monitor = PartitionMonitor("t", partition, MonitorSpec())
    monitor.observe(batch_of(records, "t", partition))
    return monitor


def test_partitions_are_merged_and_labels_compared_with_the_estimate() -> None:
    (row,) = error_rate_estimates([monitor_of(0, 700, 300), monitor_of(1, 500, 100)])

    assert (row.model, row.n_predictions, row.n_labels) == ("m@1", 1_200, 400)
    assert row.estimated == pytest.approx(row.reference, abs=0.03)
    assert row.estimated_of_labelled == pytest.approx(row.realised, abs=0.06)
    line = line_of(msgspec.to_builtins(row))
    assert line.startswith("m@1: estimated 2")
    assert line.endswith("% on 400 labels")


def test_a_version_without_labels_or_events_is_shown_as_such() -> None:
    unlabelled = [msgspec.to_builtins(row) for row in error_rate_estimates([monitor_of(0, 100, 0)])]
    data = {
        "topic": "t",
        "partitions": [],
        "models": model_rows([]),
        "windows": [],
        "estimates": unlabelled,
    }

    assert error_rate_estimates([PartitionMonitor("t", 0, MonitorSpec())]) == []
    assert "no labels yet" in "\n".join(status_lines(data))
    (unseen,) = error_rate_estimates([monitor_of(0, 0, 0)])
    assert "no predictions yet" in line_of(msgspec.to_builtins(unseen))


def test_a_budget_per_week_without_a_rate_is_reported() -> None:
    """The profile has no times: without a budget per week no rate is needed."""
    monitors = [monitor_of(0, 100, 0)]
    rows = model_rows(monitor.levels() for monitor in monitors)

    def reported(budget: Budget) -> tuple[str, dict[str, object]]:
        models = with_budget_unit(rows, versions_without_rate(monitors, budget))
        data = {"topic": "t", "partitions": [], "models": models, "windows": []}
        return "\n".join(status_lines(data)), next(row for row in models if row["model"] == "m@1")

    text, row = reported(Budget(per_weeks=1.0))
    assert "    the budget holds per events: the reference has no number of events a week" in text
    assert row["budget_unit"] == "events"
    text, row = reported(Budget())
    assert "the budget holds" not in text
    assert "budget_unit" not in row
    assert with_budget_unit([row], set())[0]["budget_unit"] == "weeks"
