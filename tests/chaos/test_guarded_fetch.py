"""A guarded fetch counts each record once, and skips what crashes workers and nothing else."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import cast

import pytest

from stream_monitor.runtime.poison_records import (
    MAX_ATTEMPTS,
    MAX_SKIPPED_RECORDS,
    PAUSE_S,
    SINGLE_BATCH_OFFSETS,
    RawBatch,
    UnreadableBatch,
)
from stream_monitor.state.redis_store import partition_key
from stream_monitor.state.store import ATTEMPT_FIELD, AttemptMarker
from tests.chaos.guarded_fetch_worker import (
    TOPIC,
    Death,
    GuardedFetchWorker,
    ListFold,
    Log,
    Packed,
    died_here,
    left,
)
from tests.event_loop import in_event_loop
from tests.hypothesis_profiles import examples
from tests.memory_store import InMemoryStateStore


def a_log(seed: int, n_batches: int = 60) -> list[Packed]:
    """Batches of any kind, with holes between them."""
    chance = random.Random(seed)  # noqa: S311
    batches, first = [], 0
    for _ in range(n_batches):
        last = first + chance.choice((0, 3, 40, 900))
        batches.append(Packed(first, last, chance.random() < 0.5, chance.random() < 0.1))
        first = last + 1 + chance.choice((0, 0, 2))
    return batches


def kills(worst: Packed, partition: int = 0) -> object:
    """What unpacking does: it ends the process."""

    def unpack(batch: RawBatch) -> None:
        if (batch.partition, batch.last) == (partition, worst.last):
            raise Death

    return unpack


async def until_survived(
    store: InMemoryStateStore, log: Log, *partitions: int
) -> tuple[int, GuardedFetchWorker]:
    """Workers, one after the other; how many died, and the one that did not."""
    for died in range(20):
        worker = GuardedFetchWorker(store, log, f"worker-{died}")
        await worker.ownership.take(partitions, 2 + died)
        try:
            await worker.guarded_fetch.fetch_due()
        except Death:
            continue
        return died, worker
    raise AssertionError("no worker survived")


@pytest.mark.parametrize("seed", range(examples(12)))
@in_event_loop
async def test_however_often_it_is_given_up_and_taken_back_each_record_is_counted_once(
    seed: int,
) -> None:
    chance = random.Random(seed)  # noqa: S311
    store, log = InMemoryStateStore(), Log({0: a_log(seed), 1: a_log(seed + 100)})
    log.on_unpack = lambda _batch: time.sleep(chance.choice((0, 0, 0.002)))
    for partition in log.batches:
        died_here(store, partition)
    worker = GuardedFetchWorker(store, log, "worker")
    worker.relay.flush = slow_flush  # type: ignore[method-assign]
    generation = 1

    async def look_on() -> None:
        while True:
            await worker.guarded_fetch.fetch_due()
            await asyncio.sleep(0)

    async def at_the_end() -> bool:
        return worker.reader.placed == {p: log.end(p) for p in log.batches}

    looking = asyncio.ensure_future(look_on())
    while not await at_the_end():
        generation += 1
        await worker.ownership.take(log.batches, generation)
        for partition in log.batches:  # as after a crash here: it continues with guarded fetches
            worker.owned(partition).single_batch_until = 10**9
        await asyncio.sleep(chance.choice((0.001, 0.01, 0.05, 0.2)))
        if not await at_the_end():
            # A release without a last commit leaves the marker, as a crash does.
            markers = [left(store, partition) for partition in log.batches]
            hurry = all(one is None or one.times < MAX_ATTEMPTS for one in markers)
            await worker.give_up(chance.choice((0.001, 5)) if hurry else 5)
    looking.cancel()
    for partition in log.batches:
        assert worker.seen(partition) == log.records(partition)
    assert worker.dead_letters.dead_letters == 0


async def slow_flush() -> None:
    """Kafka takes its time."""
    await asyncio.sleep(0.02)


@in_event_loop
async def test_a_slow_batch_that_is_given_up_repeatedly_is_not_poison() -> None:
    store, log = InMemoryStateStore(), Log({0: [Packed(0, 99)]})
    loop, being_unpacked = asyncio.get_running_loop(), asyncio.Event()
    given_up = threading.Event()

    def unpack(_batch: RawBatch) -> None:
        loop.call_soon_threadsafe(being_unpacked.set)
        given_up.wait()

    log.on_unpack = unpack
    died_here(store, 0)
    for turn in range(2 * MAX_ATTEMPTS):
        worker = GuardedFetchWorker(store, log, f"worker-{turn}")
        await worker.ownership.take([0], 2 + turn)
        being_unpacked.clear()
        given_up.clear()
        looking = asyncio.ensure_future(worker.guarded_fetch.fetch_due())
        await being_unpacked.wait()
        assert left(store, 0) == AttemptMarker(99, 1, decompressing=True)
        await worker.give_up()
        assert left(store, 0) == AttemptMarker(99, 0, decompressing=True)
        given_up.set()
        await looking
        died_here_again = store.hashes[partition_key(TOPIC, 0)]
        died_here_again["_att"] = b"%d" % MAX_ATTEMPTS
    died, worker = await until_survived(store, log, 0)
    assert (died, worker.seen(0), worker.dead_letters.dead_letters) == (0, list(range(100)), 0)


@pytest.mark.parametrize(
    "before",
    [
        None,
        AttemptMarker(10, 1),
        AttemptMarker(40, 3),
        AttemptMarker(99, 1),
        AttemptMarker(99, 2, decompressing=True),
    ],
)
@in_event_loop
async def test_a_crashing_batch_is_skipped_with_any_attempt_marker_before(
    before: AttemptMarker | None,
) -> None:
    bomb = Packed(10, 99)
    store, log = InMemoryStateStore(), Log({0: [Packed(0, 9), bomb, Packed(100, 120)]})
    log.on_unpack = kills(bomb)  # type: ignore[assignment]
    died_here(store, 0, 5)
    if before is not None:
        store.hashes[partition_key(TOPIC, 0)][ATTEMPT_FIELD] = before.encoded()

    died, worker = await until_survived(store, log, 0)

    fold = cast("ListFold", worker.owned(0).partition_state)
    assert died == (
        MAX_ATTEMPTS - before.times if before and before.decompressing else MAX_ATTEMPTS
    )
    assert fold.skipped == list(range(10, 100))
    assert worker.seen(0) == list(range(121))
    assert worker.dead_letters.dead_letters == 90
    assert worker.reader.placed == {0: 121}


@in_event_loop
async def test_crashes_of_one_partition_are_not_attributed_to_another() -> None:
    bomb = Packed(0, 9)
    log = Log({0: [Packed(0, 9, aborted=True), Packed(10, 19)], 1: [bomb, Packed(10, 19)]})
    log.on_unpack = kills(bomb, partition=1)  # type: ignore[assignment]
    store = InMemoryStateStore()
    for partition in log.batches:
        died_here(store, partition)

    died, worker = await until_survived(store, log, 0, 1)

    assert died == MAX_ATTEMPTS
    assert worker.seen(0) == list(range(10, 20))
    assert worker.dead_letters.dead_letters == 10


@in_event_loop
async def test_librdkafka_continues_after_a_skipped_batch_and_never_inside_it() -> None:
    last = SINGLE_BATCH_OFFSETS + 3 * MAX_SKIPPED_RECORDS + 7
    bomb = Packed(5, last)
    store, log = (InMemoryStateStore(), Log({0: [Packed(0, 4), bomb, Packed(last + 1, last + 9)]}))
    log.on_unpack = kills(bomb)  # type: ignore[assignment]
    died_here(store, 0)

    died, worker = await until_survived(store, log, 0)

    assert died == MAX_ATTEMPTS
    assert worker.reader.placed == {0: last + 1}
    assert worker.dead_letters.dead_letters == last - 4
    assert log.fetched[0] < 4 * (MAX_ATTEMPTS + 1)  # not for each thousand


@in_event_loop
async def test_a_damaged_batch_is_skipped_after_so_many_fetches() -> None:
    store, log = InMemoryStateStore(), Log({0: [Packed(0, 9), Packed(10, 29), Packed(30, 39)]})

    def unpack(batch: RawBatch) -> None:
        if batch.last == 29:
            raise UnreadableBatch("odd bytes")

    log.on_unpack = unpack
    died_here(store, 0)
    died, worker = await until_survived(store, log, 0)
    assert (died, worker.dead_letters.dead_letters, log.fetched[0]) == (0, 20, MAX_ATTEMPTS + 3)
    assert worker.seen(0) == list(range(40))


@in_event_loop
async def test_a_partition_that_does_not_answer_holds_up_no_other() -> None:
    store, log = InMemoryStateStore(), Log({0: [Packed(0, 9)], 1: [Packed(0, 9)]})
    log.silent = {0}
    for partition in log.batches:
        died_here(store, partition)
    worker = GuardedFetchWorker(store, log, "worker")
    await worker.ownership.take([0, 1], 2)

    await worker.guarded_fetch.fetch_due()
    assert worker.reader.placed == {1: 10}
    await worker.guarded_fetch.fetch_due()
    assert log.fetched[0] == 1  # it has to wait

    log.silent = set()
    worker.now_s += PAUSE_S
    await worker.guarded_fetch.fetch_due()
    assert worker.reader.placed == {0: 10, 1: 10}
    assert worker.seen(0) == worker.seen(1) == list(range(10))


@in_event_loop
async def test_lag_is_measured_where_librdkafka_does_not_read() -> None:
    store, log = InMemoryStateStore(), Log({0: [Packed(0, 9), Packed(10, 99)]})
    log.on_unpack = kills(Packed(10, 99))  # type: ignore[assignment]
    died_here(store, 0)
    worker = GuardedFetchWorker(store, log, "worker")
    await worker.ownership.take([0], 2)
    with pytest.raises(Death):
        await worker.guarded_fetch.fetch_due()
    assert worker.guarded_fetch.lags() == {0: 90}
