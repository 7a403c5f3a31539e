"""Coverage counts: bounded, in slots of the append clock, the same however the log is cut."""

from __future__ import annotations

import numpy as np

from stream_monitor.watched.coverage import (
    BUCKET_MS,
    MAX_ROWS,
    OTHERS,
    SLOT_MS,
    WATCHED,
    Coverage,
    Key,
)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def let_pass(coverage: Coverage, offset: int, clock_ms: int) -> None:
    list(coverage.observe(ints(offset), ints(clock_ms)))


def test_the_last_hour_has_what_came_in_it_and_the_total_has_all() -> None:
    coverage = Coverage()
    coverage.count("1", WATCHED, ints(0, 1), ints(5, 6))
    coverage.count("1", "warming_up", ints(2), ints(7))
    slots = list(coverage.observe(ints(0, 1, 2, 3), ints(0, 10, 20, SLOT_MS)))

    [slot] = slots
    assert (slot.offset, slot.clock_ms, slot.time_ms) == (3, SLOT_MS, 7 + SLOT_MS - 20)
    assert slot.counts[Key("1", WATCHED)].n == 2
    assert [(row.last_hour, row.total) for row in coverage.last_hour(SLOT_MS)] == [(2, 2), (1, 1)]
    assert [(r.last_hour, r.total) for r in coverage.last_hour(13 * BUCKET_MS)] == [(0, 2), (0, 1)]


def test_made_up_versions_share_a_row_and_the_frequent_one_keeps_its_own() -> None:
    coverage = Coverage()
    n = 20 * MAX_ROWS
    for slot in range(3):
        first = slot * (n + 50)
        many = np.arange(first, first + 50, dtype=np.int64)
        coverage.count("heavy", "version_over_limit", many, many * 0)
        for at in range(first + 50, first + 50 + n):
            coverage.count(f"{at:x}", "version_over_limit", ints(at), ints(0))
        offsets = np.arange(first, first + n + 50, dtype=np.int64)
        list(coverage.observe(offsets, np.full(len(offsets), slot * SLOT_MS)))
    let_pass(coverage, 10 * n, 3 * SLOT_MS)

    rows = coverage.last_hour(3 * SLOT_MS)
    assert len(rows) <= MAX_ROWS + 1
    assert sum(row.total for row in rows) == 3 * (n + 50)
    assert [row.key.version for row in rows[:2]] == [OTHERS, "heavy"]
    assert rows[1].total == 3 * 50


def test_a_snapshot_continues() -> None:
    coverage = Coverage()
    coverage.count("1", WATCHED, ints(0, 1, 2), ints(5, 6, 7))
    list(coverage.observe(ints(0, 1, 2), ints(0, SLOT_MS, SLOT_MS)))
    again = Coverage()
    again.restore(coverage.dirty())

    assert again.last_hour(SLOT_MS) == coverage.last_hour(SLOT_MS)
