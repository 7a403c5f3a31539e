"""A spool file is removed when each record has a result; few are sent while Kafka is away."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from producer.counters import LoggerState
from producer.spool.disk_spool import DiskSpool
from producer.spool.spool import MAX_OUTSTANDING, MAX_PER_S, RETRY_PAUSE_S, OnDelivery, Spool
from producer.spool.spool_file import SpooledRecord, SpoolFile

LARGE = 1 << 20
QUEUE_SLOTS = 1_000_000
EXPIRED = KafkaError(KafkaError._MSG_TIMED_OUT)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


class Kafka:
    """Accepts records and acknowledges them when the test calls `answer`."""

    def __init__(self) -> None:
        self.on_their_way: list[tuple[SpooledRecord, OnDelivery]] = []
        self.acknowledged: list[SpooledRecord] = []
        self.free_slots = QUEUE_SLOTS

    def send(self, record: SpooledRecord, on_delivery: OnDelivery) -> KafkaError | None:
        if self.free_slots == 0:
            raise BufferError
        self.free_slots -= 1
        self.on_their_way.append((record, on_delivery))
        return None

    def answer(self, error: KafkaError | None = None, n: int = QUEUE_SLOTS) -> None:
        answered, self.on_their_way = self.on_their_way[:n], self.on_their_way[n:]
        for record, on_delivery in answered:
            if error is None:
                self.acknowledged.append(record)
            on_delivery(error, None)  # type: ignore[arg-type]


class Scene:
    """A spool with records in it, of this process or of a dead one, and a clock."""

    def __init__(self, folder: Path, n: int, *, ours: bool) -> None:
        self.kafka, self.state, self.now_s = Kafka(), LoggerState(), 1_000.0
        self.wanted = [SpooledRecord("t", b"k", "/s", f"{i:05d}".encode()) for i in range(n)]
        self.spool = DiskSpool(folder, LARGE)
        kept = self.spool.write(self.wanted)
        if ours:
            self.state.count_spooled(kept.spooled)
        else:
            self.spool.close()
            self.spool = DiskSpool(folder, LARGE)
        self.spool.maintain(self.now_s)
        self.problems: list[str] = []
        self.replay = Spool(self.spool, self.state, self.kafka.send, self.problems.append)
        self.folder = folder

    def run(self, after_s: float = 1.0, free_slots: int = QUEUE_SLOTS) -> int:
        """One pass of the thread; answers how many records are on their way."""
        self.now_s += after_s
        self.replay.maintain(self.now_s, free_slots)
        return len(self.kafka.on_their_way)

    def settle(self) -> None:
        """Passes in which nothing is left to send: one removes the records, one the file."""
        self.run()
        self.run()

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.spool*"))


@pytest.mark.parametrize("ours", [True, False])
def test_a_file_is_removed_with_the_last_acknowledgement_not_before(
    tmp_path: Path, *, ours: bool
) -> None:
    scene = Scene(tmp_path, 8, ours=ours)
    for _ in range(3):  # 1, 2 and 4 at a time
        scene.run()
        scene.kafka.answer()
    assert scene.run() == 1
    assert len(scene.files()) > 0

    scene.kafka.answer()
    scene.settle()
    assert scene.files() == []
    assert scene.kafka.acknowledged == scene.wanted
    counters = scene.state.snapshot()
    assert (counters.delivered, counters.spooled) == ((8, 0) if ours else (0, 0))
    assert counters.recovered == (0 if ours else 8)


def test_while_kafka_is_away_one_record_is_tried_after_a_pause(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 100, ours=True)
    for _ in range(4):
        scene.run()
        scene.kafka.answer()
    assert scene.run() == 16
    scene.kafka.answer(EXPIRED)

    assert scene.run(RETRY_PAUSE_S / 2) == 0
    assert scene.run(RETRY_PAUSE_S) == 1
    assert scene.state.snapshot().spooled == 100 - 15
    for _ in range(20):
        scene.kafka.answer()
        scene.run()
    assert sorted(scene.kafka.acknowledged, key=lambda r: r.value) == scene.wanted
    assert scene.files() == []


def test_a_failed_record_is_sent_again_before_its_file_is_removed(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 1, ours=False)
    scene.run()
    scene.kafka.answer(EXPIRED)
    scene.run()
    assert len(scene.files()) == 1

    scene.kafka.answer()
    scene.run()
    assert scene.files() == []
    assert scene.state.snapshot().recovered == 1


def test_neither_memory_nor_kafka_is_flooded(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 5_000, ours=True)
    while (outstanding := scene.run()) < MAX_OUTSTANDING:
        scene.kafka.answer()
    assert outstanding == scene.run() == MAX_OUTSTANDING

    scene.kafka.answer()
    assert scene.run(0.01) == MAX_OUTSTANDING  # a burst, after a second of nothing
    scene.kafka.answer()
    assert scene.run(0.01) <= 0.01 * MAX_PER_S + 1
    scene.kafka.answer()
    assert scene.run(free_slots=7) == 7


def test_a_full_queue_of_librdkafka_loses_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 50, ours=True)
    for free_slots in [1, 0, 1, 2, 0, 3, *[50] * 8]:
        scene.kafka.free_slots = free_slots
        scene.run()
        scene.kafka.answer()

    assert scene.kafka.acknowledged == scene.wanted
    assert scene.files() == []


@pytest.mark.parametrize("ours", [True, False])
def test_a_record_with_a_permanent_error_is_lost_and_counted(tmp_path: Path, *, ours: bool) -> None:
    scene = Scene(tmp_path, 2, ours=ours)
    scene.run()
    scene.kafka.answer(TOO_LARGE)
    scene.run()
    scene.kafka.answer()
    scene.run()

    counters = scene.state.snapshot()
    assert scene.files() == []
    assert counters.dropped == ({"msg_size_too_large": 1} if ours else {})
    assert counters.unrecoverable == (0 if ours else 1)
    assert counters.delivered + counters.recovered == 1


def damage(file: Path, old: bytes, new: bytes) -> None:
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new))


def test_damaged_records_of_an_ended_process_are_skipped_and_counted(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 10, ours=True)
    scene.spool.close()
    (file,) = scene.files()
    damage(file, b"00003", b"0000x")
    damage(file, b"00007", b"0000y")
    heir = Scene(tmp_path, 0, ours=False)
    for _ in range(4):
        heir.run()
        heir.kafka.answer()
    heir.settle()

    assert heir.kafka.acknowledged == [r for r in scene.wanted if r.value[-1:] not in b"37"]
    counters = heir.state.snapshot()
    assert (counters.recovered, counters.unrecoverable, heir.files()) == (8, 2, [])


def test_missing_rows_of_the_own_spool_file_are_counted(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 10, ours=True)
    file = scene.spool.oldest()
    assert file is not None
    file._connection.execute("DELETE FROM records WHERE position > 7")
    for _ in range(4):
        scene.run()
        scene.kafka.answer()
    scene.settle()

    counters = scene.state.snapshot()
    assert (counters.delivered, counters.spooled, counters.dropped) == (7, 0, {"spool_damaged": 3})


@pytest.mark.parametrize(
    ("code", "reason", "name"),
    [
        (sqlite3.SQLITE_IOERR_READ, "spool_failed", "{}"),
        (sqlite3.SQLITE_CORRUPT, "spool_damaged", "{}.corrupt"),
    ],
)
def test_a_file_that_cannot_be_read_is_kept_and_named_and_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str, name: str
) -> None:
    scene = Scene(tmp_path, 3, ours=True)
    (file, *_) = scene.files()
    first = SpoolFile.first

    def broken(spool_file: SpoolFile) -> object:
        if spool_file.path == file:
            error = sqlite3.DatabaseError("cannot read")
            error.sqlite_errorcode = code
            raise error
        return first(spool_file)

    monkeypatch.setattr(SpoolFile, "first", broken)
    scene.run()
    scene.spool.write([SpooledRecord("t", b"k", "/s", b"next")])
    scene.state.count_spooled(1)
    for _ in range(4):
        scene.run()
        scene.kafka.answer()

    counters = scene.state.snapshot()
    assert counters.dropped == {reason: 3}
    assert (counters.delivered, counters.spooled) == (1, 0)
    assert [path.name for path in scene.files()] == [name.format(file.name)]  # for a later process
    assert scene.problems == [f"spool: {scene.files()[0]}: cannot read"]
