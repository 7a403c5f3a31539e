"""The first steps of a job: which records, whether there are labels enough, the training set."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from producer.failpoint import failpoint
from producer.routing import partitions_of_model
from stream_monitor.reference.frame import infer_task
from trainer.dataset import Collector, Columns, LogRange, Reading, assemble, log_ends
from trainer.dataset.collect import Collected
from trainer.decision import Numbers, OffsetRange, next_version, start_before
from trainer.jobs import Job
from trainer.runtime.bench import Bench, Desk, Facts
from trainer.runtime.change import Change, Told

TURN_S = 0.2
TURNS = 20
"""Batches a step reads before it lets others have a turn."""
EMPTY_TURNS = 25


def plan(job: Job, bench: Bench, _desk: Desk, _facts: Facts) -> Change:
    """Where to read from: the lookback before the onset, in all partitions of the model.

    The onset is known in the alert's partition; in the others of a hot model as many records back
    from the end are read, for its shards share the traffic evenly.
    """
    ends = log_ends(bench.kafka.client(), bench.topics.events)
    onset, partition = job.work.onset_offset, job.work.partition
    lookback = bench.spec.lookback_records
    back = lookback
    if onset is not None and partition is not None:
        back = max(0, ends.get(partition, 0) - onset) + lookback
    ranges = []
    places = set(partitions_of_model(job.model, bench.shards, len(ends)))
    if partition is not None:  # it may lie where the model was before partitions were added
        places.add(partition)
    for place in sorted(places & ends.keys()):
        start = max(0, ends[place] - back)
        if place == partition and onset is not None:
            start = start_before(onset, lookback)
        end = start if onset is not None else max(start, ends[place])
        ranges.append(OffsetRange(partition=place, start=start, end=end))
    return Change(job.to("waiting", ranges=ranges))


def wait(job: Job, bench: Bench, desk: Desk, facts: Facts) -> Change | None:
    """Read on; ``None`` while there are too few labels, and event time is left.

    A person's request does not wait: what is there is enough, or it is not.
    """
    if desk.reading is None:
        desk.reading = _open(job, bench, follow=job.work.onset_ms is not None)
    reading = desk.reading
    reading.resume()
    caught_up = _read(reading)
    reading.pause()
    collector = reading.collector
    enough = collector.labelled_since(facts.spans) >= bench.spec.min_labelled_events
    now = job.to("waiting", now_ms=collector.newest_ms)
    if caught_up and enough:
        failpoint("trainer.waiting.done")
        return Change(now.to("reading", ranges=reading.ranges()))
    late = now.now_ms > job.asked_ms + bench.spec.give_up_after_ms
    if caught_up and (late or job.work.onset_ms is None):
        found = collector.labelled_since(facts.spans)
        reason = (
            f"{found:,} labelled events outside of broken spans; "
            f"{bench.spec.min_labelled_events:,} are asked for."
        )
        asked_for = bench.spec.min_labelled_events
        numbers: Numbers = {"labelled": found, "min_labelled_events": asked_for}
        return Change(now.ended("gave_up"), (Told("refused", "too_few_labels", reason, numbers),))
    return None


def read(job: Job, bench: Bench, desk: Desk, facts: Facts) -> Change:
    """Make the training set of the recorded ranges, and name the challenger."""
    reading = _as_recorded(job, bench, desk)
    collected = reading.collector.collected(facts.spans)
    dataset = assemble(
        collected,
        _columns(job, bench, collected),
        ranges=reading.ranges(),
        read=reading.read,
        refused=reading.refused,
    )
    reading.close()
    desk.reading, desk.dataset = None, dataset
    challenger = job.challenger or next_version(job.champion, facts.taken)
    named = msgspec.structs.replace(job, challenger=challenger)
    numbers = dataset.record.numbers()
    failpoint("trainer.reading.done")
    if dataset.record.rows <= bench.gate.min_events:
        reason = (
            f"{dataset.record.rows:,} rows are left outside of broken spans; more than the "
            f"{bench.gate.min_events:,} that judge the challenger are needed."
        )
        return Change(job.ended("gave_up"), (Told("refused", "too_few_rows", reason, numbers),))
    reason = f"Training {job.model}@{challenger} on {dataset.record.rows:,} labelled events."
    return Change(
        named.to("fitting", ranges=dataset.record.ranges, now_ms=dataset.record.last_ms),
        (Told("started", "enough_labels", reason, numbers),),
    )


def _open(job: Job, bench: Bench, *, follow: bool) -> Reading:
    ranges = [LogRange(r.partition, r.start, None if follow else r.end) for r in job.work.ranges]
    since_ms = 0 if job.work.onset_ms is None else job.work.onset_ms
    collector = Collector(job.model, max_rows=bench.spec.max_rows, since_ms=since_ms)
    return Reading(bench.kafka.client(), bench.topics.events, ranges, collector)


def _as_recorded(job: Job, bench: Bench, desk: Desk) -> Reading:
    """The reading of exactly the job's ranges: the one that waited, or, after a restart, anew.

    Raises:
        LookupError: the log ends before the ranges do; it was cut, or made anew.
    """
    if desk.reading is not None and desk.reading.ranges() == job.work.ranges:
        return desk.reading
    if desk.reading is not None:
        desk.reading.close()
    desk.reading = reading = _open(job, bench, follow=False)
    empty_turns = 0
    while not reading.done:
        before = reading.read
        reading.turn(TURN_S)
        empty_turns = 0 if reading.read > before else empty_turns + 1
        if empty_turns < EMPTY_TURNS:
            continue
        empty_turns = 0
        ends = log_ends(bench.kafka.client(), bench.topics.events)
        if any(r.end > ends.get(r.partition, 0) for r in job.work.ranges):
            raise LookupError(f"the log ends at {ends}, before the records the job was to read")
    return reading


def _columns(job: Job, bench: Bench, collected: Collected) -> Columns:
    """As the champion's profile has it; where there is none, as the rows look."""
    manifest = bench.manifest(job.model, job.champion)
    if manifest is None:
        rows: Sequence[object] = [row.event.said for row in collected.rows]
        return Columns(infer_task(rows, [row.label for row in collected.rows]))
    profile = manifest.reference()
    seen = {name for row in collected.rows for name in row.event.features}
    names = tuple(name for name in (*profile.features, *profile.skipped) if name in seen)
    return Columns(profile.task, profile.positive, names or None)


def _read(reading: Reading) -> bool:
    """Some batches; whether the log has no more for now."""
    return any(not reading.turn(TURN_S) for _ in range(TURNS))
