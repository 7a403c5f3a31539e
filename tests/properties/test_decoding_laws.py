"""Decoding is total, and a record is an entry or rejected, never both and never neither."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from producer.events import EVENT_OF_CE_TYPE, InferenceEvent
from producer.limits import Limits
from producer.names import invalid_name_reason
from stream_monitor.ingest.decode import BatchDecoder, Decoded, decode
from stream_monitor.ingest.event_shapes import FeatureRow
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch

KINDS = st.one_of(st.none(), st.sampled_from([*EVENT_OF_CE_TYPE, "io.driftline.unknown.v1", ""]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "id",
    "model",
    "version",
    "time_ms",
    "features",
    "prediction",
    "segment",
    "label",
    "profile",
    "action",
    "episode",
    "actor",
    "until_ms",
    "reason",
]
GOOD: dict[str, Any] = {
    "id": "a",
    "model": "m",
    "version": "1",
    "time_ms": 5,
    "features": {"x": 1.5, "y": "b"},
    "prediction": 0.5,
    "label": 1,
    "action": "resolve",
    "episode": "e",
    "actor": "ann",
}


def dumped(body: object) -> bytes:
    return json.dumps(body).encode()


VALUES = st.one_of(
    st.none(),
    st.binary(max_size=200),
    JSON.map(dumped),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3).map(lambda x: dumped(GOOD | x)),
    st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=3)).map(
        lambda cut: dumped(GOOD)[: cut[0]] + cut[1] + dumped(GOOD)[cut[0] + 1 :]
    ),
)
RECORDS = st.lists(st.tuples(KINDS, VALUES, st.integers(-1, 10**6)), max_size=8)


@given(RECORDS)
def test_any_bytes_give_an_entry_or_a_dead_letter(
    rows: list[tuple[str | None, bytes | None, int]],
) -> None:
    records = [
        ConsumerRecord(offset, timestamp_ms, kind, value)
        for offset, (kind, value, timestamp_ms) in enumerate(rows)
    ]
    decoded = decode(RecordBatch("t", 0, "e", 0, len(rows), records), Limits())

    accepted = [record.offset for record, _ in decoded.entries]
    rejected = [dead_letter.offset for dead_letter in decoded.dead_letters]
    assert accepted == sorted(accepted)
    assert rejected == sorted(rejected)
    assert sorted(accepted + rejected) == list(range(len(rows)))
    assert [record.offset for record, _ in decoded.all()] == list(range(len(rows)))
    for record, event in decoded.entries:
        assert 0 <= event.time_ms <= record.timestamp_ms + 300_000
        assert invalid_name_reason(getattr(event, "model", "m")) is None
    for dead_letter in decoded.dead_letters:
        assert dead_letter.reason
        dead_letter.detail.encode()


@given(RECORDS, st.integers(0, 8))
def test_rejections_do_not_depend_on_batch_boundaries(
    rows: list[tuple[str | None, bytes | None, int]], cut: int
) -> None:
    records = [
        ConsumerRecord(i, time_ms, kind, value) for i, (kind, value, time_ms) in enumerate(rows)
    ]
    whole = decode(RecordBatch("t", 0, "e", 0, len(rows), records), Limits())
    parts = [
        decode(RecordBatch("t", 0, "e", 0, len(rows), part), Limits())
        for part in (records[:cut], records[cut:])
    ]

    assert whole.entries == parts[0].entries + parts[1].entries
    assert whole.dead_letters == parts[0].dead_letters + parts[1].dead_letters


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.sampled_from([2**63, 2**63 - 1, -(2**63), -(2**63) - 1, 1e300])
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["x" * 64, "x" * 65, "\u00e9" * 128, "\u00e9" * 129])
)
EVENTS = st.builds(
    lambda features, prediction, more: dumped(GOOD | {"features": features} | prediction | more),
    st.dictionaries(st.sampled_from(["x", "y", "z w", "new"]), SCALARS, max_size=2),
    st.one_of(st.just({}), st.fixed_dictionaries({"prediction": SCALARS | JSON})),
    st.dictionaries(
        st.sampled_from(["id", "model", "version", "time_ms", "segment", "unknown"]),
        SCALARS | st.dictionaries(st.sampled_from(["s", ""]), st.text(max_size=2), max_size=2),
        max_size=1,
    ),
)
KEYED_EVENTS = st.lists(
    st.tuples(st.sampled_from([None, b"m"]), EVENTS | EVENTS | VALUES, st.integers(0, 10**6)),
    max_size=6,
)


@given(KEYED_EVENTS)
def test_the_cache_of_a_decoder_changes_no_result(
    rows: list[tuple[bytes | None, bytes | None, int]],
) -> None:
    learned = BatchDecoder(Limits())
    plain = dumped(GOOD | {"features": dict.fromkeys(["x", "y", "z w", "\u00e9"], 0.5)})
    for offset, (key, value, timestamp_ms) in enumerate(
        [(b"m", plain, 9), (None, plain, 9), *rows]
    ):
        record = ConsumerRecord(offset, timestamp_ms, None, value, key)
        batch = RecordBatch("t", 0, "e", offset, offset + 1, [record])
        assert readable(learned.decode(batch)) == readable(decode(batch, Limits()))


def readable(decoded: Decoded) -> list[Any]:
    """The events and dead letters in a form in which equal values are equal texts."""
    found: list[Any] = list(decoded.dead_letters)
    for _, event in decoded.entries:
        fields = {name: getattr(event, name) for name in event.__struct_fields__}
        kind = InferenceEvent if isinstance(event, InferenceEvent) else type(event)
        if isinstance(event, InferenceEvent):
            features: Any = event.features
            values = features.as_dict() if isinstance(features, FeatureRow) else features
            fields["features"] = {n: v for n, v in sorted(values.items()) if v is not None}
        found.append((kind, repr(sorted(fields.items()))))
    return found
