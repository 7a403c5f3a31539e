"""A hundred thousand records, many damaged: none crashes the monitor, each is counted once."""

from __future__ import annotations

import os
import random
from typing import Final

import msgspec

from producer.codec import encode
from producer.events import CE_TYPE_OF
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.state.partition_state import PartitionStateFactory
from tests.chaos.test_corrupt_state import ODD, damaged
from tests.hypothesis_profiles import examples
from tests.integration.monitor_harness import log_of

N_RECORDS: Final = int(os.environ.get("DRIFTLINE_FUZZED", examples(100_000)))
BATCH: Final = 2_000
HURT: Final = 0.3
KINDS: Final = (None, "", "io.driftline.unknown.v1", *CE_TYPE_OF.values())
FOLDS: Final = PartitionStateFactory(MonitorSpec(warm_up_events=500, warm_up_labels=300), "fuzz")


def hurt(value: bytes, kind: str | None, chance: random.Random) -> tuple[bytes, str | None]:
    """The record with its bytes, one of its values, or its kind changed."""
    how = chance.random()
    if how < 0.4 and value:
        return damaged(value, chance), kind
    if how < 0.5:
        return value, chance.choice(KINDS)
    try:
        body = msgspec.json.decode(value)
        inner = body["features"] if how < 0.8 else body
        inner[chance.choice([*inner, "new"])] = chance.choice(ODD)
        return msgspec.json.encode(body), kind
    except (msgspec.DecodeError, RecursionError, TypeError, KeyError, ValueError):
        return value, kind


def fuzzed(n_records: int) -> list[ConsumerRecord]:
    chance = random.Random(17)  # noqa: S311
    records: list[ConsumerRecord] = []
    while len(records) < n_records:
        for event in log_of("churn", len(records), 20_000):
            value = event if isinstance(event, bytes) else encode(event)
            kind = None if isinstance(event, bytes) else CE_TYPE_OF[type(event)]
            if chance.random() < HURT:
                value, kind = hurt(value, kind, chance)
            records.append(ConsumerRecord(len(records), 1_800_000_000_000, kind, value))
    return records[:n_records]


def test_every_record_is_counted_once() -> None:
    records = fuzzed(N_RECORDS)
    fold = FOLDS.new("log", 0)
    rejected = 0
    for start in range(0, N_RECORDS, BATCH):
        part = records[start : start + BATCH]
        seen = fold.observe(RecordBatch("log", 0, "e", start, start + len(part), part))
        rejected += len(seen.dead_letters)
        fold.take_changes()
        assert sum(fold.outcomes().values()) == start + len(part)
    assert rejected == fold.outcomes()["dead_lettered"]
    events = fold.outcomes()["valid"] + fold.outcomes()["late"]  # a time of its own makes it late
    assert min(rejected, events, fold.outcomes()["labels"]) > N_RECORDS // 50
