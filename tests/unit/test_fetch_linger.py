"""A fetch waits longer where the last one had only few events of each model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.runtime.reader import LINGER_S, MAX_LINGER_S, events_per_key, linger_s

SECONDS = st.floats(0, 100)
EVENTS = st.floats(0, 1e6) | st.just(math.inf)


def batch(partition: int, keys: Sequence[bytes | None], value: bytes = b"{}") -> RecordBatch:
    records = [ConsumerRecord(i, 0, None, value, key) for i, key in enumerate(keys)]
    return RecordBatch("events", partition, "", 0, len(records), records)


@given(SECONDS, EVENTS)
def test_the_wait_is_bounded(processing_s: float, n: float) -> None:
    assert LINGER_S <= linger_s(processing_s, n) <= MAX_LINGER_S


@given(SECONDS, SECONDS, EVENTS, EVENTS)
def test_slow_processing_lengthens_the_wait_and_more_events_shorten_it(
    one_s: float, other_s: float, one: float, other: float
) -> None:
    longest = linger_s(max(one_s, other_s), min(one, other))
    assert linger_s(min(one_s, other_s), max(one, other)) <= longest


@given(st.floats(0, MAX_LINGER_S / 3))
def test_a_trickle_takes_at_most_a_quarter_of_the_time(processing_s: float) -> None:
    assert linger_s(processing_s, 0) >= 3 * processing_s


def test_events_are_counted_by_key_over_all_partitions() -> None:
    batches = [batch(0, [b"a", b"a", b"a"]), batch(1, [b"b", b"a", None])]
    assert events_per_key(batches, 12) == 2


@pytest.mark.parametrize("batches", [[], [batch(0, [])], [batch(0, [b"a"], b"x" * 5_000)]])
def test_nothing_and_records_of_many_events_do_not_lengthen_the_wait(
    batches: list[RecordBatch],
) -> None:
    n_bytes = sum(len(record.value or b"") for each in batches for record in each.records)
    assert linger_s(1.0, events_per_key(batches, n_bytes)) == LINGER_S
