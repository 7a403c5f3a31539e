"""Laws of the segment file: what was written comes back, and nothing else ever does."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from producer.cloudevents import event_headers
from producer.codec import encode, event_headers_of_value
from producer.events import InferenceEvent, Label
from producer.spool.segment_format import (
    HEADER_BYTES,
    SpooledRecord,
    frame,
    header,
    records_of,
    version_of,
)

MARKER = frame(SpooledRecord("", b"", "", b""), 0)[:4]
# Values that hold markers and whole segments: what a hostile feature might be.
WITH_MARKERS = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([MARKER, MARKER[:2], b"\x00", b"a"]), max_size=6).map(b"".join),
)
WITH_FRAMES = st.binary(max_size=10).map(lambda v: segment([SpooledRecord("t", b"k", "/s", v)]))


def segments(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[SpooledRecord]]:
    few = st.text(max_size=8)
    return st.lists(st.builds(SpooledRecord, few, st.binary(max_size=8), few, values), max_size=8)


SEGMENTS = segments(WITH_MARKERS | WITH_FRAMES)


def segment(records: Sequence[SpooledRecord]) -> bytes:
    data = header()
    for record in records:
        data += frame(record, len(data))
    return data


def whole(found: Sequence[SpooledRecord | None]) -> list[SpooledRecord]:
    return [record for record in found if record is not None]


def is_subsequence(some: Sequence[SpooledRecord], of: Sequence[SpooledRecord]) -> bool:
    rest = iter(of)
    return all(any(one == other for other in rest) for one in some)


@given(SEGMENTS)
def test_what_was_written_comes_back_in_order(records: list[SpooledRecord]) -> None:
    data = segment(records)

    assert list(records_of(data)) == records
    assert version_of(data) == 1


@given(SEGMENTS, st.data())
def test_cut_off_at_any_byte_a_prefix_remains_and_no_damage_is_told(
    records: list[SpooledRecord], data: st.DataObject
) -> None:
    full = segment(records)
    cut = full[: data.draw(st.integers(0, len(full)))]
    n_whole = sum(len(segment(records[: n + 1])) <= len(cut) for n in range(len(records)))

    assert list(records_of(cut)) == records[:n_whole]


@given(SEGMENTS, st.data())
def test_one_byte_flipped_anywhere_costs_one_record_and_never_makes_one(
    records: list[SpooledRecord], data: st.DataObject
) -> None:
    flipped = bytearray(segment(records))
    place = data.draw(st.integers(0, len(flipped) - 1))
    flipped[place] ^= data.draw(st.integers(1, 255))
    found = list(records_of(bytes(flipped)))

    assert is_subsequence(whole(found), records)
    assert len(whole(found)) >= len(records) - 1
    if place < HEADER_BYTES:
        assert found == records
        assert version_of(bytes(flipped)) is None


@given(SEGMENTS, st.data())
def test_whatever_is_overwritten_only_what_was_written_comes_back(
    records: list[SpooledRecord], data: st.DataObject
) -> None:
    full = segment(records)
    begin = data.draw(st.integers(0, len(full)))
    junk = data.draw(st.binary(max_size=60))
    found = list(records_of(full[:begin] + junk + full[begin + len(junk) :]))

    assert is_subsequence(whole(found), records)


@given(segments(WITH_MARKERS), st.data())
def test_bytes_lost_from_the_middle_cost_the_records_behind_them_and_invent_none(
    records: list[SpooledRecord], data: st.DataObject
) -> None:
    full = segment(records)
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(full))] * 2)))

    assert is_subsequence(whole(list(records_of(full[:begin] + full[end:]))), records)


@given(st.binary(max_size=200))
@example(MARKER * 20)
@example(header() + MARKER + b"\xff\xff\xff\xff" + bytes(4) + b"x" * 50)
def test_reading_is_total(data: bytes) -> None:
    assert whole(list(records_of(data))) == []


def test_a_segment_inside_a_damaged_record_is_not_read() -> None:
    inner = SpooledRecord("t", b"k", "/s", b"forged")
    outer = SpooledRecord("t", b"k", "/s", segment([inner]))
    last = SpooledRecord("t", b"k", "/s", b"last")
    data = bytearray(segment([outer, last]))
    data[HEADER_BYTES + 8] ^= 1  # the checksum of the outer one

    assert list(records_of(bytes(data))) == [None, last]


def test_another_version_is_known_by_its_head() -> None:
    assert version_of(header(2) + b"whatever follows") == 2


NAMES = st.text(max_size=8)
EVENTS = st.one_of(
    st.builds(
        InferenceEvent,
        id=NAMES,
        model=NAMES,
        version=NAMES,
        time_ms=st.integers(0, 1 << 40),
        features=st.dictionaries(NAMES, st.one_of(st.none(), st.floats(), NAMES), max_size=3),
        prediction=st.one_of(st.floats(), NAMES),
    ),
    st.builds(Label, id=NAMES, model=NAMES, label=st.floats(), time_ms=st.integers(0, 1 << 40)),
)


@given(EVENTS)
def test_the_headers_of_an_event_are_found_from_its_bytes(event: InferenceEvent | Label) -> None:
    assert event_headers_of_value(encode(event), source="/s") == event_headers(event, source="/s")
