"""Events that follow each other become columns, and are decided as they are one by one."""

from __future__ import annotations

import random

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from producer.arrow_batch import BATCH_CE_TYPE, pack
from producer.codec import encode
from producer.events import CE_TYPE_OF, InferenceEvent, Label, Value
from producer.limits import Limits
from stream_monitor.ingest.decode import BatchDecoder
from stream_monitor.ingest.micro_batches import split_micro_batches
from stream_monitor.ingest.records import ConsumerRecord
from tests import builders
from tests.hypothesis_profiles import examples
from tests.properties import partition_logs
from tests.properties.partition_logs import model_event, run

SPEC = msgspec.structs.replace(
    partition_logs.SPEC, micro_batch_chunks=3
)  # runs are cut at its ends
EVENTS = (
    "float",
    "whole",
    "without",
    "word",
    "name",
    "segment",
    "other version",
    "shadow",
    "repeat",
)
OTHERS = ("label", "rejected", "of the future", "batch")
STRETCHES = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.integers(1, 700))
    | st.tuples(st.sampled_from(OTHERS), st.just(1)),
    min_size=1,
    max_size=8,
)
law = settings(max_examples=examples(6))


def plain_event(i: int, kind: str) -> InferenceEvent:
    """An event whose features are numbers, but for what ``kind`` names."""
    rng = random.Random(i)  # noqa: S311
    event = model_event(rng, i, "2" if kind == "other version" else "1", 12.0 if i > 900 else 0.0)
    features = dict(event.features) | {"age": rng.gauss(40, 10), "active": 1.0, "plan": 3.0}
    changed: dict[str, dict[str, Value]] = {
        "whole": {"visits": 3},
        "without": {"visits": None},
        "word": {"visits": "many"},
        "name": {"new": 0.5},
    }
    features |= changed.get(kind, {})
    segment = {"site": "north"} if kind == "segment" else None
    return msgspec.structs.replace(
        event, time_ms=1_000 * i, features=features, segment=segment, shadow=kind == "shadow"
    )


def values_of(i: int, kind: str) -> tuple[str | None, bytes]:
    """The kind and the value of record ``i``."""
    if kind == "label":
        label = Label(id=f"e{i // 2}", model="churn", time_ms=1_000 * i, label=1)
        return CE_TYPE_OF[Label], encode(label)
    if kind == "rejected":
        return None, b'{"id":'
    if kind == "of the future":
        return None, encode(msgspec.structs.replace(plain_event(i, "float"), time_ms=10**15))
    if kind == "batch":
        events = [plain_event(10_000 * row + i, "float") for row in range(1, 6)]
        same_time = [msgspec.structs.replace(event, time_ms=1_000 * i) for event in events]
        return BATCH_CE_TYPE, pack(same_time).value
    return None, encode(plain_event(i, kind))


def log_of(stretches: list[tuple[str, int]]) -> list[ConsumerRecord]:
    """Records of each kind in turn; each has a key, as those of the logger have."""
    kinds = [kind for kind, length in [("float", 1), *stretches] for _ in range(length)]
    values = [values_of(i, kind) for i, kind in enumerate(kinds)]
    return [
        ConsumerRecord(2 * i + (i > 700), 1_000 * i, kind, value, b"churn")
        for i, (kind, value) in enumerate(values)
    ]


@law
@given(STRETCHES, st.integers(2, 63))
@example([("float", 700), ("label", 1), ("float", 300), ("whole", 300)], 63)
@example([("float", 256), ("name", 400), ("without", 256), ("float", 400)], 1)
@example([("batch", 1), ("float", 700), ("batch", 1), ("float", 300)], 40)
@example([("float", 400), ("batch", 1), ("float", 400)], 40)
@example([("segment", 300), ("other version", 300), ("shadow", 600), ("float", 300)], 50)
def test_runs_of_events_are_decided_as_single_events(
    stretches: list[tuple[str, int]], n_records: int
) -> None:
    records = log_of(stretches)
    cuts = list(range(n_records, len(records), n_records))  # too few records for a run

    assert run(records, [], spec=SPEC) == run(records, cuts, spec=SPEC)


def test_valid_events_of_one_version_become_columns() -> None:
    records = log_of([("float", 700), ("label", 1), ("float", 600)])
    decoder = BatchDecoder(Limits())

    decoded = decoder.decode(builders.batch_of(records, partition_logs.TOPIC), as_runs=True)

    lengths = [len(events) for _, events in decoded.runs]
    assert sum(lengths) > 500
    assert sum(lengths) + len(decoded.entries) == len(records)
    offsets = [offset for _, events in decoded.runs for offset in events.events.offsets.tolist()]
    offsets += [record.offset for record, _ in decoded.entries]
    assert sorted(offsets) == [record.offset for record in records]
    in_order = [record.offset for record, _ in decoded.all()]
    assert in_order == sorted(in_order)


def test_a_micro_batch_of_runs_lies_within_its_offsets() -> None:
    records = log_of([("float", 900)])
    decoded = BatchDecoder(Limits()).decode(builders.batch_of(records), as_runs=True)

    micro_batches = list(split_micro_batches(decoded.all(), 300))

    assert all(one.first_offset // 300 == one.last_offset // 300 for one in micro_batches)
    offsets = [offset for one in micro_batches for offset in one.offsets.tolist()]
    assert offsets == [record.offset for record in records]
    assert sum(len(b) for one in micro_batches for b in one.events.values()) == len(records)
