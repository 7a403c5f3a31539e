"""A log read batch by batch holds the very records that librdkafka reads."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from producer.events import CE_TYPE_OF, InferenceEvent
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.runtime.poison_records import RawBatch, RawBatchReader, UnreadableBatch
from stream_monitor.runtime.reader import EventTopicReader, FetchPosition, ReadFailure

pytestmark = pytest.mark.kafka

Headers: TypeAlias = list[tuple[str, str | bytes | None]]
CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
TAG: Final = "epoch.1"
KIND: Final = CE_TYPE_OF[InferenceEvent].encode()


def write(broker: str, topic: str) -> None:
    """Batches of all codecs: plain ones, of committed transactions, and of aborted ones."""
    chance = random.Random(7)  # noqa: S311
    for codec in CODECS:
        for fate in ("", "committed", "aborted"):
            transactional = {"transactional.id": uuid.uuid4().hex} if fate else {}
            producer = Producer(
                {"bootstrap.servers": broker, "compression.type": codec, **transactional}
            )
            if fate:
                producer.init_transactions()
                producer.begin_transaction()
            for number in range(chance.randint(2, 40)):
                with_kind: Headers = [("ce_type", KIND), ("x", None)]
                headers = with_kind if number % 3 else []
                value = None if number % 7 == 3 else b"%s-%d" % (codec.encode(), number) * 20
                producer.produce(topic, value, key=b"k", headers=headers)
            assert producer.flush(30) == 0
            if fate == "committed":
                producer.commit_transaction()
            elif fate:
                producer.abort_transaction()


@pytest.fixture
def topic(kafka_broker: str) -> Iterator[str]:
    name = f"packed-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka_broker})
    for made in admin.create_topics([NewTopic(name, 1)]).values():
        made.result(20)
    yield name
    for gone in admin.delete_topics([name]).values():
        gone.result(20)


async def by_librdkafka(broker: str, topic: str, start: int) -> tuple[list[ConsumerRecord], int]:
    """Records from ``start`` on, and the position behind them."""
    reader = EventTopicReader(
        {"bootstrap.servers": broker}, topic, group="packed", max_records=10_000, idle_s=5
    )
    await reader.seek({0: FetchPosition(TAG, start)})
    records: list[ConsumerRecord] = []
    upto = start
    while batches := (await reader.read()).batches:
        for batch in batches:
            records += batch.records
            upto = batch.next
    await reader.close()
    return records, upto


def records_and_kinds(records: list[ConsumerRecord]) -> list[tuple[ConsumerRecord, str]]:
    """Records without the message they came in, and who wrote each."""
    return [(msgspec.structs.replace(each, header_source=None), each.source) for each in records]


async def by_batches(broker: str, topic: str, start: int) -> tuple[list[ConsumerRecord], int, int]:
    """The same, and how many batches it were."""
    reader = RawBatchReader(topic, [broker], None)
    records: list[ConsumerRecord] = []
    n_batches, upto = 0, start
    while (found := await reader.fetch(0, FetchPosition(TAG, upto))) is not None:
        assert isinstance(found, RawBatch)
        batch = found.decompress()
        assert batch.start == upto <= found.last
        assert batch.next == found.last + 1
        assert found.compressed or not batch.records or b"none" in (batch.records[0].value or b"")
        records += batch.records
        n_batches, upto = n_batches + 1, batch.next
    await reader.close()
    return records, upto, n_batches


def test_batch_by_batch_the_same_records_are_read_from_anywhere(
    kafka_broker: str, topic: str
) -> None:
    write(kafka_broker, topic)
    records, end = asyncio.run(by_librdkafka(kafka_broker, topic, 0))
    assert len(records) > 100
    for start in (0, 1, *range(7, end, 29)):
        theirs = [record for record in records if record.offset >= start]
        ours, upto, n_batches = asyncio.run(by_batches(kafka_broker, topic, start))
        assert records_and_kinds(ours) == records_and_kinds(theirs)
        assert upto == end
        assert n_batches > 1 or start >= end - 50


def test_a_position_out_of_range_and_an_unreachable_broker_are_errors(
    kafka_broker: str, topic: str
) -> None:
    write(kafka_broker, topic)
    _records, end = asyncio.run(by_librdkafka(kafka_broker, topic, 0))

    async def answers() -> list[object]:
        reader = RawBatchReader(topic, [kafka_broker], None)
        elsewhere = RawBatchReader(topic, ["127.0.0.1:1"], None)
        try:
            return [
                await reader.fetch(0, FetchPosition(TAG, end)),
                await reader.fetch(0, FetchPosition(TAG, end + 1)),
                await elsewhere.fetch(0, FetchPosition(TAG, 3)),
            ]
        finally:
            await reader.close()

    nothing, beyond, unanswered = asyncio.run(answers())
    assert nothing is None
    assert isinstance(beyond, ReadFailure)
    assert (beyond.kind, beyond.position, beyond.fetch_generation) == ("out_of_range", end + 1, TAG)
    assert isinstance(unanswered, ReadFailure)
    assert unanswered.kind == "other"


def test_a_batch_with_any_damaged_byte_is_rejected(kafka_broker: str, topic: str) -> None:
    write(kafka_broker, topic)

    async def first() -> RawBatch:
        reader = RawBatchReader(topic, [kafka_broker], None)
        found = await reader.fetch(0, FetchPosition(TAG, 0))
        await reader.close()
        assert isinstance(found, RawBatch)
        return found

    whole = asyncio.run(first())
    crc_covers = 21
    for at in range(crc_covers, len(whole.raw)):
        damaged = bytearray(whole.raw)
        damaged[at] ^= 0x55
        with pytest.raises(UnreadableBatch):
            whole._replace(raw=bytes(damaged)).decompress()
