"""Cuts a micro-batch where a version or a model may be admitted or become idle; removes models.

A new version is admitted at one of its events, and an idle version ends at the record that makes it
idle.  Both are decided at the first record of a part, when all records before it are applied, so
they do not depend on batches.  An unneeded cut changes nothing; a missing one would.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import numpy as np

from producer.events import Command
from producer.synthetic import is_synthetic
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.model import ModelMonitor
from stream_monitor.core.placement import Placement
from stream_monitor.ingest.batch import Ints
from stream_monitor.ingest.micro_batches import MicroBatch

_NOW: Final = 0


def split_at_admission(
    micro_batch: MicroBatch,
    since_ms: int,
    models: Mapping[str, ModelMonitor],
    max_models: int,
    placement: Placement,
) -> tuple[MicroBatch, MicroBatch | None]:
    """The records before the next possible admission or end, and the rest (``None`` if none).

    The append clock was at ``since_ms`` before the micro-batch; the decisions of its first record
    have been applied.
    """
    n = len(micro_batch.offsets)
    clock = micro_batch.append_clock_ms(since_ms)
    at = min(_admissions(micro_batch, clock, models, max_models, placement), default=n)
    at = min(at, min(_idle(micro_batch, clock, models), default=n))
    if at == n:
        return micro_batch, None
    return micro_batch.split(int(micro_batch.offsets[at]))


def model_to_evict(models: Mapping[str, ModelMonitor], clock_ms: int) -> str | None:
    """Return the idle model to evict: one that was never announced first, then the longest idle."""
    idle = [
        (model.retention.champion is not None, model.active_ms(), name)
        for name, model in models.items()
        if clock_ms >= model.idle_at_ms()
    ]
    return min(idle)[-1] if idle else None


def _admissions(
    micro_batch: MicroBatch,
    clock: Ints,
    models: Mapping[str, ModelMonitor],
    max_models: int,
    placement: Placement,
) -> Iterator[int]:
    """For each version that is not watched, the row after the first that may admit it."""
    free = len(models) < max_models
    idle_at = _NOW
    if not free and any(name not in models for name, _ in micro_batch.events):
        idle_at = min(model.idle_at_ms() for model in models.values())
    for (name, version), batch in micro_batch.events.items():
        model = models.get(name)
        if model is None and free:
            from_ms: int | None = _NOW
        else:
            from_ms = idle_at if model is None else model.admission_from_ms(version)
            waits_ms = placement.admission_from_ms(name)
            from_ms = None if from_ms is None or waits_ms is None else max(from_ms, waits_ms)
        if from_ms is None or from_ms > clock[-1]:
            continue
        first = max(1, int(np.searchsorted(clock, from_ms)))
        if first < len(clock):
            offset = int(micro_batch.offsets[first])
            i = int(np.searchsorted(batch.offsets, offset))
            if i < len(batch):
                yield int(np.searchsorted(micro_batch.offsets, batch.offsets[i]))
    for name, labels in micro_batch.labels.items() if free else ():
        if name not in models and labels[-1][0] > micro_batch.first_offset:
            offset = next(row[0] for row in labels if row[0] > micro_batch.first_offset)
            yield int(np.searchsorted(micro_batch.offsets, offset))


def _idle(
    micro_batch: MicroBatch, clock: Ints, models: Mapping[str, ModelMonitor]
) -> Iterator[int]:
    """The rows after the first at which a version may be idle."""
    last_ms, span_ms = int(clock[-1]), int(clock[-1] - clock[0])
    for model in models.values():
        if model.is_single_version:
            continue
        long = span_ms >= model.retention.idle_ms
        for version, watched in model.versions.items():
            if version == model.retention.champion:
                continue
            ends_ms = model.retention.ends_at_ms(version, idle=watched.idle)
            if long or (ends_ms is not None and last_ms >= ends_ms):
                yield from _ends(micro_batch, clock, model, version, ends_ms)
        if long and any(watched.idle for watched in model.versions.values()):
            offsets = [row[0] for row in micro_batch.labels.get(model.name, ())]
            seen_ms = clock[np.searchsorted(micro_batch.offsets, offsets)]
            at = np.searchsorted(clock, seen_ms + model.retention.idle_ms)
            yield from at[at < len(clock)][:1].tolist()


def _ends(
    micro_batch: MicroBatch, clock: Ints, model: ModelMonitor, version: str, ends_ms: int | None
) -> Iterator[int]:
    """The rows where a version may be idle: at ``ends_ms``, or ``idle_ms`` after its own event."""
    n, known = len(clock), model.admitted_versions
    mine = _rows(micro_batch, model.name, [version])
    has_due = clock[mine] + model.retention.idle_ms
    next_sign = np.append(mine, n)
    if ends_ms is None:
        next_sign = next_sign[1:]
    else:
        has_due = np.append(ends_ms, has_due)
    at = np.maximum(np.searchsorted(clock, has_due), 1)
    if ends_ms is not None and ends_ms <= clock[0]:  # it serves until another version does
        others = _rows(micro_batch, model.name, known - {version})
        at[0] = others[0] + 1 if len(others) else n
    yield from at[at < next_sign][:1].tolist()


def _rows(micro_batch: MicroBatch, model: str, versions: Collection[str]) -> Ints:
    """The rows of the micro-batch that are events of these versions of a model."""
    offsets = [
        micro_batch.events[model, version].offsets
        for version in versions
        if (model, version) in micro_batch.events
    ]
    if not offsets:
        return np.zeros(0, dtype=np.int64)
    return np.searchsorted(micro_batch.offsets, np.sort(np.concatenate(offsets)))


def remove_drill_model(
    models: dict[str, ModelMonitor], command: Command, offset: int, clock_ms: int
) -> list[DriftAlert]:
    """Remove the synthetic model of ``command`` from ``models``, if it is known here.

    Raises:
        ValueError: it is no synthetic model of a drill; nothing changed.
    """
    if not is_synthetic(command.model):
        raise ValueError(f"{command.model!r} is no synthetic model of a drill: nothing is removed")
    return remove_model(models, command.model, offset, clock_ms)


def remove_model(
    models: dict[str, ModelMonitor], name: str, offset: int, clock_ms: int
) -> list[DriftAlert]:
    """Remove a model from ``models``; returns the alerts that end its open episodes."""
    model = models.pop(name, None)
    if model is None:
        return []
    return model.open_episodes.process_at(offset, clock_ms, model.end(offset, clock_ms))
