"""A commit too large for one write, interrupted anywhere, reads as all of it or nothing of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.state import chunked_commit
from stream_monitor.state.chunked_commit import (
    ChunkedFields,
    expand_chunks,
    merge_chunks,
    split_into_chunks,
)
from stream_monitor.state.store import MAX_PAIRS
from stream_monitor.state_parts import CorruptState

SMALL = 4  # pairs in a write here, so that a handful of fields is a large commit

Fields = dict[str, bytes]
values = st.one_of(st.just(b""), st.binary(min_size=1, max_size=3))
fields = st.dictionaries(st.sampled_from([f"s:{c}" for c in "abcdefghijkl"]), values, max_size=12)


@pytest.fixture(autouse=True, scope="module")
def small_writes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked_commit, "MAX_PAIRS", SMALL)
        patch.setattr(chunked_commit, "CHUNK_FIELDS", SMALL)
        yield


def loaded(stored: Fields) -> Fields:
    """As a store answers: its own fields are not among them."""
    return {name: value for name, value in stored.items() if not name.startswith("_")}


def alive(stored: Fields) -> Fields:
    return {name: value for name, value in stored.items() if value}


@given(commits=st.lists(st.tuples(fields, st.integers(0, 8)), max_size=6))
def test_a_crash_between_two_writes_leaves_a_hash_that_reads_the_same(
    commits: list[tuple[Fields, int]],
) -> None:
    stored: Fields = {}
    expected: Fields = {}
    chunked_fields = ChunkedFields()
    for changed, survives in commits:
        for write in expand_chunks(chunked_fields):  # before anything else
            assert len(write) <= SMALL + 1
            stored |= write
        assert merge_chunks(loaded(stored)).chunked_fields == ChunkedFields()
        write, chunked_fields = split_into_chunks(changed)
        stored |= write
        expected |= changed
        assert merge_chunks(loaded(stored)).fields == alive(expected)
        for number, write in enumerate(expand_chunks(chunked_fields)):
            if number == survives:
                break  # the process dies here
            stored |= write
            assert merge_chunks(loaded(stored)).fields == alive(expected)
        chunked_fields = merge_chunks(loaded(stored)).chunked_fields  # what the next owner finds


def test_a_chunk_that_does_not_decode_is_corrupt_state() -> None:
    written, chunked_fields = split_into_chunks({f"s:{i}": b"1" for i in range(9)})
    first = chunked_fields.chunks[0]
    blob = written[first]
    for bad in (blob[:-1], blob[:9] + bytes([blob[9] ^ 1]) + blob[10:], b"junk"):
        with pytest.raises(CorruptState):
            merge_chunks({**written, first: bad})


def test_a_commit_within_the_limit_is_one_write() -> None:
    assert split_into_chunks({"s:a": b"1"}) == ({"s:a": b"1"}, ChunkedFields())
    assert MAX_PAIRS == 3_500
