"""Events in batches are decided like the same events one by one, at mapped positions."""

from __future__ import annotations

import hashlib
import random
from typing import Final, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings

from producer.arrow_batch import BATCH_CE_TYPE, pack
from producer.codec import encode
from producer.events import CE_TYPE_OF, InferenceEvent
from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.windows.closed_window import ClosedWindow
from tests.hypothesis_profiles import examples
from tests.properties.partition_logs import Results, log_of, run, seeds, some_cuts, with_shadows

law = settings(max_examples=examples(8))
EVENTS: Final = 1_700
INFERENCE: Final = CE_TYPE_OF[InferenceEvent]
Place = tuple[int, int | None]


class BothLogs(NamedTuple):
    """The same events one by one and in batches, and the place in the batches of each number."""

    singles: list[ConsumerRecord]
    batches: list[ConsumerRecord]
    places: list[Place]


def both_logs(seed: int, records: list[ConsumerRecord]) -> BothLogs:
    """Pack runs of consecutive events of one version; some are made invalid."""
    rng = random.Random(seed)  # noqa: S311
    logs = BothLogs([], [], [])
    at = 0
    while at < len(records):
        run_of = [records[at]]
        most = rng.choice([1, 2, 7, 300])
        while len(run_of) < most and at + len(run_of) < len(records):
            following = records[at + len(run_of)]
            if kind_of(following) is None or kind_of(following) != kind_of(run_of[0]):
                break
            run_of.append(following)
        at += len(run_of)
        add(logs, run_of, rng)
    return logs


def kind_of(record: ConsumerRecord) -> tuple[str, str, bool] | None:
    """What the events of a batch share; ``None`` for a record that is no event."""
    if record.kind != INFERENCE:
        return None
    event = msgspec.json.decode(record.value or b"", type=InferenceEvent)
    return event.model, event.version, event.shadow


def add(logs: BothLogs, records: list[ConsumerRecord], rng: random.Random) -> None:
    offset, stamped_ms = len(logs.batches), records[-1].timestamp_ms
    if kind_of(records[0]) is None or len(records) == 1:
        for record in records:
            logs.singles.append(msgspec.structs.replace(record, offset=len(logs.places)))
            logs.batches.append(msgspec.structs.replace(record, offset=offset))
            logs.places.append((offset, None))
        return
    events = [
        spoilt(msgspec.json.decode(record.value or b"", type=InferenceEvent), stamped_ms, rng)
        for record in records
    ]
    packed = pack(events)
    assert not packed.others
    logs.batches.append(ConsumerRecord(offset, stamped_ms, BATCH_CE_TYPE, packed.value, b"churn"))
    for row, event in enumerate(events):
        number = len(logs.places)
        logs.singles.append(ConsumerRecord(number, stamped_ms, INFERENCE, encode(event), b"churn"))
        logs.places.append((offset, row))


def spoilt(event: InferenceEvent, stamped_ms: int, rng: random.Random) -> InferenceEvent:
    """An event that, once in a hundred, breaks a rule."""
    broken = msgspec.structs.replace
    chance = rng.random()
    if chance > 0.01:
        return event
    if chance > 0.006:
        return broken(event, time_ms=stamped_ms + 10_000_000)
    if chance > 0.003:
        return broken(event, id="")
    return broken(event, segment={"region": "x" * 300})


def mapped(results: Results, places: list[Place]) -> Results:
    """The results of single events, at the places of the same events in batches."""
    alerts, dead_letters, windows, state = results
    return (
        [mapped_alert(alert, places) for alert in alerts],
        [mapped_dead_letter(dead_letter, places) for dead_letter in dead_letters],
        [mapped_window(window, places) for window in windows],
        state,
    )


def mapped_alert(alert: DriftAlert, places: list[Place]) -> DriftAlert:
    onset, detected, decided = (
        places[number]
        for number in (alert.onset_offset, alert.detected_offset, alert.decided_offset)
    )
    return msgspec.structs.replace(
        alert,
        onset_offset=onset[0],
        onset_row=onset[1] or 0,
        detected_offset=detected[0],
        detected_row=detected[1] or 0,
        decided_offset=decided[0],
        decided_row=decided[1] or 0,
    )


def mapped_dead_letter(dead_letter: DeadLetter, places: list[Place]) -> DeadLetter:
    offset, row = places[dead_letter.offset]
    if row is None:
        return msgspec.structs.replace(dead_letter, offset=offset)
    event = msgspec.json.decode(dead_letter.payload, type=InferenceEvent)
    known = {name: value for name, value in event.features.items() if value is not None}
    payload = encode(msgspec.structs.replace(event, features=known))  # a null is a missing value
    digest = hashlib.sha256(payload).hexdigest()
    return msgspec.structs.replace(
        dead_letter, offset=offset, row=row, payload=payload, sha256=digest, size_bytes=len(payload)
    )


def mapped_window(window: ClosedWindow, places: list[Place]) -> ClosedWindow:
    return msgspec.structs.replace(
        window,
        first_offset=places[window.first_offset][0],
        last_offset=places[window.last_offset][0],
        closed_offset=places[window.closed_offset][0],
    )


def without_numbers(results: Results) -> Results:
    """The results without the part of the state that only batches have."""
    alerts, dead_letters, windows, state = results
    parts = msgspec.json.decode(state)
    assert parts.pop("numbers")[0] > 0
    windows = sorted(windows, key=lambda w: (w.closed_offset, w.model, w.version, w.start_ms))
    return alerts, dead_letters, windows, msgspec.json.encode(parts, order="sorted")


@law
@given(seed=seeds)
def test_batches_are_decided_like_their_events_one_by_one(seed: int) -> None:
    logs = both_logs(seed, log_of(seed, EVENTS))

    alerts, dead_letters, windows, state = mapped(run(logs.singles, []), logs.places)
    windows.sort(key=lambda w: (w.closed_offset, w.model, w.version, w.start_ms))

    assert without_numbers(run(logs.batches, [])) == (alerts, dead_letters, windows, state)


@pytest.mark.slow
@law
@given(seed=seeds, cuts=some_cuts)
def test_results_of_batches_do_not_depend_on_where_fetches_end(seed: int, cuts: list[int]) -> None:
    records = both_logs(seed, with_shadows(seed, log_of(seed, EVENTS))).batches

    assert run(records, [c % len(records) for c in cuts]) == run(records, [])


@law
@given(seed=seeds, cuts=some_cuts)
def test_a_restart_between_batches_continues_identically(seed: int, cuts: list[int]) -> None:
    records = both_logs(seed, with_shadows(seed, log_of(seed, EVENTS))).batches

    assert run(records, [c % len(records) for c in cuts], restart=True) == run(records, [])


def test_the_logs_of_these_laws_hold_batches_drift_and_rejected_rows() -> None:
    """A law about empty results would hold for any code."""
    alerts, dead_letters, windows, _ = run(both_logs(1, log_of(1, EVENTS)).batches, [])

    assert {alert.kind for alert in alerts} >= {"data", "quality"}
    assert any(alert.decided_row for alert in alerts)
    assert {dead_letter.reason for dead_letter in dead_letters if dead_letter.row is not None} >= {
        "future",
        "empty_id",
    }
    assert windows
