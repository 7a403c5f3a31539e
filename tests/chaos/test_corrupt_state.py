"""Damaged state is noticed before anything is built from it, and nothing in it causes a panic."""

from __future__ import annotations

import contextlib
import functools
import os
import random
from typing import Any, Final

import msgspec
import pytest

from producer.codec import encode
from producer.events import CE_TYPE_OF, Event
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.state.codec import decode_state, encode_state
from stream_monitor.state.partition_state import PartitionStateFactory
from stream_monitor.state_parts import CorruptState
from tests.integration.monitor_harness import log_of

MUTATIONS: Final = 10_000
FORGERIES: Final = int(os.environ.get("DRIFTLINE_FORGERIES", "300"))
N_EVENTS: Final = 3_000
FOLDS: Final = PartitionStateFactory(
    MonitorSpec(warm_up_events=1_000, warm_up_labels=300), "corrupt"
)
ODD: Final[tuple[Any, ...]] = (
    None,
    -1,
    0,
    1,
    2**31,
    2**63 - 1,
    -(2**63),
    float("nan"),
    float("inf"),
    -1e308,
    1e308,
    "",
    "x",
    b"",
    b"\0" * 8,
    b"\xff" * 16,
    [],
    {},
    [[]],
    {"a": 1},
    True,
)


def batch(values: list[Event | bytes], start: int = 0, *, step_ms: int = 1) -> RecordBatch:
    records = [
        ConsumerRecord(
            start + number,
            1_800_000_000_000 + step_ms * (start + number),
            None if isinstance(value, bytes) else CE_TYPE_OF[type(value)],
            value if isinstance(value, bytes) else encode(value),
        )
        for number, value in enumerate(values)
    ]
    return RecordBatch("log", 0, "e", start, start + len(records), records)


@functools.cache
def grown() -> tuple[dict[str, bytes], RecordBatch]:
    """State in the middle of everything, and the records that come next."""
    log = list(log_of("churn", 3, N_EVENTS))
    fold = FOLDS.new("log", 0)
    fold.observe(batch(log[:-300]))
    fields = {name: value for name, value in fold.take_changes().items() if value}
    return fields, batch(log[-300:], len(log) - 300)


def damaged(blob: bytes, chance: random.Random) -> bytes:
    """The blob with bits turned, cut off, doubled or made up."""
    kind = chance.randrange(5)
    at = chance.randrange(len(blob))
    if kind == 0:
        return blob[:at]
    if kind == 1:
        return blob + chance.randbytes(chance.randint(1, 9))
    if kind == 2:
        return chance.randbytes(len(blob))
    changed = bytearray(blob)
    for _ in range(1 if kind == 3 else chance.randint(2, 12)):
        changed[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def test_no_damaged_blob_reads_back() -> None:
    chance = random.Random(5)  # noqa: S311
    blobs = sorted(grown()[0].values())
    for _ in range(MUTATIONS):
        blob = chance.choice(blobs)
        changed = damaged(blob, chance)
        if changed == blob:
            continue
        with pytest.raises(CorruptState):
            decode_state("monitor", changed)


def forged(data: Any, chance: random.Random) -> Any:
    """Plain data with one thing in it changed to something odd, gone, or there twice."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in list(items):
            places.append((node, key))
            if isinstance(value, (dict, list)):
                walk(value)

    box = [data]
    walk(box)
    node, key = chance.choice(places)
    how = chance.randrange(4)
    if how == 0 and node is not box:
        del node[key]
    elif how == 1 and isinstance(node, list) and node is not box:
        node.append(node[key])
    elif how == 2 and isinstance(node[key], bytes) and node[key]:
        node[key] = damaged(node[key], chance)
    else:
        node[key] = chance.choice(ODD)
    return box[0]


@pytest.mark.slow
def test_a_forged_part_is_rejected_or_harmless() -> None:
    """Encoded again after the damage, by a client of Redis: the checksum is right."""
    fields, after = grown()
    chance = random.Random(6)  # noqa: S311
    rejected = 0
    for number in range(FORGERIES):
        name = chance.choice(sorted(fields))
        part = forged(decode_state("monitor", fields[name]), chance)
        try:
            fold = FOLDS.restore("log", 0, {**fields, name: encode_state("monitor", part)})
        except CorruptState:
            rejected += 1
            continue
        except BaseException as error:
            raise AssertionError(f"{number}: {name} at the restore: {error!r}") from error
        with contextlib.suppress(Exception):  # ends the worker; a panic of Rust would escape
            fold.observe(after)
            fold.take_changes()
    assert rejected > FORGERIES // 4


def test_undamaged_state_round_trips() -> None:
    fields, after = grown()
    one, other = FOLDS.restore("log", 0, fields), FOLDS.restore("log", 0, fields)
    assert one.observe(after).outbox == other.observe(after).outbox
    assert {n: v for n, v in one.take_changes().items() if v} == {
        n: v for n, v in other.take_changes().items() if v
    }
    assert msgspec.msgpack.encode(one.outcomes()) == msgspec.msgpack.encode(other.outcomes())
