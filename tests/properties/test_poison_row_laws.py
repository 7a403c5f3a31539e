"""A batch applied row by row, without one of its rows: as if it never had that row."""

from __future__ import annotations

import random
from typing import NamedTuple

import msgspec
from hypothesis import given, settings

from producer.arrow_batch import pack
from producer.codec import is_batch
from stream_monitor.core.observation import Observation, finished
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.ingest.event_columns import events_of_batch
from stream_monitor.ingest.event_numbers import NumberedRecords
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.windows.closed_window import ClosedWindow
from tests.hypothesis_profiles import examples
from tests.properties.partition_logs import SPEC, TOPIC, batch_of, log_of, seeds
from tests.properties.test_event_batch_laws import both_logs

law = settings(max_examples=examples(6))
EVENTS = 1_300


class Seen(NamedTuple):
    """What a run published: alerts without their positions, rejected events, windows; its state."""

    alerts: list[object]
    dead_letters: list[str]
    windows: list[ClosedWindow]
    state: dict[str, object]


def seen_of(monitor: PartitionMonitor, observed: list[Observation]) -> Seen:
    places = {
        f"{name}_{of}": 0 for name in ("onset", "detected", "decided") for of in ("offset", "row")
    }
    windows = [
        msgspec.structs.replace(window, first_offset=0, last_offset=0, closed_offset=0)
        for one in observed
        for window in one.windows
    ]
    state = {name: value for name, value in monitor.take_changes().items() if name != "numbers"}
    monitor.counters.dead_lettered = 0
    state["counters"] = msgspec.json.encode(monitor.counters)
    return Seen(
        [msgspec.structs.replace(alert, **places) for one in observed for alert in one.alerts],
        [f"{one.reason} {one.sha256}" for seen in observed for one in seen.dead_letters],
        sorted(windows, key=lambda w: (w.model, w.version, w.start_ms)),
        dict(sorted(state.items())),
    )


def by_row(log: list[ConsumerRecord], at: int, skipped: int | None) -> Seen:
    """Apply the record at index ``at`` row by row, all others at once."""
    monitor = PartitionMonitor(TOPIC, 0, SPEC)
    observed = [monitor.observe(batch_of(log[:at]))] if at else []
    rows = monitor.decode(batch_of([log[at]])).by_row()
    observed += [finished(monitor.apply_in_steps(part)) for row, part in rows if row != skipped]
    if log[at + 1 :]:
        observed.append(monitor.observe(batch_of(log[at + 1 :])))
    return seen_of(monitor, observed)


def without_row(log: list[ConsumerRecord], at: int, skipped: int) -> Seen:
    """The same log with a hole in place of the row: two batches around an offset without record."""
    record = log[at]
    events = [event for event in events_of_batch(record.value or b"") if event is not None]
    packed: list[ConsumerRecord] = []
    for part, offset in ((events[:skipped], 0), (events[skipped + 1 :], 1 + (skipped > 0))):
        if part:
            packed.append(
                msgspec.structs.replace(
                    record, offset=record.offset + offset, value=pack(part).value
                )
            )
    moved = 1 if skipped in (0, len(events) - 1) else 2
    rest = [msgspec.structs.replace(r, offset=r.offset + moved) for r in log[at + 1 :]]
    monitor = PartitionMonitor(TOPIC, 0, SPEC)
    return seen_of(monitor, [monitor.observe(batch_of([*log[:at], *packed, *rest]))])


def a_batch(log: list[ConsumerRecord], rng: random.Random) -> tuple[int, int]:
    """The index and the number of rows of a batch with at least two rows, all of them events."""
    batches = [
        (i, len(events))
        for i, record in enumerate(log)
        if is_batch(record.value)
        and len(events := events_of_batch(record.value or b"")) > 1
        and None not in events
    ]
    return rng.choice(batches)


@law
@given(seed=seeds)
def test_the_rows_of_a_batch_one_by_one_are_the_batch(seed: int) -> None:
    log = both_logs(seed, log_of(seed, EVENTS)).batches
    at, _ = a_batch(log, random.Random(seed))  # noqa: S311
    monitor = PartitionMonitor(TOPIC, 0, SPEC)

    whole = seen_of(monitor, [monitor.observe(batch_of(log))])

    assert by_row(log, at, skipped=None) == whole


@law
@given(seed=seeds)
def test_a_skipped_row_leaves_the_result_of_the_batch_without_it(seed: int) -> None:
    log = both_logs(seed, log_of(seed, EVENTS)).batches
    rng = random.Random(seed)  # noqa: S311
    at, n_rows = a_batch(log, rng)
    skipped = rng.randrange(n_rows)

    assert by_row(log, at, skipped) == without_row(log, at, skipped)


def test_rows_before_the_suspect_are_applied_together() -> None:
    log = both_logs(3, log_of(3, EVENTS)).batches
    at, n_rows = a_batch(log, random.Random(3))  # noqa: S311
    monitor = PartitionMonitor(TOPIC, 0, SPEC)
    observed = [monitor.observe(batch_of(log[:at]))]
    parts = [part for _, part in monitor.decode(batch_of([log[at]])).by_row()]
    assert len(parts) == n_rows
    half = n_rows // 2
    cuts = parts[:half], parts[half:]
    observed += [finished(monitor.apply_in_steps(NumberedRecords.joined(cut))) for cut in cuts]
    observed.append(monitor.observe(batch_of(log[at + 1 :])))

    assert seen_of(monitor, observed) == by_row(log, at, skipped=None)
