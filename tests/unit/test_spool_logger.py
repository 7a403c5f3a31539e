"""A logger with a spool: what Kafka did not take lies on disk, and arrives when Kafka is there."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from producer.cloudevents import event_headers
from producer.counters import Counters
from producer.events import InferenceEvent
from producer.logger import InferenceLogger
from producer.spool import disk_spool
from producer.spool.disk_spool import DiskSpool, bytes_in
from tests.unit.test_producer_logger import UNREACHABLE, read

TIMEOUT_S = 20.0


def logger_on(servers: str, spool: Path | None, **settings: Any) -> InferenceLogger:
    return InferenceLogger(servers, model="m", version="1", spool=spool, **settings)


def log_many(log: InferenceLogger, n: int) -> list[str]:
    return [log.log(features={"a": 1.0}, prediction=0.5) for _ in range(n)]


def adds_up(counters: Counters) -> bool:
    known = counters.delivered + sum(counters.dropped.values()) + counters.spooled
    return counters.accepted == known + counters.in_flight and counters.in_flight >= 0


def eventually(log: InferenceLogger, holds: Callable[[Counters], bool]) -> Counters:
    deadline = time.monotonic() + TIMEOUT_S
    while not holds(counters := log.counters()):
        assert time.monotonic() < deadline, counters
        assert adds_up(counters)
    assert adds_up(counters)
    return counters


def left_by_a_dead_process(spool: Path, n: int, **settings: Any) -> list[str]:
    log = logger_on(UNREACHABLE, spool, **settings)
    ids = log_many(log, n)
    log.close(0)
    assert log.counters() == Counters(accepted=n, delivered=0, dropped={}, in_flight=0, spooled=n)
    return ids


def test_unsent_events_are_spooled_at_close_and_sent_by_the_next_process(
    tmp_path: Path, mock_broker: str
) -> None:
    ids = left_by_a_dead_process(tmp_path, 700)
    log = logger_on(mock_broker, tmp_path)
    own = log_many(log, 3)

    counters = eventually(log, lambda c: c.recovered == 700 and c.delivered == 3)
    assert (counters.spooled, counters.dropped, counters.unrecoverable) == (0, {}, 0)
    events = [event for event, _ in read(mock_broker, 703)]
    assert sorted(event.id for event in events) == sorted(ids + own)
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_spooled_events_arrive_with_their_original_headers(
    tmp_path: Path, mock_broker: str
) -> None:
    left_by_a_dead_process(tmp_path, 1, source="/the/first")
    log = logger_on(mock_broker, tmp_path, source="/the/second")
    eventually(log, lambda c: c.recovered == 1)

    ((event, found),) = read(mock_broker, 1)
    assert isinstance(event, InferenceEvent)
    assert found == dict(event_headers(event, source="/the/first"))
    log.close()


def test_without_a_spool_what_is_left_at_close_is_counted_as_lost() -> None:
    log = logger_on(UNREACHABLE, None)
    log_many(log, 20)
    log.close(0)

    assert log.counters() == Counters(
        accepted=20, delivered=0, dropped={"undelivered": 20}, in_flight=0
    )


def test_an_expired_event_is_spooled(tmp_path: Path) -> None:
    log = logger_on(UNREACHABLE, tmp_path, message_timeout_ms=50)
    log_many(log, 20)

    eventually(log, lambda c: c.spooled == 20)
    log.close(0)


def test_while_kafka_is_away_memory_is_bounded_and_the_rest_goes_to_disk(tmp_path: Path) -> None:
    log = logger_on(UNREACHABLE, tmp_path, max_messages=100)
    for _ in range(60):
        log_many(log, 50)
        assert log.counters().in_flight <= 100 + 100 + 500  # ours, librdkafka's, one batch
        eventually(log, lambda _: len(log._state.queue) <= 50)  # the door stays open

    assert log.counters().dropped == {}
    log.close(0)
    assert log.counters().spooled == 3_000


def test_a_full_spool_is_counted(tmp_path: Path) -> None:
    log = logger_on(UNREACHABLE, tmp_path, spool_max_bytes=40_000)
    log_many(log, 1_000)
    log.close(0)
    counters = log.counters()

    assert adds_up(counters)
    assert counters.spooled > 0
    assert counters.dropped == {"spool_full": 1_000 - counters.spooled}
    assert bytes_in(tmp_path) <= 40_000


def test_a_disk_error_is_counted_and_never_raised(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    log = logger_on(UNREACHABLE, tmp_path / "spool")
    log_many(log, 10)
    log.close(0)

    assert log.counters() == Counters(
        accepted=10, delivered=0, dropped={"spool_failed": 10}, in_flight=0
    )


def test_an_invalid_event_is_not_spooled(tmp_path: Path) -> None:
    log = logger_on(UNREACHABLE, tmp_path)
    log.log(features={"a": object()}, prediction=1.0)
    log.close(0)

    assert log.counters().dropped == {"invalid": 1}
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_record_of_an_earlier_process_is_skipped_and_counted(
    tmp_path: Path, mock_broker: str
) -> None:
    ids = left_by_a_dead_process(tmp_path, 3)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    file.write_bytes(content.replace(ids[1].encode(), b"-" * len(ids[1])))
    log = logger_on(mock_broker, tmp_path)

    eventually(log, lambda c: (c.recovered, c.unrecoverable) == (2, 1))
    assert [event.id for event, _ in read(mock_broker, 2)] == [ids[0], ids[2]]
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_a_newer_program_is_left_alone(tmp_path: Path, mock_broker: str) -> None:
    left_by_a_dead_process(tmp_path, 3)
    (file,) = tmp_path.iterdir()
    with closing(sqlite3.connect(file)) as newer:
        newer.execute("PRAGMA user_version = 2")
    log = logger_on(mock_broker, tmp_path)
    log_many(log, 1)
    assert log.flush(10) == 0
    log.close()

    assert log.counters().recovered == 0
    assert file.exists()


def test_a_permanent_error_of_one_record_does_not_stop_the_others(
    tmp_path: Path, mock_broker: str
) -> None:
    dead = logger_on(UNREACHABLE, tmp_path)
    dead.log(features={f"f{i}": "x" * 100 for i in range(100)}, prediction=0.5)
    log_many(dead, 2)
    dead.close(0)
    log = logger_on(mock_broker, tmp_path, librdkafka={"message.max.bytes": 5_000})

    eventually(log, lambda c: (c.recovered, c.unrecoverable) == (2, 1))
    log.close()


def test_a_forked_child_has_a_spool_of_its_own(tmp_path: Path, mock_broker: str) -> None:
    parent = logger_on(UNREACHABLE, tmp_path, message_timeout_ms=50)
    log_many(parent, 5)
    eventually(parent, lambda c: c.spooled == 5)
    child = os.fork()
    if child == 0:
        log_many(parent, 7)
        parent.close(0)
        os._exit(parent.counters().spooled != 7)
    assert os.waitpid(child, 0)[1] == 0

    heir = logger_on(mock_broker, tmp_path)
    eventually(heir, lambda c: c.recovered == 7)  # the child's; the parent lives
    parent.close(0)
    assert parent.counters().spooled == 5
    heir.close()


@pytest.mark.parametrize("method", ["maintain", "write"])
def test_a_surprise_of_the_spool_does_not_end_the_thread(
    tmp_path: Path, mock_broker: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def surprise(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(DiskSpool, method, surprise)
    log = logger_on(mock_broker, tmp_path)
    log_many(log, 10)

    assert log.flush(10) == 0
    assert log.counters().delivered == 10
    log.close()


def test_events_lost_by_an_unexpected_error_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(DiskSpool, "write", surprise)
    log = logger_on(UNREACHABLE, tmp_path)
    log_many(log, 10)
    log.close(0)

    assert log.counters().dropped == {"spool_failed": 10}


def test_a_process_that_ends_after_the_start_of_another_is_taken_over_too(
    tmp_path: Path, mock_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_spool, "_SCAN_INTERVAL_S", 0.05)
    heir = logger_on(mock_broker, tmp_path)
    log_many(heir, 1)
    assert heir.flush(10) == 0
    left_by_a_dead_process(tmp_path, 4)

    eventually(heir, lambda c: c.recovered == 4)
    heir.close()
