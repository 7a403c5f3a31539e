"""Labels change the figures of their window and nothing else, up to the label horizon."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from driftline.cli.status import realised_error, status_lines
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.labels.join import LabelSpec
from stream_monitor.state.partition_state import PERFORMANCE, WINDOW, PartitionState
from stream_monitor.windows.closed_window import ClosedWindow, window_key
from stream_monitor.windows.performance import (
    PerformanceTracker,
    WindowPerformance,
    performance_key,
)
from tests.builders import stored as stored_parts
from tests.properties.partition_logs import SPEC, TOPIC, batch_of, log_of

HORIZON_MS = 50


def made() -> PerformanceTracker:
    return PerformanceTracker(10, HORIZON_MS)


def sums(performance: PerformanceTracker) -> dict[int, tuple[int, float]]:
    """Number and mean by window, as they are stored."""
    rows = [
        row
        for part in performance.take_changes().values()
        if isinstance(part, list)
        for row in part
    ]
    return {start: (n, total / n) for start, n, total in rows}


def test_a_label_counts_in_the_window_of_its_prediction() -> None:
    performance = made()
    performance.observe([(3, 0, 1.0), (9, 4, 0.0), (10, 0, 1.0), (4, 40, 0.0)])

    assert sums(performance) == {0: (3, 1 / 3), 10: (1, 1.0)}
    assert performance.take_changed() == [(0, 3, 1 / 3), (10, 1, 1.0)]
    assert performance.take_changed() == []


def test_beyond_the_horizon_a_window_is_what_it_was() -> None:
    performance = made()
    performance.observe([(3, 0, 1.0), (20, 39, 0.0), (4, 0, 0.0)])
    assert sums(performance)[0] == (2, 0.5)

    performance.observe([(20, 40, 0.0), (5, 0, 0.0)])  # the label at 60 is the end of window 0

    left = sums(performance)
    assert 0 not in left
    assert left[20] == (2, 0.0)


def test_batches_and_restarts_change_nothing() -> None:
    rng = random.Random(4)  # noqa: S311
    rows = [(i // 3, rng.choice([0, 7, 49, 70]), float(rng.random() < 0.3)) for i in range(900)]
    rows += [(i, 0, 1.0) for i in range(400, 460)]
    whole = made()
    whole.observe(rows)
    performance, stored, start = made(), dict[str, Any](), 0
    while start < len(rows):
        end = start + rng.randint(1, 9)
        performance.observe(rows[start:end])
        start = end
        for name, part in performance.take_changes().items():
            stored[name] = part
        if rng.random() < 0.5:
            performance = made()
            performance.restore(stored_parts(stored))

    expected = {name: part for name, part in whole.take_changes().items() if part is not None}
    assert {name: part for name, part in stored.items() if part is not None} == expected
    again = made()
    again.restore(stored_parts(expected))
    assert again.take_changed() == [(start, 10, 1.0) for start in range(400, 460, 10)]


def test_all_are_published_again_after_a_restart_so_many_at_once() -> None:
    performance = PerformanceTracker(1, 1_000)
    performance.observe([(i, 0, 1.0) for i in range(600)])
    assert [len(performance.take_changed()) for _ in range(4)] == [256, 256, 88, 0]

    again = PerformanceTracker(1, 1_000)
    again.restore(stored_parts(performance.take_changes()))

    assert sum(len(again.take_changed()) for _ in range(3)) == 600


@pytest.mark.parametrize("row", [[5, 1, 0.0], [10, 0, 0.0], [10, 1, -1.0], [10, 1, float("nan")]])
def test_an_impossible_window_is_rejected(row: list[float]) -> None:
    with pytest.raises(ValueError, match=r"window \d+: impossible losses"):
        made().restore(stored_parts({"clock": 20, "0": [row]}))


def test_a_sum_of_losses_stays_a_number() -> None:
    performance = made()
    performance.observe([(0, 0, 1.7e308), (1, 0, 1.7e308)])
    ((_, _, loss),) = performance.take_changed()

    assert loss < 1e308


def test_status_weights_the_loss_of_windows_by_their_labels() -> None:
    def window(n_labelled: int, loss: float) -> WindowPerformance:
        return WindowPerformance(
            model="m",
            version="1",
            start_ms=0,
            end_ms=1,
            n_labelled=n_labelled,
            loss=loss,
            as_of_offset=1,
        )

    n_labelled, loss = realised_error([window(30, 0.1), window(10, 0.5)])
    assert (n_labelled, round(loss or 0, 12)) == (40, 0.2)
    assert realised_error([]) == (0, None)
    row = {"model": "m@1", "windows": 2, "last": 2, "labelled": 1040, "loss": 0.2}
    reported = status_lines({"topic": "t", "partitions": [], "models": [], "windows": [row]})

    assert "    mean error in the last 2: 0.200 of 1,040 labels" in reported


def published(cut: int) -> tuple[dict[str, WindowPerformance], dict[str, ClosedWindow]]:
    """The last figures of each window, and the closed windows, of a log cut so."""
    records = log_of(11)
    spec = msgspec.structs.replace(SPEC, labels=LabelSpec(horizon_ms=10_000_000))
    fold = PartitionState(PartitionMonitor(TOPIC, 0, spec), "d")
    figures: dict[str, WindowPerformance] = {}
    closed: dict[str, ClosedWindow] = {}
    for start in range(0, len(records), cut):
        batch = batch_of(records[start : start + cut])
        for field, value in fold.observe(batch).outbox.items():
            if field.startswith(WINDOW):
                assert field not in closed
                closed[field] = msgspec.json.decode(value, type=ClosedWindow)
            if field.startswith(PERFORMANCE):
                offset, _, key = field.removeprefix(PERFORMANCE).partition(":")
                found = msgspec.json.decode(value, type=WindowPerformance)
                assert found.as_of_offset == int(offset) == batch.next - 1
                of = window_key("d", found.model, found.version, found.start_ms)
                assert key == performance_key("d", of)
                figures[key] = found
    return figures, closed


def test_the_last_figures_of_a_window_do_not_depend_on_batches() -> None:
    whole, closed = published(100_000)
    cut, closed_too = published(40)
    ends = {(w.version, w.start_ms): w.closed_offset for w in closed.values()}
    late = [f for f in cut.values() if f.as_of_offset > ends.get((f.version, f.start_ms), 10**9)]

    assert closed == closed_too
    assert {key: (f.n_labelled, f.loss) for key, f in whole.items()} == {
        key: (f.n_labelled, f.loss) for key, f in cut.items()
    }
    assert sum(f.n_labelled for f in whole.values()) > 500
    assert all(0 < f.loss < 1 for f in whole.values())
    assert late  # labels came after their window had closed
