"""The laws of the monitor: cuts, restarts, replays and placement of labels change nothing."""

from __future__ import annotations

import itertools
from typing import Final, get_args

import msgspec
import pytest
from hypothesis import example, given, settings

from stream_monitor.contracts import Phase
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.detectors.calibration import Budget
from stream_monitor.state.partition_state import PartitionStateFactory
from tests import builders
from tests.chaos.traffic import events_of
from tests.hypothesis_profiles import examples
from tests.properties.partition_logs import (
    SPEC,
    TOPIC,
    batch_of,
    log_of,
    run,
    seeds,
    some_cuts,
    whole,
)

law = settings(max_examples=examples(12))
END_MS: Final = 1_800_000_000_000
"""Append times after the times of all events."""


@law
@given(seed=seeds, cuts=some_cuts)
def test_results_do_not_depend_on_batch_boundaries(seed: int, cuts: list[int]) -> None:
    records = log_of(seed)

    assert run(records, [c % len(records) for c in cuts]) == whole(seed)


@law
@given(seed=seeds, cuts=some_cuts)
def test_a_restart_at_any_point_continues_identically(seed: int, cuts: list[int]) -> None:
    records = log_of(seed)

    assert run(records, [c % len(records) for c in cuts], restart=True) == whole(seed)


def test_the_stored_order_does_not_depend_on_batch_boundaries() -> None:
    """Episodes of features and of the error alternate in this traffic, which fault tests use."""
    spec = MonitorSpec(
        warm_up_events=1_000, warm_up_labels=500, budget=Budget(false_alerts=1, per_events=20_000)
    )
    traffic = itertools.islice(events_of("model-0", 1), 6_000)
    records = [
        builders.record_of(i, event, timestamp_ms=END_MS + i) for i, event in enumerate(traffic)
    ]

    def stored(n_records: int) -> dict[str, bytes]:
        state = PartitionStateFactory(spec, "driftline").new(TOPIC, 0)
        for start in range(0, len(records), n_records):
            state.observe(builders.batch_of(records[start : start + n_records], TOPIC))
        return state.take_changes()

    assert stored(150) == stored(len(records))


@settings(max_examples=examples(2))
@given(seed=seeds)
@example(seed=46_052)  # the last label lies before the latest event of its batch
def test_one_record_at_a_time_equals_one_batch(seed: int) -> None:
    """So wherever labels lie between events, they mean the same."""
    records = log_of(seed, 900)

    assert run(records, list(range(len(records)))) == whole(seed, 900)


@law
@given(seed=seeds)
def test_every_record_is_counted_exactly_once(seed: int) -> None:
    records = log_of(seed)
    monitor = PartitionMonitor(TOPIC, 0, SPEC)
    monitor.observe(batch_of(records))

    assert monitor.counters.records == len(records)


@pytest.mark.slow
def test_the_logs_of_these_laws_hold_drift_recovery_and_damage() -> None:
    """A law about empty results would prove nothing."""
    phases: set[str] = set()
    seen_kinds: set[str | None] = set()
    reasons: set[str] = set()
    explained: set[str] = set()
    dead_letters = windows = estimated = suppressed = rested = 0
    for seed in range(9):
        alerts, dead, closed, state = whole(seed)
        phases |= {alert.phase for alert in alerts}
        seen_kinds.update(
            *((alert.kind, alert.series, alert.cause, alert.channel) for alert in alerts)
        )
        reasons |= {dead_letter.reason for dead_letter in dead}
        suppressed += msgspec.json.decode(state)["counters"]["suppressed"]
        rested += sum("Suppressed by the cooldown" in alert.explanation for alert in alerts)
        dead_letters += len(dead)
        windows += len(closed)
        explained |= {alert.kind for alert in alerts if alert.estimated_after is not None}
        estimated += sum(window.estimated_loss is not None for window in closed)

    assert phases == set(get_args(Phase))
    assert {"unknown_episode", "invalid_command"} <= reasons
    assert suppressed > 0
    assert rested > 0
    assert {"data", "prediction", "concept", "relation/age~visits", "constant"} <= seen_kinds
    assert {"coverage/warming_up", "coverage", "rejected", "rejected/malformed_json"} <= seen_kinds
    assert {"silence", "volume", "outage", "delay"} <= seen_kinds
    assert dead_letters > 50
    assert windows > 10
    assert explained == {"prediction", "concept"}
    assert estimated > 10


@pytest.mark.parametrize("seed", range(3))
def test_alert_ids_are_unique_and_a_function_of_the_partition(seed: int) -> None:
    records = log_of(seed)
    alerts, _, _, _ = whole(seed)
    offsets = {record.offset for record in records}

    assert len({alert.alert_id for alert in alerts}) == len(alerts)
    for alert in alerts:
        assert {alert.onset_offset, alert.detected_offset, alert.decided_offset} <= offsets
        assert alert.onset_offset <= alert.detected_offset <= alert.decided_offset
