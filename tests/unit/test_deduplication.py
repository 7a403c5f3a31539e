"""Repeats are found within the ring, and the ring is bounded."""

from __future__ import annotations

import numpy as np
import pytest

from stream_monitor.ingest.deduplication import DedupWindow
from tests.builders import stored


def deduplicate(seen: DedupWindow, start: int, *ids: int) -> list[bool]:
    offsets = np.arange(start, start + len(ids), dtype=np.int64)
    return [bool(first) for first in seen.deduplicate(offsets, np.array(ids, dtype=np.uint64))]


def test_an_id_is_new_once_also_within_a_call() -> None:
    seen = DedupWindow()
    assert deduplicate(seen, 0, 1, 2, 1) == [True, True, False]
    assert deduplicate(seen, 3, 2, 3) == [False, True]


def test_an_id_is_forgotten_when_its_chunk_leaves_the_ring() -> None:
    seen = DedupWindow(chunks=2, chunk_events=10)
    assert deduplicate(seen, 9, 1) == [True]
    assert deduplicate(seen, 19, 1) == [False]  # chunk 1 remembers chunk 0
    assert deduplicate(seen, 20, 1) == [True]  # chunk 2 does not
    assert len(seen) == 1


def test_a_call_over_several_chunks_keeps_house_at_each() -> None:
    seen = DedupWindow(chunks=1, chunk_events=2)
    assert deduplicate(seen, 0, 1, 1, 1, 1, 2) == [True, False, True, False, True]


def test_a_salt_separates_equal_ids_of_two_versions() -> None:
    seen = DedupWindow()
    offsets, ids = np.array([0]), np.array([5], dtype=np.uint64)
    assert seen.deduplicate(offsets, ids, salt=1).all()
    assert seen.deduplicate(offsets, ids, salt=2).all()
    assert not seen.deduplicate(offsets, ids, salt=1).any()


def test_the_stored_bytes_do_not_depend_on_the_order_of_groups() -> None:
    one, other = DedupWindow(), DedupWindow()
    deduplicate(one, 0, 5)
    deduplicate(one, 1, 3)
    deduplicate(other, 1, 3)
    deduplicate(other, 0, 5)
    assert one.take_changes() == other.take_changes()


def test_a_commit_writes_changed_chunks_only_and_deletes_dead_ones() -> None:
    seen = DedupWindow(chunks=2, chunk_events=10)
    deduplicate(seen, 0, 1)
    deduplicate(seen, 10, 2)
    assert set(seen.take_changes()) == {"0", "1"}
    deduplicate(seen, 11, 3)
    assert set(seen.take_changes()) == {"1"}
    deduplicate(seen, 25, 4)
    assert seen.take_changes()["0"] is None


@pytest.mark.parametrize(
    "parts",
    [
        {"x": b""},
        {"1": b"1234567"},
        {"1": "no bytes"},
        {"0": b"12345678", "1": b"12345678"},
        {"0": b"", "64": b""},
    ],
)
def test_inconsistent_parts_are_rejected(parts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        DedupWindow().restore(stored(parts))
