"""Coverage counts are bounded, and do not depend on batch boundaries."""

from __future__ import annotations

from typing import get_args

import msgspec
import numpy as np

from driftline.doctor.health_checks import check_coverage
from driftline.monitor_state.coverage_report import REASON_TEXTS, lines_of, read_coverage
from producer.events import ModelUpdate
from stream_monitor.contracts import COVERAGE_UNITS, CoverageReason, DriftAlert
from stream_monitor.core.coverage import (
    BUCKET_MS,
    INTERVAL_MS,
    MAX_ROWS,
    OTHERS,
    WATCHED,
    Coverage,
    CoverageKey,
)
from stream_monitor.episodes.coverage_messages import (
    CoverageGap,
    coverage_ended_message,
    coverage_message,
)
from stream_monitor.metrics import Metrics
from stream_monitor.reference.profile import profile_to_data
from stream_monitor.state.partition_state import PartitionState
from stream_monitor.state.redis_store import partition_key
from tests.builders import stored
from tests.unit.redis_hashes import RedisHashes
from tests.unit.traffic_simulation import MINUTE, SPEC, Partition


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def let_pass(coverage: Coverage, offset: int, clock_ms: int) -> None:
    list(coverage.observe(ints(offset), ints(clock_ms)))


def test_the_last_hour_has_its_own_counts_and_the_total_has_all() -> None:
    coverage = Coverage()
    coverage.count("1", WATCHED, ints(0, 1), ints(5, 6))
    coverage.count("1", "warming_up", ints(2), ints(7))
    slots = list(coverage.observe(ints(0, 1, 2, 3), ints(0, 10, 20, INTERVAL_MS)))

    [slot] = slots
    assert (slot.offset, slot.clock_ms, slot.time_ms) == (3, INTERVAL_MS, 7 + INTERVAL_MS - 20)
    assert slot.counts[CoverageKey("1", WATCHED)].n == 2
    assert [(row.last_hour, row.total) for row in coverage.last_hour(INTERVAL_MS)] == [
        (2, 2),
        (1, 1),
    ]
    assert [(r.last_hour, r.total) for r in coverage.last_hour(13 * BUCKET_MS)] == [(0, 2), (0, 1)]


def test_made_up_versions_share_a_row_and_the_frequent_one_keeps_its_own() -> None:
    coverage = Coverage()
    n = 20 * MAX_ROWS
    for slot in range(3):
        first = slot * (n + 50)
        many = np.arange(first, first + 50, dtype=np.int64)
        coverage.count("heavy", "version_over_limit", many, many * 0)
        for at in range(first + 50, first + 50 + n):
            coverage.count(f"{at:x}", "version_over_limit", ints(at), ints(0))
        offsets = np.arange(first, first + n + 50, dtype=np.int64)
        list(coverage.observe(offsets, np.full(len(offsets), slot * INTERVAL_MS)))
    let_pass(coverage, 10 * n, 3 * INTERVAL_MS)

    rows = coverage.last_hour(3 * INTERVAL_MS)
    assert len(rows) <= MAX_ROWS + 1
    assert sum(row.total for row in rows) == 3 * (n + 50)
    assert [row.key.version for row in rows[:2]] == [OTHERS, "heavy"]
    assert rows[1].total == 3 * 50


def test_a_snapshot_continues() -> None:
    coverage = Coverage()
    coverage.count("1", WATCHED, ints(0, 1, 2), ints(5, 6, 7))
    list(coverage.observe(ints(0, 1, 2), ints(0, INTERVAL_MS, INTERVAL_MS)))
    again = Coverage()
    again.restore(stored(coverage.take_changes()))

    assert again.last_hour(INTERVAL_MS) == coverage.last_hour(INTERVAL_MS)


def test_the_report_is_read_from_what_is_stored_by_version_and_reason() -> None:
    partition = Partition(msgspec.structs.replace(SPEC, warm_up_events=300, max_models=1))
    partition.live(6)
    partition.append(msgspec.structs.replace(partition.event(), model="second"))
    fields = PartitionState(partition.monitor, "driftline").take_changes()
    report = read_coverage(RedisHashes({partition_key("events", 0): fields}), "events", [0])
    watched = sum(row.last_hour for row in report.models[0].rows if row.reason == "watched")

    assert [(one.model, one.share) for one in report.models] == [
        ("m", watched / (300 + watched)),
        ("second", 0.0),
    ]
    assert "version 1: 300 events" in " ".join(lines_of(report))
    assert "over the limit of models for a partition" in " ".join(lines_of(report))


def coverage_alerts(partition: Partition) -> list[DriftAlert]:
    return [alert for alert in partition.alerts if alert.kind == "coverage"]


def test_a_warm_up_is_reported_within_a_minute_and_ends_with_it() -> None:
    partition = Partition(msgspec.structs.replace(SPEC, warm_up_events=300))
    partition.live(8)
    started, over = coverage_alerts(partition)

    assert (started.phase, started.severity, started.version) == ("started", "low", "1")
    assert started.decided_ms - started.onset_ms <= MINUTE
    assert "driftline profile build" in started.explanation
    assert (over.phase, over.episode_id) == ("recovered", started.episode_id)
    assert "Version 1 is watched now" in over.explanation


def test_ticks_alone_let_a_reason_open_and_end() -> None:
    partition = Partition()
    partition.append(partition.event())
    partition.live(1, None)
    assert [a.phase for a in coverage_alerts(partition)] == ["started"]

    partition.live(25 * 60, None)
    assert [a.phase for a in coverage_alerts(partition)] == ["started", "recovered"]


def test_models_over_the_limit_are_one_episode_that_a_person_can_resolve() -> None:
    partition = Partition(msgspec.structs.replace(SPEC, max_models=1))
    for model in ("m", "b", "b", "c"):
        partition.append(msgspec.structs.replace(partition.event(), model=model))
    partition.live(1)
    [alert] = [a for a in coverage_alerts(partition) if a.cause == "model_over_limit"]
    assert (alert.model, alert.severity) == ("b", "high")
    assert "3 events of 2 models" in alert.explanation

    partition.command("acknowledge", alert.episode_id)
    partition.restart()
    partition.command("resolve", alert.episode_id)
    partition.append(msgspec.structs.replace(partition.event(), model="b"))
    partition.live(2)
    phases = [a.phase for a in coverage_alerts(partition) if a.cause == "model_over_limit"]
    assert phases == ["started", "acknowledged", "resolved"]


def test_another_reference_for_a_version_is_reported() -> None:
    partition = Partition(msgspec.structs.replace(SPEC, warm_up_events=300))
    partition.live(6)
    model = partition.monitor.models["m"]
    profile = profile_to_data(model.versions["1"].profile)
    update = ModelUpdate(id="u", model="m", version="1", time_ms=partition.now_ms, profile=profile)
    partition.append(update)
    partition.append(msgspec.structs.replace(update, id="v", profile={**profile, "threshold": 0.7}))
    partition.live(2)

    replaced = [a for a in coverage_alerts(partition) if a.cause == "reference_replaced"]
    assert [a.phase for a in replaced] == ["started"]
    assert model.coverage.last_hour(partition.now_ms)[-1].total == 1


def two_models() -> Partition:
    """One is watched after its warm-up, the other finds no place."""
    partition = Partition(msgspec.structs.replace(SPEC, warm_up_events=300, max_models=1))
    partition.live(10)
    partition.append(msgspec.structs.replace(partition.event(), model="second one"))
    return partition


def test_metrics_count_events_by_model_version_and_reason() -> None:
    metrics, state = Metrics(), PartitionState(two_models().monitor, "driftline")
    metrics.watch(lambda: [(0, state)])
    text = metrics.text().decode()
    of = 'driftline_coverage_events_total{model="m",partition="0",reason="warming_up",version="1"}'

    assert f"{of} 300.0" in text
    assert 'reason="model_over_limit",version="~other"} 1.0' in text
    assert 'driftline_coverage_ratio{model="second%20one",partition="0"} 0.0' in text


def test_doctor_reports_versions_that_are_not_watched_unless_they_warm_up() -> None:
    fields = PartitionState(two_models().monitor, "driftline").take_changes()
    warms, blind = check_coverage(
        read_coverage(RedisHashes({partition_key("events", 0): fields}), "events", [0]).models
    )

    assert (warms.check, warms.level) == ("coverage m", "warning")
    assert "version 1: 300 events" in warms.found
    assert (blind.check, blind.level) == ("coverage second one", "problem")
    assert "driftline coverage 'second one'" in blind.fix


def test_every_reason_has_a_unit_words_and_a_sentence() -> None:
    reasons = set(get_args(CoverageReason))

    assert set(COVERAGE_UNITS) == set(REASON_TEXTS) == reasons
    for reason in reasons:
        gap = CoverageGap(reason, "m", "1", ["a"], 3, 0.5, 0, 3, 300)
        assert len(coverage_message(gap).partition(": ")[2]) > 40
        assert "version 1" in coverage_ended_message(reason, "1", 3, 0)
