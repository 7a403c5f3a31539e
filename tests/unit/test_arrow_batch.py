"""A batch as bytes: other programs open it, and no bytes of other programs do harm."""

from __future__ import annotations

import importlib
import io
import random
import re
import struct
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from producer.arrow_batch import METADATA_KEY, BatchMetadata, pack
from producer.codec import RejectedRecord
from producer.events import InferenceEvent
from producer.limits import Limits
from producer.validation import EventValidator
from stream_monitor.ingest import arrow_stream
from stream_monitor.ingest.arrow_stream import MalformedArrow, read_arrow
from stream_monitor.ingest.event_columns import decode_columns, events_of_batch
from tests.builders import inference_event

LIMITS = Limits()


def events(n: int = 20) -> list[InferenceEvent]:
    return [
        inference_event(
            f"e{i:03d}",
            {"x": i / 7, "n": i, "flag": i % 2 == 0, "plan": "prö" if i % 3 else "basic"},
            i / n,
            time_ms=i,
            segment={"origin": "EWR"} if i % 2 else None,
        )
        for i in range(n)
    ]


def stream(columns: dict[str, Any], **options: Any) -> bytes:
    """A batch that pyarrow wrote."""
    meta = msgspec.json.encode(BatchMetadata(model="m", version="1", prediction="value"))
    table = pa.RecordBatch.from_pydict(columns)
    table = table.replace_schema_metadata({METADATA_KEY: meta})
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(table)
    return out.getvalue()


def plain(n: int = 3) -> dict[str, Any]:
    return {
        "id": pa.array([f"e{i}" for i in range(n)], pa.string()),
        "time_ms": pa.array(range(n), pa.int64()),
        "features.x": pa.array([0.5] * n, pa.float64()),
        "prediction": pa.array([0.1] * n, pa.float64()),
    }


DOCS = Path(__file__).resolve().parents[2] / "docs"


class Record(NamedTuple):
    """A record of Kafka."""

    body: bytes

    def value(self) -> bytes:
        return self.body


READERS: dict[str, str] = {
    expression.partition(".")[0]: expression
    for expression in re.findall(
        r"^frame = (.*record\.value\(\).*)$", (DOCS / "model-servers.md").read_text(), re.MULTILINE
    )
}


@pytest.mark.parametrize("library", ["pyarrow", "polars", "duckdb"])
def test_a_record_opens_with_the_line_of_the_docs(library: str) -> None:
    names = {name: importlib.import_module(name) for name in {library, "pyarrow"}}

    frame = eval(READERS[library], names | {"record": Record(pack(events()).value)})  # noqa: S307

    assert list(frame["features.x"]) == [i / 7 for i in range(20)]
    assert frame["prediction"].mean() == pytest.approx(np.mean([i / 20 for i in range(20)]))
    assert set(frame.columns) >= {"id", "time_ms"}


def test_an_encoded_batch_is_read_back_unchanged() -> None:
    assert events_of_batch(pack(events()).value, LIMITS) == events()


def test_batches_of_pyarrow_are_read_dictionaries_too() -> None:
    columns = plain(4) | {
        "features.plan": pa.array(["a", "b", None, "a"]).dictionary_encode(),
        "features.big": pa.array(["x", "y", "z", "ü"], pa.large_string()),
        "features.small": pa.array([1, 2, 3, 4], pa.int8()),
        "features.single": pa.array([0.5, None, 1.5, 2.5], pa.float32()),
    }

    found = events_of_batch(stream(columns), LIMITS)

    assert found[1] is not None
    assert found[2] is not None
    assert found[1].features == {"x": 0.5, "plan": "b", "big": "y", "small": 2}
    assert found[2].features == {"x": 0.5, "big": "z", "small": 3, "single": 1.5}


def test_an_event_that_does_not_fit_the_columns_is_returned() -> None:
    first = inference_event("a", {"x": 1.0}, 0.5)
    text = inference_event("b", {"x": "one"}, 0.5)
    wide = inference_event("c", {"x": 1 << 60}, 0.5)

    packed = pack([first, text, wide])

    assert packed.packed == [first]
    assert packed.others == [text, wide]


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_buffers_are_rejected_before_they_are_unpacked(compression: str) -> None:
    value = stream(plain(1_000), compression=compression)

    with pytest.raises(RejectedRecord, match="leave compression to Kafka") as rejected:
        events_of_batch(value, LIMITS)
    assert rejected.value.reason == "malformed_arrow"


def test_the_limits_of_a_batch_are_stated_in_its_rejection() -> None:
    few = Limits(max_batch_rows=10)
    for value, limits, why in (
        (stream(plain(11)), few, "rows, over 10"),
        (stream(plain(3)), Limits(max_batch_cells=11), "rows times columns are over 11"),
        (stream(plain(3)), Limits(max_batch_bytes=100), "bytes, over 100"),
        (stream(plain(0)), few, "no rows"),
        (stream({"id": ["a"], "time_ms": [1], "prediction": [[1.0]]}), few, "its type is none"),
        (stream({"id": ["a"], "prediction": [1.0]}), few, "column time_ms"),
        (b"\xff\xff\xff\xff\0\0\0\0", few, "no record batch"),
    ):
        with pytest.raises(RejectedRecord, match=why):
            events_of_batch(value, limits)


def test_a_rejected_row_is_an_event_of_its_own_and_the_others_count() -> None:
    rows = events(5)
    rows[1] = msgspec.structs.replace(rows[1], time_ms=10_000_000)
    rows[3] = msgspec.structs.replace(rows[3], id="")

    columns, rejected = decode_columns(pack(rows).value, LIMITS, 1_000, EventValidator(LIMITS))

    assert columns.rows.tolist() == [0, 2, 4]
    assert [(one.row, one.reason) for one in rejected] == [(1, "future"), (3, "empty_id")]
    assert msgspec.json.decode(rejected[0].payload, type=InferenceEvent) == rows[1]


@pytest.mark.slow
def test_damaged_bytes_are_columns_or_an_error_that_names_the_damage() -> None:
    """Nanoarrow crashes the process on some of them."""
    texts = pa.array(["a", "b"] * 10).dictionary_encode()
    sound = stream(plain(20) | {"features.plan": texts, "features.flag": [True, None] * 10})
    rng = random.Random(1)  # noqa: S311
    outcomes = {"read": 0, "rejected": 0}
    for _ in range(20_000):
        damaged = bytearray(sound)
        for _ in range(rng.choice([1, 1, 2, 5])):
            place = rng.randrange(len(damaged))
            damaged[place] = rng.choice([0, 255, rng.randrange(256)])
        if rng.random() < 0.1:
            damaged = damaged[: rng.randrange(len(damaged))]
        try:
            decode_columns(bytes(damaged), LIMITS, 1_000, EventValidator(LIMITS))
            outcomes["read"] += 1
        except RejectedRecord:
            outcomes["rejected"] += 1
    assert min(outcomes.values()) > 100


def test_buffers_that_overlap_would_unpack_to_more_than_was_sent() -> None:
    value = pack(events(2)).value
    start = value.index(b"\xff\xff\xff\xff", 4) + 8  # of the message with the record batch
    size = int.from_bytes(value[start - 4 : start], "little")
    header = arrow_stream._root(value[start : start + size]).table(2)
    first = start + header.vector(2, 16)[0]  # its first buffer: offset and length
    body = len(value) - start - size - 8
    whole = value[:first] + struct.pack("<qq", 0, body) + value[first + 16 :]

    with pytest.raises(MalformedArrow, match="buffers overlap"):
        read_arrow(whole, 100, 10_000)
