"""The first steps of a job: offset ranges, waiting for labels, training set."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from producer.failpoints import failpoint
from producer.routing import partitions_of_model
from stream_monitor.reference.frame import infer_task
from trainer.dataset.collector import CollectedEvents, Collector
from trainer.dataset.frame import ColumnRoles, build_dataset
from trainer.dataset.range_reader import RangeReader, ReadRange, end_offsets
from trainer.jobs.job import Job
from trainer.policy.decide import Numbers
from trainer.policy.naming import next_version
from trainer.policy.offset_ranges import OffsetRange, start_before
from trainer.service.context import JobWorkspace, StepInputs, TrainerContext
from trainer.service.step_result import StepEvent, StepResult

POLL_TIMEOUT_S = 0.2
MAX_POLLS_PER_STEP = 20
"""Batches that a step reads before other jobs have their turn."""
EMPTY_POLLS_BEFORE_CHECK = 25


def plan_ranges(
    job: Job, context: TrainerContext, _workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """Decide the offset ranges: the lookback before the onset, in all partitions of the model.

    The onset is known in the alert's partition.  In other partitions of the model as many records
    before the end are read, because shards have equal shares of the traffic.
    """
    ends = end_offsets(context.kafka.client(), context.topics.events)
    onset, partition = job.work.onset_offset, job.work.partition
    lookback = context.policy.lookback_records
    back = lookback
    if onset is not None and partition is not None:
        back = max(0, ends.get(partition, 0) - onset) + lookback
    ranges = []
    places = set(partitions_of_model(job.model, context.shards, len(ends)))
    if partition is not None:  # it may be the model's place before partitions were added
        places.add(partition)
    for place in sorted(places & ends.keys()):
        start = max(0, ends[place] - back)
        if place == partition and onset is not None:
            start = start_before(onset, lookback)
        end = start if onset is not None else max(start, ends[place])
        ranges.append(OffsetRange(partition=place, start=start, end=end))
    return StepResult(job.to("waiting", ranges=ranges))


def wait_for_labels(
    job: Job, context: TrainerContext, workspace: JobWorkspace, inputs: StepInputs
) -> StepResult | None:
    """Read until there are enough labels; ``None`` while the job should wait longer.

    A person's request does not wait.
    """
    if workspace.reading is None:
        workspace.reading = _open(job, context, follow=job.work.onset_ms is not None)
    reading = workspace.reading
    reading.resume()
    caught_up = _read(reading)
    reading.pause()
    collector = reading.collector
    enough = collector.labelled_since(inputs.excluded_ranges) >= context.policy.min_labelled_events
    now = job.to("waiting", now_ms=collector.newest_ms)
    if caught_up and enough:
        failpoint("trainer.waiting.done")
        return StepResult(now.to("reading", ranges=reading.ranges()))
    late = now.now_ms > job.asked_ms + context.policy.give_up_after_ms
    if caught_up and (late or job.work.onset_ms is None):
        found = collector.labelled_since(inputs.excluded_ranges)
        reason = (
            f"{found:,} labelled events outside of excluded time ranges; "
            f"{context.policy.min_labelled_events:,} are needed."
        )
        needed = context.policy.min_labelled_events
        numbers: Numbers = {"labelled": found, "min_labelled_events": needed}
        return StepResult(
            now.ended("gave_up"), (StepEvent("declined", "too_few_labels", reason, numbers),)
        )
    return None


def build_training_set(
    job: Job, context: TrainerContext, workspace: JobWorkspace, inputs: StepInputs
) -> StepResult:
    """Build the training set of the recorded ranges and name the challenger."""
    reading = _as_recorded(job, context, workspace)
    collected = reading.collector.collected(inputs.excluded_ranges)
    dataset = build_dataset(
        collected,
        _columns(job, context, collected),
        ranges=reading.ranges(),
        read=reading.read,
        rejected=reading.rejected,
    )
    reading.close()
    workspace.reading, workspace.dataset = None, dataset
    challenger = job.challenger or next_version(job.champion, inputs.used_versions)
    named = msgspec.structs.replace(job, challenger=challenger)
    numbers = dataset.record.numbers()
    failpoint("trainer.reading.done")
    if dataset.record.rows <= context.gate.min_events:
        reason = (
            f"{dataset.record.rows:,} rows are left outside of excluded time ranges; the holdout "
            f"alone needs {context.gate.min_events:,}."
        )
        return StepResult(
            job.ended("gave_up"), (StepEvent("declined", "too_few_rows", reason, numbers),)
        )
    reason = f"Training {job.model}@{challenger} on {dataset.record.rows:,} labelled events."
    return StepResult(
        named.to("fitting", ranges=dataset.record.ranges, now_ms=dataset.record.last_ms),
        (StepEvent("started", "enough_labels", reason, numbers),),
    )


def _open(job: Job, context: TrainerContext, *, follow: bool) -> RangeReader:
    ranges = [ReadRange(r.partition, r.start, None if follow else r.end) for r in job.work.ranges]
    since_ms = 0 if job.work.onset_ms is None else job.work.onset_ms
    collector = Collector(job.model, max_rows=context.policy.max_rows, since_ms=since_ms)
    return RangeReader(context.kafka.client(), context.topics.events, ranges, collector)


def _as_recorded(job: Job, context: TrainerContext, workspace: JobWorkspace) -> RangeReader:
    """Return a reader of exactly the job's ranges: the one that waited, or a new one.

    Raises:
        LookupError: the event topic ends before the ranges do: it was truncated or recreated.
    """
    if workspace.reading is not None and workspace.reading.ranges() == job.work.ranges:
        return workspace.reading
    if workspace.reading is not None:
        workspace.reading.close()
    workspace.reading = reading = _open(job, context, follow=False)
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


def _columns(job: Job, context: TrainerContext, collected: CollectedEvents) -> ColumnRoles:
    """Return the roles from the champion's profile; without one infer them from the rows."""
    manifest = context.manifest(job.model, job.champion)
    if manifest is None:
        rows: Sequence[object] = [row.event.prediction_or_none for row in collected.rows]
        return ColumnRoles(infer_task(rows, [row.label for row in collected.rows]))
    profile = manifest.reference()
    seen = {name for row in collected.rows for name in row.event.features}
    names = tuple(name for name in (*profile.features, *profile.skipped) if name in seen)
    return ColumnRoles(profile.task, profile.positive, names or None)


def _read(reading: RangeReader) -> bool:
    """Read some batches; return whether no more records are known."""
    return any(not reading.poll(POLL_TIMEOUT_S) for _ in range(MAX_POLLS_PER_STEP))
