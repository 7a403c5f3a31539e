"""Versions and models beyond the limit: idle ones are evicted, whatever the batch boundaries."""

from __future__ import annotations

import random
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings

from producer.events import Event, InferenceEvent, Label, ModelUpdate, Tick
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.labels.join import LabelSpec
from stream_monitor.reference.fit import MIN_EVENTS, fit_profile
from stream_monitor.reference.profile import profile_to_data
from stream_monitor.windows.tumbling import WindowSpec
from tests.builders import record_of
from tests.hypothesis_profiles import examples
from tests.properties.partition_logs import TOPIC, batch_of, run, seeds, some_cuts, store

CAP = 3
RING = 64
"""Offsets in which a repeated id is known: few, so that a test gets beyond them."""
IDLE = 60_000
SPEC = MonitorSpec(
    max_versions=CAP,
    max_models=CAP,
    idle_ms=IDLE,
    budget=Budget(per_events=500),  # loose, so that episodes open, and end with their versions
    episodes=EpisodePolicy(
        min_effect=0.02, min_window_events=20, first_test_events=16, clear_windows=2
    ),
    warm_up_events=MIN_EVENTS,
    dedup_window_chunks=2,
    micro_batch_chunks=1,
    labels=LabelSpec(chunk_events=RING // 2),
    windows=WindowSpec(size_ms=10_000, grace_ms=1_000, idle_close_ms=30_000),
)
law = settings(max_examples=examples(10))


@cache
def profile() -> dict[str, Any]:
    rng = random.Random(0)  # noqa: S311
    ages = [rng.gauss(40, 10) for _ in range(MIN_EVENTS)]
    losses = [float(rng.random() < 0.2) for _ in ages]
    made = fit_profile("m", "?", {"age": ages}, losses=losses, task="binary", origin="training")
    return profile_to_data(made)


def update(name: str, version: str, *, bare: bool = False, model: str = "m") -> ModelUpdate:
    data = None if bare else {**profile(), "version": version, "model": model}
    return ModelUpdate(id=name, model=model, version=version, time_ms=0, profile=data)


def event(
    number: int, version: str, time_ms: int = 0, *, model: str = "m", shift: float = 0.0
) -> InferenceEvent:
    return InferenceEvent(
        id=f"e{number}",
        model=model,
        version=version,
        time_ms=time_ms,
        features={"age": float(20 + number % 40) + shift},
    )


def records_of(events: list[tuple[Event, int]]) -> list[ConsumerRecord]:
    return [record_of(offset, of, time_ms) for offset, (of, time_ms) in enumerate(events)]


def log_of(seed: int, n: int = 800) -> list[ConsumerRecord]:
    """More versions and models than places: announced, warmed up, idle, drifting, repeated."""
    rng = random.Random(seed)  # noqa: S311
    events: list[tuple[Event, int]] = []
    ids: list[tuple[str, str]] = []
    clock_ms, now, calm = 0, ["1"], rng.randint(0, n)  # in the calm one may warm up
    announces = rng.random() < 0.8
    for i in range(n):
        clock_ms += rng.choice([40_000, IDLE, 3 * IDLE]) if rng.random() < 0.02 else 200
        draw, model = rng.random(), "m" if rng.random() < 0.9 else f"m{rng.randint(0, 2 * CAP)}"
        if draw < 0.02 and not calm <= i < calm + 500:
            name, version = rng.choice(ids) if ids and rng.random() < 0.5 else (f"u{i}", "")
            version = version or str(rng.randint(1, 2 * CAP))
            ids.append((name, version))
            if announces:
                new = update(name, version, bare=rng.random() < 0.3, model=model)
                events.append((new, clock_ms))
            now = [version] * 6 + [str(rng.randint(1, 2 * CAP)) for _ in range(2)]
        elif draw < 0.05:
            events.append((Tick(time_ms=clock_ms), clock_ms))
        elif draw < 0.3:
            before = rng.choice([9, 100, 300])
            truth = int(rng.random() < 0.8 - 0.6 * (i % 400 > 200))
            label = Label(id=f"e{max(0, i - before)}", model=model, label=truth, time_ms=clock_ms)
            events.append((label, clock_ms))
        else:
            again = i - rng.randint(1, 100) if rng.random() < 0.1 else i
            shift = 40.0 * (n // 3 < i < n // 2 or i > 5 * n // 6)
            of = event(max(0, again), rng.choice(now), clock_ms, model=model, shift=shift)
            events.append((of, clock_ms))
    return records_of(events)


def known(monitor: PartitionMonitor) -> set[str]:
    assert len(monitor.models) <= CAP
    for model in monitor.models.values():
        assert len(model.admitted_versions) <= CAP
        assert model.retention.events_ms.keys() <= model.admitted_versions
    return set(monitor.models["m"].admitted_versions) if "m" in monitor.models else set()


def after(*events: Event | tuple[Event, int]) -> PartitionMonitor:
    monitor = PartitionMonitor(TOPIC, 0, SPEC)
    timed = [of if isinstance(of, tuple) else (of, 0) for of in events]
    monitor.observe(batch_of(records_of(timed)))
    return monitor


def reasons(monitor: PartitionMonitor) -> dict[str, int]:
    """How many events of all models were counted under each reason."""
    found: dict[str, int] = {}
    counts = [monitor.over_limit.coverage, *(model.coverage for model in monitor.models.values())]
    for row in (row for one in counts for row in one.last_hour(monitor.counters.append_clock_ms)):
        found[row.key.reason] = found.get(row.key.reason, 0) + row.total
    return found


@law
@given(seed=seeds, cuts=some_cuts)
def test_version_retention_does_not_depend_on_cuts_or_restarts(seed: int, cuts: list[int]) -> None:
    records = log_of(seed)
    cuts = [cut % len(records) for cut in cuts]

    whole = run(records, [], spec=SPEC)

    assert run(records, cuts, spec=SPEC) == whole
    assert run(records, cuts, restart=True, spec=SPEC) == whole


@settings(law, max_examples=examples(3))
@given(seed=seeds)
@example(seed=0)  # a version has events before and after it is forgotten, in one segment
def test_one_record_at_a_time_equals_one_batch(seed: int) -> None:
    records = log_of(seed)

    assert run(records, list(range(len(records))), spec=SPEC) == run(records, [], spec=SPEC)


@pytest.mark.parametrize("seed", range(2))
def test_there_are_never_more_than_the_cap_and_nothing_stays_of_the_others(seed: int) -> None:
    monitor = PartitionMonitor(TOPIC, 0, SPEC)
    fields: dict[str, bytes] = {}
    ever: set[str] = set()
    records = log_of(seed, 1600)
    for start, end in pairwise(range(0, len(records) + 1, 10)):
        monitor.observe(batch_of(records[start:end]))
        store(fields, monitor.take_changes())
        ever |= known(monitor)
        of_models = [name.split("|") for name in fields if name.startswith("model|")]
        assert {part[1] for part in of_models} <= monitor.models.keys()
        for _, model, kind, *rest in of_models:
            if kind == "version":
                assert rest[0] in monitor.models[model].admitted_versions

    assert len(ever) > CAP
    assert monitor.counters.records == len(records)


def test_every_version_is_watched_whatever_is_announced() -> None:
    monitor = after(
        update("u1", "1"), event(0, "1"), update("u2", "2"), event(1, "1"), event(2, "2")
    )

    assert known(monitor) == {"1", "2"}
    assert monitor.models["m"].retention.champion == "2"
    assert reasons(monitor) == {"watched": 3}


def test_an_announcement_takes_the_place_that_was_idle_for_longest() -> None:
    first = [update(f"u{v}", v) for v in ("1", "2", "3")]

    assert known(after(*first, update("u4", "4"))) == {"2", "3", "4"}
    lived = [(event(0, "1"), IDLE)]
    assert known(after(*first, *lived, (update("u4", "4"), IDLE))) == {"1", "3", "4"}
    again = (update("again", "1"), 1)
    assert known(after(*first, again, (update("u4", "4"), 2))) == {"1", "3", "4"}


def test_an_announcement_takes_a_place_from_made_up_names_however_busy() -> None:
    monitor = after(*[event(i, str(i)) for i in range(CAP)], (update("u", "9"), 1))

    assert known(monitor) == {"1", "2", "9"}


def test_a_new_version_evicts_only_an_idle_one() -> None:
    busy: list[Event | tuple[Event, int]] = [event(i, str(i)) for i in range(CAP)]

    over = after(*busy, (event(7, "7"), IDLE - 1))
    assert known(over) == {"0", "1", "2"}
    assert reasons(over) == {"warming_up": CAP, "version_over_limit": 1}
    assert over.counters.not_watched == 1
    busy += [(event(8, "1"), 5), (event(9, "2"), 5)]
    later = after(*busy, (event(7, "7"), IDLE), (event(9, "0"), IDLE))
    assert known(later) == {"1", "2", "7"}  # 0 was idle, gave way, and came too late
    assert reasons(later) == {"warming_up": CAP + 3, "version_over_limit": 1}


def test_the_champion_is_never_evicted_nor_an_announced_version_with_events() -> None:
    log: list[Event | tuple[Event, int]] = [update("u1", "1"), update("u2", "2"), event(0, "3")]

    assert known(after(*log, (event(1, "4"), IDLE))) == {"1", "2", "4"}  # 3 was not announced
    busy = [(event(1, "1"), 9), (event(2, "3"), 9)]
    assert known(after(*log, *busy, (event(3, "4"), IDLE + 8))) == {"1", "2", "3"}
    assert known(after(*log, *busy, (event(4, "3"), 99), (event(3, "4"), IDLE + 9))) == {
        "2",
        "3",
        "4",
    }


def test_forty_made_up_names_evict_no_model_that_has_events() -> None:
    log: list[Event | tuple[Event, int]] = [update("u1", "1")]
    for i in range(400):
        log += [(event(i, "1"), i * 1000), (event(i, f"made-up-{i % 40}"), i * 1000)]

    monitor = after(*log)

    model = monitor.models["m"]
    assert "1" in model.admitted_versions
    found = reasons(monitor)
    assert found["watched"] == 400
    assert found["warming_up"] + found["version_over_limit"] == 400
    assert found["version_over_limit"] == monitor.counters.not_watched > 300


def test_versions_named_by_hash_are_each_watched_with_hours_between() -> None:
    monitor = PartitionMonitor(TOPIC, 0, MonitorSpec(warm_up_events=MIN_EVENTS))
    log: list[tuple[Event, int]] = []
    for deploy in range(40):
        start_ms = deploy * 2 * 3_600_000
        version = f"{deploy:07x}"
        log += [(event(1000 * deploy + i, version), start_ms + i) for i in range(MIN_EVENTS + 50)]
    monitor.observe(batch_of(records_of(log)))

    model = monitor.models["m"]
    assert len(model.admitted_versions) == 16
    assert model.admitted_versions == {f"{deploy:07x}" for deploy in range(24, 40)}
    assert reasons(monitor) == {"warming_up": 40 * MIN_EVENTS, "watched": 40 * 50}


def test_a_returning_version_continues_or_warms_up_if_it_was_evicted() -> None:
    log: list[Event | tuple[Event, int]] = [update("u1", "1"), update("u2", "2")]
    log += [event(i, "1") for i in range(20)]

    back = after(*log, (update("back", "1"), 2 * IDLE), (event(99, "1"), 2 * IDLE)).models["m"]
    assert back.versions["1"]._event_offsets.n_events == 21
    gone = [(event(30 + i, str(7 + i)), 2 * IDLE) for i in range(2)]
    monitor = after(*log, *gone, (event(99, "1"), 4 * IDLE))
    assert "1" in monitor.models["m"].warm_ups
    assert reasons(monitor)["warming_up"] == 3


def test_a_model_takes_the_place_of_one_that_is_idle_and_nothing_stays_of_that() -> None:
    models: list[Event | tuple[Event, int]] = [event(i, "1", model=f"m{i}") for i in range(CAP)]

    over = after(*models, (event(7, "1", model="m7"), IDLE - 1))
    assert set(over.models) == {"m0", "m1", "m2"}
    assert reasons(over) == {"warming_up": CAP, "model_over_limit": 1}
    models += [(event(8, "1", model="m0"), 5), (event(9, "1", model="m1"), 5)]
    monitor = after(*models, (event(7, "1", model="m7"), IDLE))
    assert set(monitor.models) == {"m0", "m1", "m7"}
    parts = {name for name, part in monitor.take_changes().items() if part}
    assert not [name for name in parts if name.startswith("model|m2|")]


def test_an_announced_model_is_evicted_last() -> None:
    log: list[Event | tuple[Event, int]] = [update("u", "1", model="a")]
    log += [(event(1, "1", model="b"), 1), (event(2, "1", model="c"), 2)]

    assert set(after(*log, (event(3, "1"), 2 * IDLE)).models) == {"a", "c", "m"}
    assert set(after(*log, (update("v", "1"), 2 * IDLE)).models) == {"a", "c", "m"}
    over = after(*log, (update("v", "1"), IDLE - 1))
    assert set(over.models) == {"a", "b", "c"}
    assert over.counters.not_watched == 1


def test_an_invalid_update_evicts_no_version() -> None:
    bad = msgspec.structs.replace(update("v", "1", model="d"), version="2")
    models = [event(i, "1", model=f"m{i}") for i in range(CAP)]

    monitor = after(*models, (bad, 2 * IDLE))

    assert set(monitor.models) == {"m0", "m1", "m2"}
    assert monitor.counters.dead_lettered == 1


def test_labels_evict_no_version() -> None:
    models = [event(i, "1", model=f"m{i}") for i in range(CAP)]
    label = Label(id="x", model="other", label=1, time_ms=0)

    monitor = after(*models, (label, 2 * IDLE))

    assert set(monitor.models) == {"m0", "m1", "m2"}
    assert monitor.counters.not_watched == 1


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("again", ["1", "2"])
def test_a_repeated_update_is_recognised_however_late(again: str, restart: bool) -> None:  # noqa: FBT001
    """Of the champion, and of the one before it."""
    log: list[Event] = [update("u1", "1"), update("u2", "2")]
    log += [event(i, "2") for i in range(3 * RING)]
    records = records_of([(of, 0) for of in [*log, update(f"u{again}", again)]])
    before = run(records[:-1], [], spec=SPEC)
    cuts = [len(records) - 1] if restart else []

    alerts, dead_letters, windows, state = run(records, cuts, restart=restart, spec=SPEC)

    assert (alerts, dead_letters, windows) == before[:3]
    now, then = msgspec.json.decode(state), msgspec.json.decode(before[3])
    assert now["counters"] == {**then["counters"], "duplicate": 1}
    for of_seen in [name for name in now.keys() | then.keys() if name.startswith("seen|")]:
        now.pop(of_seen, None), then.pop(of_seen, None)
    assert now | {"counters": 0} == then | {"counters": 0}


def test_an_update_of_a_forgotten_version_is_a_repeat_too() -> None:
    log: list[Event] = [update(f"u{v}", v) for v in ("1", "2", "3", "4")]
    log += [event(i, "4") for i in range(3 * RING)]

    monitor = after(*log, update("u1", "1"))

    assert known(monitor) == {"2", "3", "4"}
    assert monitor.counters.duplicate == 1
