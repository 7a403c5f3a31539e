"""The rows of a training set: read from the event topic, and stored with earlier versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
import structlog

from stream_monitor.reference.frame import infer_task
from trainer.dataset.collector import CollectedEvents, Collector
from trainer.dataset.frame import ColumnRoles
from trainer.dataset.range_reader import RangeReader, ReadRange, end_offsets
from trainer.jobs.job import Job
from trainer.policy.excluded_ranges import ExcludedRange, is_excluded
from trainer.registry.errors import RegistryError
from trainer.service.context import JobWorkspace, TrainerContext

log = structlog.get_logger(__name__)

POLL_TIMEOUT_S: Final = 0.2
MAX_POLLS_PER_STEP: Final = 20
"""Batches that a step reads before other jobs have their turn."""
EMPTY_POLLS_BEFORE_CHECK: Final = 25


def open_reader(job: Job, context: TrainerContext, *, follow: bool) -> RangeReader:
    """Return a reader of the job's ranges; with ``follow`` it reads on beyond their ends."""
    ranges = [ReadRange(r.partition, r.start, None if follow else r.end) for r in job.work.ranges]
    since_ms = job.work.labels_since_ms or job.work.onset_ms or 0
    collector = Collector(job.model, max_rows=context.policy.max_rows, since_ms=since_ms)
    return RangeReader(context.kafka.client(), context.topics.events, ranges, collector)


def recorded_reader(job: Job, context: TrainerContext, workspace: JobWorkspace) -> RangeReader:
    """Return a reader of exactly the job's ranges: the one that waited, or a new one.

    Raises:
        LookupError: the event topic ends before the ranges do: it was truncated or recreated.
    """
    if workspace.reading is not None and workspace.reading.ranges() == job.work.ranges:
        return workspace.reading
    if workspace.reading is not None:
        workspace.reading.close()
    workspace.reading = reading = open_reader(job, context, follow=False)
    empty_polls = 0
    while not reading.done:
        before = reading.read
        reading.poll(POLL_TIMEOUT_S)
        empty_polls = 0 if reading.read > before else empty_polls + 1
        if empty_polls < EMPTY_POLLS_BEFORE_CHECK:
            continue
        empty_polls = 0
        ends = end_offsets(context.kafka.client(), context.topics.events)
        if any(r.end > ends.get(r.partition, 0) for r in job.work.ranges):
            raise LookupError(f"the event topic ends at {ends}, before the records of this job")
    return reading


def column_roles(job: Job, context: TrainerContext, collected: CollectedEvents) -> ColumnRoles:
    """Return the roles from the champion's profile; without one infer them from the rows."""
    manifest = context.manifest(job.model, job.champion)
    if manifest is None:
        rows: Sequence[object] = [row.event.prediction_or_none for row in collected.rows]
        return ColumnRoles(infer_task(rows, [row.label for row in collected.rows]))
    profile = manifest.reference()
    seen = {name for row in collected.rows for name in row.event.features}
    names = tuple(name for name in (*profile.features, *profile.skipped) if name in seen)
    return ColumnRoles(profile.task, profile.positive, names or None)


def read_some(reading: RangeReader) -> bool:
    """Read some batches; return whether no more records are known."""
    return any(not reading.poll(POLL_TIMEOUT_S) for _ in range(MAX_POLLS_PER_STEP))


def stored_history(
    job: Job, context: TrainerContext, excluded_ranges: Sequence[ExcludedRange]
) -> pd.DataFrame | None:
    """Return the training frame of the newest version that has one, without excluded ranges."""
    for manifest in reversed(context.registry.versions(job.model)):
        sha256 = manifest.training.get("frame_sha256")
        if not isinstance(sha256, str):
            continue
        try:
            frame = context.registry.frames.load(sha256)
        except RegistryError as error:
            log.warning(
                "a training frame cannot be read: its rows do not train",
                model=job.model,
                version=manifest.version,
                why=str(error),
            )
            continue
        partial = sorted({one.feature for one in excluded_ranges if one.feature} & {*frame.columns})
        kept = [
            not is_excluded(
                int(time_ms), str(version), excluded_ranges, dict(zip(partial, values, strict=True))
            )
            for time_ms, version, *values in zip(
                frame["time_ms"], frame["version"], *(frame[name] for name in partial), strict=True
            )
        ]
        return frame[np.array(kept, dtype=np.bool_)]
    return None
