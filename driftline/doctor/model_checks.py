"""Health checks of each model: the version that serves, labels without predictions, retrains.

All of them are pure.
"""

from __future__ import annotations

import contextlib
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from driftline.doctor.health_checks import HealthCheckResult, format_duration, warning
from producer.synthetic import is_synthetic

if TYPE_CHECKING:
    from driftline.topics.topic_reader import Record
    from stream_monitor.core.partition import PartitionMonitor
    from stream_monitor.labels.join import LabelJoin
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
            warning(
                f"version of {name}",
                f"version {champion} was announced last, but has had no event for "
                f"{format_duration(silent_ms)}, while version {newest} has",
                "restart model servers that do not use ChampionModel with version "
                f"{champion}, or put the other one into service: `driftline models promote "
                f"{shlex.quote(name)} {shlex.quote(newest)}`",
            )
        )
    return found


def newest_labels(newest: Sequence[Record]) -> dict[str, list[str]]:
    """The ids of the labels among the records, by model."""
    from producer.codec import RejectedRecord, decode  # noqa: PLC0415 - light imports
    from producer.events import CE_TYPE_OF, Label  # noqa: PLC0415

    found: dict[str, list[str]] = {}
    for record in newest:
        if record.kind == CE_TYPE_OF[Label]:
            with contextlib.suppress(RejectedRecord):
                label = decode(record.value or b"", record.kind)
                if isinstance(label, Label):
                    found.setdefault(label.model, []).append(label.id)
    return found


def check_label_joins(
    monitors: Sequence[PartitionMonitor], newest: Mapping[str, Sequence[str]]
) -> list[HealthCheckResult]:
    """Check whether labels have the ids of predictions.

    ``newest`` are the ids of the newest labels of each model.  Where they are few, all labels since
    the beginning are looked at.
    """
    joins: dict[str, list[LabelJoin]] = defaultdict(list)
    for monitor in monitors:
        for name, model in monitor.models.items():
            if not is_synthetic(name):
                joins[name].append(model.labels)
    found = []
    for name, labels in sorted(joins.items()):
        waits = [_waits(labels, one) for one in newest.get(name, ())]
        known = [one for one in waits if one is not None]
        n, total = sum(known), len(known)
        text = f"{n:,} of the newest {total:,} labels have the id of no prediction"
        if total < MIN_LABELS:
            n = sum(one.early + one.counts.unmatched for one in labels)
            joined = sum(one.counts.joined for one in labels)
            total = n + joined
            text = f"{n:,} labels have the id of no prediction; {joined:,} labels have one"
        if n >= MIN_LABELS and n > MAX_WAITING_RATIO * (total - n):
            found.append(
                warning(
                    f"labels without predictions of {name}",
                    text,
                    "write each label with the id that InferenceLogger.log returned for its "
                    "prediction, and with the same model name",
                )
            )
    return found


def _waits(labels: Iterable[LabelJoin], label_id: str) -> bool | None:
    """Whether a label waits in one of the partitions of its model; ``None``: not known."""
    known = [one for one in (join.waits(label_id) for join in labels) if one is not None]
    return any(known) if known else None


def check_retrains(events: Iterable[RetrainEvent], now_ms: int) -> list[HealthCheckResult]:
    """Check whether the latest fit of each model produced a model."""
    latest: dict[str, RetrainEvent] = {}
    for event in sorted(events, key=lambda each: each.time_ms):
        if event.step in ("failed", "succeeded"):
            latest[event.model] = event
    return [
        warning(
            f"retrain of {model}",
            f"the latest fit failed {format_duration(max(0, now_ms - event.time_ms))} ago: "
            f"{event.reason}",
            f"correct the factory or its data, then: `driftline retrain {shlex.quote(model)}`",
        )
        for model, event in sorted(latest.items())
        if event.step == "failed"
    ]
