"""The end of a drill removes its synthetic model, and changes nothing of other models."""

from __future__ import annotations

import random
from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.codec import decode
from producer.events import CE_TYPE_OF, Command, Event, InferenceEvent, Label, ModelUpdate
from producer.synthetic import synthetic_name
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.reference.profile import profile_from_data, profile_to_data
from tests.builders import record_of
from tests.hypothesis_profiles import examples
from tests.properties.partition_logs import (
    SPEC,
    TOPIC,
    batch_of,
    events_of,
    log_of,
    profile,
    run,
    seeds,
    some_cuts,
    store,
    whole,
)

SHADOW = synthetic_name("churn", "0123456789ab")
Order = Literal["whole", "late", "twice"]
few = settings(max_examples=examples(4))
orders = st.sampled_from(["whole", "late", "twice"])


def record_at(offset: int, timestamp_ms: int, event: Event) -> ConsumerRecord:
    return record_of(offset, event, timestamp_ms)


def forgetting(model: str, name: str = "f") -> Command:
    return Command(id=name, model=model, action="forget", episode="", actor="drill", time_ms=0)


def update_of(shadow: str, seed: int) -> ModelUpdate:
    made = profile_from_data(profile(random.Random(seed), "1"))  # noqa: S311
    data = profile_to_data(msgspec.structs.replace(made, model=shadow))
    return ModelUpdate(id=f"u-{shadow}", model=shadow, version="1", time_ms=0, profile=data)


def with_drill(
    seed: int, records: list[ConsumerRecord], order: Order = "whole"
) -> list[ConsumerRecord]:
    """The same log with shadow copies of its events, and labels, at free offsets behind them."""
    rng = random.Random(seed)  # noqa: S311
    start = rng.randint(0, len(records) // 3)
    end = rng.randint(start + 600, len(records) - 10)
    free = {record.offset + 1 for record in records} - {record.offset for record in records}
    drill: list[ConsumerRecord] = []
    for i, record in enumerate(records[start:]):
        at, known = record.offset + 1, record.timestamp_ms
        if at not in free:
            continue
        if not drill:
            drill.append(record_at(at, known, update_of(SHADOW, seed)))
        elif start + i >= end and (order == "twice" or drill[-1].kind != CE_TYPE_OF[Command]):
            drill.append(record_at(at, known, forgetting(SHADOW, f"f{i % 2}")))
            if order == "whole":
                break
        elif record.kind in (CE_TYPE_OF[InferenceEvent], CE_TYPE_OF[Label]):
            event = decode(record.value or b"", record.kind)
            copy = msgspec.structs.replace(event, model=SHADOW)
            drill.append(record_at(at, known, copy))
    return sorted([*records, *drill], key=lambda record: record.offset)


@pytest.mark.slow
@few
@given(seed=seeds, cuts=some_cuts, order=orders)
def test_a_forgotten_model_changes_no_law_of_cuts(seed: int, cuts: list[int], order: Order) -> None:
    records = with_drill(seed, log_of(seed), order)
    cuts = [cut % len(records) for cut in cuts]

    whole = run(records, [])

    assert run(records, cuts) == whole
    assert run(records, cuts, restart=True) == whole


@few
@given(seed=seeds, cuts=some_cuts)
def test_the_drill_leaves_nothing_behind_and_changes_no_other_model(
    seed: int, cuts: list[int]
) -> None:
    plain = log_of(seed)
    records = with_drill(seed, plain)
    undisturbed = whole(seed)

    alerts, dead_letters, windows, state = run(
        records, [cut % len(records) for cut in cuts], restart=True
    )

    assert SHADOW.encode() not in state
    assert [alert for alert in alerts if alert.model != SHADOW] == undisturbed[0]
    its_own = {record.offset for record in records} - {record.offset for record in plain}
    assert [
        dead_letter for dead_letter in dead_letters if dead_letter.offset not in its_own
    ] == undisturbed[1]
    assert [window for window in windows if window.model != SHADOW] == undisturbed[2]


@pytest.mark.slow
def test_its_open_episodes_end_and_are_marked_as_a_drill() -> None:
    phases: dict[str, list[str]] = {}
    for seed in range(6):
        for alert in run(with_drill(seed, log_of(seed)), [])[0]:
            assert alert.drill == (alert.model == SHADOW)
            if alert.drill:
                phases.setdefault(f"{seed}-{alert.episode_id}", []).append(alert.phase)

    assert any(reported[-1] == "superseded" for reported in phases.values())
    assert all(reported[-1] in ("recovered", "superseded") for reported in phases.values())


def test_its_place_is_free_again() -> None:
    spec = msgspec.structs.replace(SPEC, max_models=1)
    monitor = PartitionMonitor(TOPIC, 0, spec)
    events = events_of(3, 400)
    first = events[0].offset
    monitor.observe(
        batch_of(
            [
                record_at(first - 2, 0, update_of(SHADOW, 3)),
                record_at(first - 1, 0, forgetting(SHADOW)),
            ]
        )
    )

    monitor.observe(batch_of(events))

    assert set(monitor.models) == {"churn"}
    assert monitor.counters.not_watched == 0
    assert monitor.counters.control >= 2


@pytest.mark.parametrize("model", ["churn", "churn:drill-", "nobody"])
def test_only_shadows_are_forgotten(model: str) -> None:
    records = events_of(5, 700)
    last = records[-1]
    order = record_at(last.offset + 1, last.timestamp_ms, forgetting(model))

    alerts, dead_letters, _, state = run([*records, order], [])

    expected = run(records, [])
    assert alerts == expected[0]
    assert [dead_letter.reason for dead_letter in dead_letters[len(expected[1]) :]] == [
        "invalid_command"
    ]
    assert state.count(b"model|churn") == expected[3].count(b"model|churn")


def test_a_version_announced_again_with_fewer_series_keeps_no_old_one() -> None:
    """What was stored of the others would not fit the new profile at the next restart."""
    made = profile_from_data(profile(random.Random(1), "1"))  # noqa: S311
    many = {
        f"age{i}": msgspec.structs.replace(made.features["age"], name=f"age{i}") for i in range(20)
    }
    wide = profile_to_data(msgspec.structs.replace(made, features=many, segments=()))
    narrow = profile_to_data(made)
    updates = [
        ModelUpdate(id=f"u{i}", model="churn", version="1", time_ms=0, profile=data)
        for i, data in enumerate((wide, narrow))
    ]
    fields: dict[str, bytes] = {}
    monitor = PartitionMonitor(TOPIC, 0, SPEC)
    for i, update in enumerate(updates):
        monitor.observe(batch_of([record_at(i, 0, update)]))
        store(fields, monitor.take_changes())

    restored = PartitionMonitor.restore(TOPIC, 0, SPEC, fields)
    assert set(restored.models["churn"].versions["1"].profile.features) == set(made.features)
