"""The plan of a batch keeps every record in its place, and repeats do not depend on batches."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from producer.events import Command, Event, InferenceEvent, Label, ModelUpdate, Tick
from stream_monitor.ingest.columns import version_salt
from stream_monitor.ingest.decode import DecodedRecord
from stream_monitor.ingest.deduplication import DedupWindow
from stream_monitor.ingest.micro_batches import split_micro_batches
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.state_parts import StoredParts, encode_part
from tests.builders import inference_event

CHUNK = 8
MODELS = st.sampled_from(["m", "n"])
IDS = st.sampled_from("abcdefghijkl")


def inference(model: str, version: str, text: str) -> InferenceEvent:
    return inference_event(text, {}, 0.0, model=model, version=version)


INFERENCE = st.builds(inference, MODELS, st.sampled_from("12"), IDS)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    *[INFERENCE] * 8,
    st.builds(lambda m, i: Label(id=i, model=m, label=1, time_ms=0), MODELS, IDS),
    st.builds(lambda m: ModelUpdate(id="u", model=m, version="2", time_ms=0), MODELS),
    st.builds(
        lambda m: Command(id="c", model=m, action="resolve", episode="e", actor="ann", time_ms=0),
        MODELS,
    ),
    st.just(Tick(time_ms=0)),
)


@st.composite
def logs(draw: st.DrawFn) -> list[DecodedRecord]:
    """Accepted records: offsets rise, with holes; append times may go back."""
    events = draw(st.lists(EVENTS, max_size=40))
    offset = draw(st.integers(0, 10))
    log: list[DecodedRecord] = []
    for event in events:
        offset += draw(st.sampled_from([1, 1, 1, 2, 7]))
        log.append((ConsumerRecord(offset, draw(st.integers(0, 50)), None, b""), event))
    return log


@given(logs())
def test_every_record_is_in_one_segment_at_its_place(log: list[DecodedRecord]) -> None:
    plan = list(split_micro_batches(log, CHUNK))

    offsets = [offset for micro_batch in plan for offset in micro_batch.offsets.tolist()]
    assert offsets == [record.offset for record, _ in log]
    kept: list[int] = []
    for micro_batch in plan:
        mine = [at for events in micro_batch.events.values() for at in events.offsets.tolist()]
        mine += [offset for rows in micro_batch.labels.values() for offset, _, _ in rows]
        mine += [micro_batch.control_record[0].offset] if micro_batch.control_record else []
        assert len(mine) + micro_batch.ticks == len(micro_batch.offsets)
        kept += mine
    assert sorted(kept) == [r.offset for r, e in log if not isinstance(e, Tick)]


@given(logs())
def test_a_micro_batch_lies_in_one_chunk_and_ends_at_a_control_record(
    log: list[DecodedRecord],
) -> None:
    for micro_batch in split_micro_batches(log, CHUNK):
        assert micro_batch.first_offset // CHUNK == micro_batch.last_offset // CHUNK
        inside = {micro_batch.first_offset, micro_batch.last_offset}
        if micro_batch.control_record is not None:
            assert micro_batch.control_record[0].offset == micro_batch.last_offset
        assert inside <= set(micro_batch.offsets.tolist())
        for (model, version), rows in micro_batch.events.items():
            assert (rows.model, rows.version) == (model, version)
            assert rows.offsets.tolist() == sorted(rows.offsets.tolist())


@given(logs())
def test_the_append_clock_never_goes_back(log: list[DecodedRecord]) -> None:
    clock_ms, largest = 10, 10
    for micro_batch in split_micro_batches(log, CHUNK):
        clock = micro_batch.append_clock_ms(clock_ms).tolist()
        for at_ms, timestamp_ms in zip(clock, micro_batch.timestamps_ms.tolist(), strict=True):
            largest = max(largest, timestamp_ms)
            assert at_ms == largest
        clock_ms = clock[-1]


def fold(
    log: list[DecodedRecord], cuts: list[int], *, restored: bool
) -> tuple[set[int], dict[str, bytes]]:
    """Offsets of the events seen for the first time, and the stored state, after all batches."""
    seen = DedupWindow(chunks=2, chunk_events=CHUNK, micro_batch_chunks=2)
    store: dict[str, bytes] = {}
    first: set[int] = set()
    bounds = [0, *sorted(cuts), len(log)]
    for start, end in pairwise(bounds):
        for micro_batch in split_micro_batches(log[start:end], 2 * CHUNK):
            for key, rows in micro_batch.events.items():
                new = seen.deduplicate(rows.offsets, rows.ids, version_salt(*key))
                first.update(rows.offsets[new].tolist())
        for name, part in seen.take_changes().items():
            store.pop(name, None)
            if part is not None:
                store[name] = encode_part(part)
        if restored:
            seen = DedupWindow(chunks=2, chunk_events=CHUNK, micro_batch_chunks=2)
            seen.restore(StoredParts(store))
    return first, store


@given(logs(), st.lists(st.integers(0, 40), max_size=5))
def test_repeats_do_not_depend_on_batches_nor_on_restarts(
    log: list[DecodedRecord], cuts: list[int]
) -> None:
    cuts = [min(cut, len(log)) for cut in cuts]
    one_at_a_time = fold(log, list(range(1, len(log))), restored=False)
    assert fold(log, [], restored=False) == one_at_a_time
    assert fold(log, cuts, restored=False) == one_at_a_time
    assert fold(log, cuts, restored=True) == one_at_a_time
