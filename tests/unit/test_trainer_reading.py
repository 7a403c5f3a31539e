"""Ranges of events are read around unreadable batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from producer.codec import encode
from tests.builders import inference_event
from trainer.dataset.collector import Collector
from trainer.dataset.range_reader import MAX_FETCH_ATTEMPTS, RangeReader, ReadRange


class Record:
    """A message: an event, or an error."""

    def __init__(self, offset: int, error: int | None = None) -> None:
        self._offset, self._error = offset, error

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return None if self._error is None else KafkaError(self._error)

    def value(self) -> bytes:
        return encode(inference_event(str(self._offset), {}, time_ms=1))

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, 1


class Scripted:
    """A consumer that answers with lists, one a turn."""

    def __init__(self, turns: list[list[Record]]) -> None:
        self._turns = iter(turns)
        self._rest: list[Record] = []
        self.sought: list[int] = []

    def consume(self, n_messages: int, _timeout_s: float) -> list[Record]:
        if n_messages == 1:
            self._rest = list(next(self._turns, []))
        taken, self._rest = self._rest[:n_messages], self._rest[n_messages:]
        return taken

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return 0, 20

    def seek(self, place: Any) -> None:
        self.sought.append(place.offset)

    def pause(self, _places: Any) -> None:
        """Nothing more comes by itself."""

    def close(self) -> None:
        """There is no connection."""


BAD = KafkaError._BAD_COMPRESSION


def bad(batch: int) -> Record:
    return Record(batch, BAD)


@pytest.fixture
def reading(mock_broker: str) -> Iterator[RangeReader]:
    with RangeReader(
        {"bootstrap.servers": mock_broker}, "log", [ReadRange(0, 0)], Collector("m", max_rows=99)
    ) as reading:
        reading._consumer.close()
        yield reading


def read(reading: RangeReader, turns: list[list[Record]]) -> list[int]:
    """Take some turns; where was sought."""
    scripted = Scripted(turns)
    reading._consumer = scripted  # type: ignore[assignment]
    for _ in turns:
        reading.poll(0)
    return scripted.sought


def good(first: int, upto: int) -> list[Record]:
    return [Record(offset) for offset in range(first, upto)]


def test_errors_since_the_last_read_are_reported_as_one(reading: RangeReader) -> None:
    assert read(reading, [[*good(0, 5), *[bad(5)] * 300]]) == []
    assert (reading.read, reading.rejected) == (5, 0)


def test_a_record_is_skipped_after_its_attempts_and_valid_ones_are_not(
    reading: RangeReader,
) -> None:
    turns = [[*good(0, 5), bad(5)], *[[bad(5)] * 9] * (MAX_FETCH_ATTEMPTS - 1), good(6, 9)]
    assert read(reading, turns) == [6]
    assert (reading.read, reading.rejected) == (9, 1)
    assert reading.collector.events == 8
    assert [(r.start, r.end) for r in reading.ranges()] == [(0, 9)]


def test_a_known_unreadable_batch_is_skipped_at_its_next_error(reading: RangeReader) -> None:
    assert read(reading, [[bad(0)]] * (MAX_FETCH_ATTEMPTS + 2)) == [1, 2, 3]
    assert read(reading, [[bad(3)]] * (MAX_FETCH_ATTEMPTS - 1)) == []  # another one


def test_reading_starts_at_the_oldest_batch(reading: RangeReader) -> None:
    assert read(reading, [[bad(12)]] * MAX_FETCH_ATTEMPTS) == [13]
    assert [(r.start, r.end) for r in reading.ranges()] == [(12, 13)]


def test_another_error_is_for_the_caller(reading: RangeReader) -> None:
    with pytest.raises(KafkaException):
        read(reading, [[*good(0, 5), Record(5, KafkaError._TRANSPORT), *good(5, 9)]])


def test_an_empty_poll_is_not_the_end_of_the_partition(reading: RangeReader) -> None:
    read(reading, [good(0, 19), []])
    assert not reading.at_end
    read(reading, [good(19, 20)])
    assert reading.at_end
