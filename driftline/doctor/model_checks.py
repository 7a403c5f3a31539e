"""Health checks of each model: the version that serves, labels without predictions, retrains.

All of them are pure.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from driftline.doctor.health_checks import HealthCheckResult, format_duration
from producer.synthetic import is_synthetic

if TYPE_CHECKING:
    from stream_monitor.core.partition import PartitionMonitor
    from trainer.contracts import RetrainEvent

SWITCH_MS: Final = 10 * 60_000
"""Model servers change to an announced version within this time."""
MIN_LABELS: Final = 100
"""Fewer labels without a prediction may wait for predictions that are late."""
MAX_WAITING_RATIO: Final = 0.1


def check_served_versions(monitors: Iterable[PartitionMonitor]) -> list[HealthCheckResult]:
    """Check whether the version announced last has events, where another version has.

    Times are of the append clock.
    """
    active_ms: dict[str, dict[str, int]] = defaultdict(dict)
    champions: dict[str, str] = {}
    for monitor in monitors:
        for name, model in monitor.models.items():
            champion = model.retention.champion
            if champion is None or is_synthetic(name):
                continue
            champions[name] = champion
            for version in model.admitted_versions | {champion}:
                before_ms = active_ms[name].get(version, 0)
                active_ms[name][version] = max(before_ms, model.retention.active_ms(version))
    found = []
    for name, champion in sorted(champions.items()):
        newest_ms, newest = max((ms, version) for version, ms in active_ms[name].items())
        silent_ms = newest_ms - active_ms[name][champion]
        if silent_ms < SWITCH_MS:
            continue
        found.append(
            HealthCheckResult(
                check=f"version of {name}",
                level="warning",
                found=f"version {champion} was announced last, but has had no event for "
                f"{format_duration(silent_ms)}, while version {newest} has",
                fix="restart model servers that do not use ChampionModel with version "
                f"{champion}, or put the other one into service: `driftline models promote "
                f"{shlex.quote(name)} {shlex.quote(newest)}`",
            )
        )
    return found


def check_label_joins(monitors: Iterable[PartitionMonitor]) -> list[HealthCheckResult]:
    """Check whether labels have the ids of predictions."""
    waiting: dict[str, int] = defaultdict(int)
    joined: dict[str, int] = defaultdict(int)
    for monitor in monitors:
        for name, model in monitor.models.items():
            if not is_synthetic(name):
                waiting[name] += model.labels.early + model.labels.counts.unmatched
                joined[name] += model.labels.counts.joined
    return [
        HealthCheckResult(
            check=f"labels without predictions of {name}",
            level="warning",
            found=f"{n:,} labels have the id of no prediction; {joined[name]:,} labels have one",
            fix="write each label with the id that InferenceLogger.log returned for its "
            "prediction, and with the same model name",
        )
        for name, n in sorted(waiting.items())
        if n >= MIN_LABELS and n > MAX_WAITING_RATIO * joined[name]
    ]


def check_retrains(events: Iterable[RetrainEvent], now_ms: int) -> list[HealthCheckResult]:
    """Check whether the latest fit of each model produced a model."""
    latest: dict[str, RetrainEvent] = {}
    for event in sorted(events, key=lambda each: each.time_ms):
        if event.step in ("failed", "succeeded"):
            latest[event.model] = event
    return [
        HealthCheckResult(
            check=f"retrain of {model}",
            level="warning",
            found=f"the latest fit failed {format_duration(max(0, now_ms - event.time_ms))} ago: "
            f"{event.reason}",
            fix=f"correct the factory or its data, then: `driftline retrain {shlex.quote(model)}`",
        )
        for model, event in sorted(latest.items())
        if event.step == "failed"
    ]
