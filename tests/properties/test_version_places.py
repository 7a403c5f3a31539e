"""Versions beyond the cap: the one retired first is forgotten, and no cut of the log shows."""

from __future__ import annotations

import random
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings

from producer.codec import encode
from producer.events import CE_TYPE_OF, Event, InferenceEvent, Label, ModelUpdate, Tick
from stream_monitor.ingest.records import LogRecord
from stream_monitor.labels.spec import LabelSpec
from stream_monitor.monitor import PartitionMonitor
from stream_monitor.reference.fit import MIN_EVENTS, fit_profile
from stream_monitor.reference.profile import profile_to_data
from stream_monitor.spec import MonitorSpec
from stream_monitor.windows.spec import WindowSpec
from tests.properties.partition_logs import TOPIC, batch_of, run, seeds, some_cuts, store

CAP = 3
RING = 64
"""Offsets in which a repeated id is known: few, so that a test gets beyond them."""
SPEC = MonitorSpec(
    max_versions=CAP,
    warm_up_events=MIN_EVENTS,
    seen_chunks=2,
    segment_chunks=1,
    labels=LabelSpec(chunk_events=RING // 2),
    windows=WindowSpec(size_ms=10_000, grace_ms=1_000, idle_close_ms=30_000),
)
law = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@cache
def profile() -> dict[str, Any]:
    rng = random.Random(0)  # noqa: S311
    ages = [rng.gauss(40, 10) for _ in range(MIN_EVENTS)]
    made = fit_profile("m", "?", {"age": ages}, task="binary", origin="training")
    return profile_to_data(made)


def update(name: str, version: str, *, bare: bool = False) -> ModelUpdate:
    data = None if bare else {**profile(), "version": version}
    return ModelUpdate(id=name, model="m", version=version, time_ms=0, profile=data)


def event(number: int, version: str, time_ms: int = 0) -> InferenceEvent:
    return InferenceEvent(
        id=f"e{number}", model="m", version=version, time_ms=time_ms,
        features={"age": float(20 + number % 40)}, prediction=0.5,
    )  # fmt: skip


def records_of(events: list[tuple[Event, int]]) -> list[LogRecord]:
    return [
        LogRecord(offset, time_ms, CE_TYPE_OF[type(of)], encode(of))
        for offset, (of, time_ms) in enumerate(events)
    ]


def log_of(seed: int, n: int = 800) -> list[LogRecord]:
    """Twice as many versions as places: announced, warmed up, served again, repeated."""
    rng = random.Random(seed)  # noqa: S311
    events: list[tuple[Event, int]] = []
    ids: list[tuple[str, str]] = []
    clock_ms, now, calm = 0, ["1"], rng.randint(0, n)  # in the calm one may warm up
    for i in range(n):
        clock_ms += 40_000 if rng.random() < 0.01 else 200
        draw = rng.random()
        if draw < 0.04 and not calm <= i < calm + 500:
            name, version = rng.choice(ids) if ids and rng.random() < 0.5 else (f"u{i}", "")
            version = version or str(rng.randint(1, 2 * CAP))
            ids.append((name, version))
            events.append((update(name, version, bare=rng.random() < 0.3), clock_ms))
            now = [version] * 6 + [str(rng.randint(1, 2 * CAP)) for _ in range(2)]
        elif draw < 0.05:
            events.append((Tick(time_ms=clock_ms), clock_ms))
        elif draw < 0.15:
            label = Label(id=f"e{max(0, i - 9)}", model="m", label=1, time_ms=clock_ms)
            events.append((label, clock_ms))
        else:
            again = i - rng.randint(1, 100) if rng.random() < 0.1 else i
            events.append((event(max(0, again), rng.choice(now), clock_ms), clock_ms))
    return records_of(events)


def known(monitor: PartitionMonitor) -> set[str]:
    model = monitor.models["m"]
    assert len(model.known) <= CAP
    assert {version for _, version in monitor._last_append_ms} <= model.known
    assert {v for v, watched in model.versions.items() if watched.retired} <= model.known
    return model.known


def after(*events: Event) -> PartitionMonitor:
    monitor = PartitionMonitor(TOPIC, 0, SPEC)
    monitor.observe(batch_of(records_of([(of, 0) for of in events])))
    return monitor


@law
@given(seed=seeds, cuts=some_cuts)
def test_no_cut_and_no_restart_changes_who_has_a_place(seed: int, cuts: list[int]) -> None:
    records = log_of(seed)
    cuts = [cut % len(records) for cut in cuts]

    whole = run(records, [], spec=SPEC)

    assert run(records, cuts, spec=SPEC) == whole
    assert run(records, cuts, restart=True, spec=SPEC) == whole


@settings(law, max_examples=5)
@given(seed=seeds)
@example(seed=0)  # a version has events before and after it is forgotten, in one segment
def test_one_record_at_a_time_equals_one_batch(seed: int) -> None:
    records = log_of(seed)

    assert run(records, list(range(len(records))), spec=SPEC) == run(records, [], spec=SPEC)


@pytest.mark.parametrize("seed", range(4))
def test_there_are_never_more_than_the_cap_and_nothing_stays_of_the_others(seed: int) -> None:
    monitor = PartitionMonitor(TOPIC, 0, SPEC)
    fields: dict[str, bytes] = {}
    ever: set[str] = set()
    records = log_of(seed)
    for start, end in pairwise(range(0, len(records) + 1, 10)):
        monitor.observe(batch_of(records[start:end]))
        store(fields, monitor.changes())
        monitor.committed()
        ever |= known(monitor)
        of_versions = [name.split("|") for name in fields if name.startswith("model|m|")]
        stored = {
            part[3] for part in of_versions
            if part[2] in ("profile", "version", "window", "warm-up")
        }  # fmt: skip
        assert stored <= known(monitor)

    assert len(ever) > CAP
    assert monitor.counters.records == len(records)


def test_the_version_retired_first_gives_its_place_to_one_that_is_announced() -> None:
    first = [update(f"u{v}", v) for v in ("1", "2", "3")]

    assert known(after(*first, update("u4", "4"))) == {"2", "3", "4"}
    assert known(after(*first, update("again", "1"), update("u4", "4"))) == {"1", "3", "4"}
    bare = update("again", "1", bare=True)
    assert known(after(*first, bare, update("u4", "4"))) == {"1", "3", "4"}


def test_the_version_retired_first_gives_its_place_to_one_that_warms_up() -> None:
    monitor = after(
        *[update(f"u{v}", v) for v in ("1", "2", "3")], event(0, "1"), event(1, "4"), event(2, "1")
    )

    assert known(monitor) == {"2", "3", "4"}
    assert (monitor.counters.valid, monitor.counters.unwatched) == (2, 1)  # event 2 is of no one


def test_what_serves_is_forgotten_for_no_event() -> None:
    monitor = after(*[event(i, str(i)) for i in range(CAP + 2)])

    assert known(monitor) == {"0", "1", "2"}
    assert monitor.counters.unwatched == 2


def test_a_version_that_is_announced_finds_a_place_among_those_that_warm_up() -> None:
    monitor = after(*[event(i, str(i)) for i in range(CAP)], update("u", "9"))

    assert known(monitor) == {"1", "2", "9"}


def test_a_forgotten_version_serves_again_with_its_profile_or_warms_up() -> None:
    log = [update(f"u{v}", v) for v in ("1", "2", "3", "4")]

    assert known(after(*log, update("back", "1"))) == {"1", "3", "4"}
    monitor = after(*log, update("back", "1", bare=True), event(0, "1"))
    assert known(monitor) == {"1", "3", "4"}
    assert set(monitor.models["m"].warm_ups) == {"1"}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("again", ["1", "2"])
def test_an_update_is_a_repeat_however_late_it_comes_again(again: str, restart: bool) -> None:  # noqa: FBT001
    """Of the version that serves, and of one that was retired since."""
    log: list[Event] = [update("u1", "1"), update("u2", "2")]
    log += [event(i, "2") for i in range(3 * RING)]
    records = records_of([(of, 0) for of in [*log, update(f"u{again}", again)]])
    before = run(records[:-1], [], spec=SPEC)
    cuts = [len(records) - 1] if restart else []

    alerts, letters, windows, state = run(records, cuts, restart=restart, spec=SPEC)

    assert (alerts, letters, windows) == before[:3]
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


def test_state_of_before_says_who_is_retired_and_not_since_when() -> None:
    """Then the version that began first is the first to go."""
    monitor = after(*[update(f"u{v}", v) for v in ("1", "2", "3")])
    parts = msgspec.msgpack.decode(msgspec.msgpack.encode(monitor.changes()))
    assert parts.pop("model|m|places")

    restored = PartitionMonitor.restore(TOPIC, 0, SPEC, parts)
    last = records_of([(update(f"new{i}", "4"), 0) for i in range(4)])[-1:]
    restored.observe(batch_of(last))

    assert known(restored) == {"2", "3", "4"}
