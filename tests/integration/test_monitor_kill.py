"""Whenever the monitor dies, and whatever Redis lost: state and alerts of an undisturbed run."""

from __future__ import annotations

import random
import signal

import msgspec
import pytest

from producer.arrow_batch import pack
from producer.codec import is_batch
from producer.events import Event, InferenceEvent
from stream_monitor.contracts import DriftAlert
from stream_monitor.windows.closed_window import ClosedWindow
from tests.integration.monitor_harness import (
    MODELS,
    SHORT_SESSION,
    MonitorHarness,
    assert_undisturbed,
    log_of,
    until,
)
from tests.integration.oracle import Found

pytestmark = [pytest.mark.kafka, pytest.mark.smoke]

KILLS = 4
SEED = 11


def stop(harness: MonitorHarness) -> None:
    harness.monitors[-1].send_signal(signal.SIGTERM)
    assert harness.monitors[-1].wait(60) == 0


def decided_below(ends: list[int], found: Found) -> tuple[set[str], set[str]]:
    """Alerts and windows that records below the given offsets decided and closed.

    Every run appends ticks.  They move the append clock, and what the clock ends, a window or a
    coverage episode, is reported only by a run that read far enough.
    """
    alerts = {
        alert.alert_id
        for alert_id in found.alerts
        for alert in [msgspec.json.decode(found.bodies[alert_id], type=DriftAlert)]
        if alert.decided_offset < ends[alert.partition]
    }
    windows = {
        key
        for key in found.windows
        for window in [msgspec.json.decode(found.bodies[key], type=ClosedWindow)]
        if window.closed_offset < ends[window.partition]
    }
    return alerts, windows


def in_batches(log: list[Event | bytes], n_records: int = 60) -> list[Event | bytes]:
    """The same log with the events of each so many records in one batch."""
    found: list[Event | bytes] = []
    for start in range(0, len(log), n_records):
        part = log[start : start + n_records]
        packed = pack([event for event in part if isinstance(event, InferenceEvent)])
        assert not packed.others
        found.append(packed.value)
        found += [value for value in part if not isinstance(value, InferenceEvent)]
    return found


def test_killed_wiped_and_rebuilt_it_ends_as_if_nothing_had_happened(
    harness: MonitorHarness,
) -> None:
    """Killed at random moments of a log that grows; then Redis is wiped, twice.

    The events of one model are single records, those of the other one batches.
    """
    rng = random.Random(SEED)  # noqa: S311
    logs: dict[str, list[Event | bytes]] = {
        model: list(log_of(model, seed)) for seed, model in enumerate(MODELS)
    }
    logs[MODELS[0]] = in_batches(logs[MODELS[0]])
    n_written = 0
    for part in range(KILLS + 1):
        monitor = harness.start(**SHORT_SESSION)
        before = n_written
        for model, log in logs.items():
            share = log[part * len(log) // (KILLS + 1) : (part + 1) * len(log) // (KILLS + 1)]
            harness.produce(model, share)
            n_written += len(share)
        if part < KILLS:
            target = before + rng.randrange(1, n_written - before)
            until(lambda target=target: harness.position() >= target, f"{target} records")  # type: ignore[misc]
            monitor.kill()
            monitor.wait()
    until(lambda: harness.drained(n_written), "all is read and the outbox is out")
    stop(harness)
    assert_undisturbed(harness)
    first, ends = harness.found(), [harness.next(p) for p in range(harness.partitions)]
    assert len(first.alerts) >= 2 * len(MODELS)
    assert len(first.dead_letters) == sum(
        isinstance(value, bytes) and not is_batch(value) for log in logs.values() for value in log
    )
    for _ in range(2):
        harness.wipe()
        harness.start()
        until(lambda: harness.drained(n_written), "rebuilt from the event topic")
        stop(harness)
        rebuilt = harness.found()
        assert decided_below(ends, rebuilt) == (first.alerts, first.windows)
        assert rebuilt.dead_letters == first.dead_letters
        assert_undisturbed(harness)
