"""Where in a segment a version or a model comes or goes: before that record the segment is cut.

A newcomer takes a place at one of its events, an idle version ends at the record that lets it be
idle.  Both are decided at the head of a part, once all before it was taken, so they do not depend
on where the log was cut into batches.  A cut too many changes nothing; one too few would.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import numpy as np

from stream_monitor.ingest.batch import Ints
from stream_monitor.ingest.order import Segment
from stream_monitor.watched.model import WatchedModel
from stream_monitor.watched.placement import Placement

_NOW: Final = 0


def next_part(
    segment: Segment,
    since_ms: int,
    models: Mapping[str, WatchedModel],
    max_models: int,
    placement: Placement,
) -> tuple[Segment, Segment | None]:
    """What may be observed before anybody comes or goes, and the rest.

    The append clock stood at ``since_ms`` before the segment; what its first record decides was
    done.
    """
    n = len(segment.offsets)
    clock = segment.append_clock_ms(since_ms)
    at = min(_newcomers(segment, clock, models, max_models, placement), default=n)
    at = min(at, min(_idle(segment, clock, models), default=n))
    if at == n:
        return segment, None
    return segment.split(int(segment.offsets[at]))


def idle_model(models: Mapping[str, WatchedModel], clock_ms: int) -> str | None:
    """Which model gives its place up for a new one: idle, never announced, and that for longest."""
    idle = [
        (model.places.champion is not None, model.active_ms(), name)
        for name, model in models.items()
        if clock_ms >= model.idle_at_ms()
    ]
    return min(idle)[-1] if idle else None


def _newcomers(
    segment: Segment,
    clock: Ints,
    models: Mapping[str, WatchedModel],
    max_models: int,
    placement: Placement,
) -> Iterator[int]:
    """For each version without a place, its first event behind the head that may give it one."""
    free = len(models) < max_models
    idle_at = _NOW if free else min(model.idle_at_ms() for model in models.values())
    for (name, version), entries in segment.events.items():
        model = models.get(name)
        if model is None and free:
            from_ms: int | None = _NOW
        else:
            from_ms = idle_at if model is None else model.place_from_ms(version)
            waits_ms = placement.place_from_ms(name)
            from_ms = None if from_ms is None or waits_ms is None else max(from_ms, waits_ms)
        if from_ms is None or from_ms > clock[-1]:
            continue
        first = max(1, int(np.searchsorted(clock, from_ms)))
        if first < len(clock):
            offset = int(segment.offsets[first])
            i = bisect_left(entries, offset, key=lambda entry: entry[0].offset)
            if i < len(entries):
                yield int(np.searchsorted(segment.offsets, entries[i][0].offset))
    for name, labels in segment.labels.items() if free else ():
        if name not in models and labels[-1][0] > segment.first_offset:
            offset = next(row[0] for row in labels if row[0] > segment.first_offset)
            yield int(np.searchsorted(segment.offsets, offset))


def _idle(segment: Segment, clock: Ints, models: Mapping[str, WatchedModel]) -> Iterator[int]:
    """The first records behind the head that may find a version idle."""
    last_ms, span_ms = int(clock[-1]), int(clock[-1] - clock[0])
    for model in models.values():
        if model.alone:
            continue
        long = span_ms >= model.places.idle_ms
        for version, watched in model.versions.items():
            if version == model.places.champion:
                continue
            ends_ms = model.places.ends_at_ms(version, idle=watched.idle)
            if long or (ends_ms is not None and last_ms >= ends_ms):
                yield from _ends(segment, clock, model, version, ends_ms)
        if long and any(watched.idle for watched in model.versions.values()):
            offsets = [row[0] for row in segment.labels.get(model.name, ())]
            seen_ms = clock[np.searchsorted(segment.offsets, offsets)]
            at = np.searchsorted(clock, seen_ms + model.places.idle_ms)
            yield from at[at < len(clock)][:1].tolist()


def _ends(
    segment: Segment, clock: Ints, model: WatchedModel, version: str, ends_ms: int | None
) -> Iterator[int]:
    """Where a version may be idle: the clock is ``ends_ms``, or that long behind an own event."""
    n, known = len(clock), model.known
    mine = _rows(segment, model.name, [version])
    due = clock[mine] + model.places.idle_ms
    next_sign = np.append(mine, n)
    if ends_ms is None:
        next_sign = next_sign[1:]
    else:
        due = np.append(ends_ms, due)
    at = np.maximum(np.searchsorted(clock, due), 1)
    if ends_ms is not None and ends_ms <= clock[0]:  # it serves until another version does
        others = _rows(segment, model.name, known - {version})
        at[0] = others[0] + 1 if len(others) else n
    yield from at[at < next_sign][:1].tolist()


def _rows(segment: Segment, model: str, versions: Collection[str]) -> Ints:
    """Where in the segment the events of some versions of a model lie."""
    offsets = [
        record.offset
        for version in versions
        for record, _ in segment.events.get((model, version), ())
    ]
    return np.searchsorted(segment.offsets, np.array(sorted(offsets), dtype=np.int64))
