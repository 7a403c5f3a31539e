"""Sending again: a segment goes when each record is settled; slowly while Kafka is away."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from producer.counters import LoggerState
from producer.spool.disk_spool import DiskSpool
from producer.spool.resender import (
    MAX_OUTSTANDING,
    MAX_PER_S,
    RETRY_PAUSE_S,
    OnDelivery,
    SpoolResender,
)
from producer.spool.segment_format import SpooledRecord

LARGE = 1 << 20
ROOM = 1_000_000
EXPIRED = KafkaError(KafkaError._MSG_TIMED_OUT)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


class Kafka:
    """Takes records and answers when the test says so."""

    def __init__(self) -> None:
        self.on_their_way: list[tuple[SpooledRecord, OnDelivery]] = []
        self.acknowledged: list[SpooledRecord] = []
        self.room = ROOM

    def send(self, record: SpooledRecord, on_delivery: OnDelivery) -> KafkaError | None:
        if self.room == 0:
            raise BufferError
        self.room -= 1
        self.on_their_way.append((record, on_delivery))
        return None

    def answer(self, error: KafkaError | None = None, n: int = ROOM) -> None:
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
        kept = self.spool.write(self.wanted, self.now_s)
        if ours:
            self.state.count_spooled(kept.spooled)
        else:
            self.spool.close()
            self.spool = DiskSpool(folder, LARGE)
        self.spool.maintain(self.now_s)
        self.replay = SpoolResender(self.spool, self.state, self.kafka.send)
        self.folder = folder

    def run(self, after_s: float = 1.0, room: int = ROOM) -> int:
        """One pass of the thread; answers how many records are on their way."""
        self.now_s += after_s
        self.replay.run(self.now_s, room)
        return len(self.kafka.on_their_way)

    def segments(self) -> list[Path]:
        return sorted(self.folder.rglob("*.segment"))


@pytest.mark.parametrize("ours", [True, False])
def test_a_segment_goes_with_the_last_acknowledgement_not_before(
    tmp_path: Path, *, ours: bool
) -> None:
    scene = Scene(tmp_path, 8, ours=ours)
    for _ in range(3):  # 1, 2 and 4 at a time
        scene.run()
        scene.kafka.answer()
    assert scene.run() == 1
    assert scene.run() == 1
    assert len(scene.segments()) == 1

    scene.kafka.answer()
    scene.run()
    assert scene.segments() == []
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
    assert scene.segments() == []


def test_what_failed_is_sent_again_before_its_segment_goes(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 1, ours=False)
    scene.run()
    scene.kafka.answer(EXPIRED)
    scene.run()
    assert len(scene.segments()) == 1

    scene.kafka.answer()
    scene.run()
    assert scene.segments() == []
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
    assert scene.run(room=7) == 7


def test_a_full_queue_of_librdkafka_loses_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 50, ours=True)
    for room in [1, 0, 1, 2, 0, 3, *[50] * 8]:
        scene.kafka.room = room
        scene.run()
        scene.kafka.answer()

    assert scene.kafka.acknowledged == scene.wanted
    assert scene.segments() == []


@pytest.mark.parametrize("ours", [True, False])
def test_what_kafka_refuses_for_its_own_sake_is_lost_and_counted(
    tmp_path: Path, *, ours: bool
) -> None:
    scene = Scene(tmp_path, 2, ours=ours)
    scene.run()
    scene.kafka.answer(TOO_LARGE)
    scene.run()
    scene.kafka.answer()
    scene.run()

    counters = scene.state.snapshot()
    assert scene.segments() == []
    assert counters.dropped == ({"msg_size_too_large": 1} if ours else {})
    assert counters.unrecoverable == (0 if ours else 1)
    assert counters.delivered + counters.recovered == 1


@pytest.mark.parametrize("harm", ["flip", "remove"])
def test_what_of_ours_cannot_be_read_again_is_counted_exactly(tmp_path: Path, harm: str) -> None:
    scene = Scene(tmp_path, 10, ours=True)
    (file,) = scene.segments()
    content = file.read_bytes()
    if harm == "flip":  # two neighbours: one damaged stretch
        file.write_bytes(content.replace(b"00003", b"0000x").replace(b"00004", b"0000x"))
    else:
        file.unlink()
    for _ in range(8):
        scene.run()
        scene.kafka.answer()

    lost = 2 if harm == "flip" else 10
    counters = scene.state.snapshot()
    assert counters.dropped == {"spool_damaged": lost}
    assert (counters.delivered, counters.spooled) == (10 - lost, 0)


def test_a_segment_the_disk_does_not_give_back_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, 3, ours=True)
    (file,) = scene.segments()
    assert scene.spool.oldest() is not None  # it is written no more
    scene.spool.write([SpooledRecord("t", b"k", "/s", b"next")], scene.now_s)
    scene.state.count_spooled(1)
    read = Path.read_bytes

    def broken(path: Path) -> bytes:
        if path == file:
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", broken)
    for _ in range(4):
        scene.run()
        scene.kafka.answer()

    counters = scene.state.snapshot()
    assert counters.dropped == {"spool_failed": 3}
    assert (counters.delivered, counters.spooled) == (1, 0)
    assert scene.segments() == [file]  # for a later process
