"""Whenever the monitor dies, and whatever Redis lost: state and alerts of an undisturbed run."""

from __future__ import annotations

import random
import signal

import pytest

from producer.events import Event
from tests.integration.monitor_stage import MODELS, Stage, assert_undisturbed, log_of, until

pytestmark = pytest.mark.kafka

KILLS = 4
SEED = 11


def stop(stage: Stage) -> None:
    stage.monitors[-1].send_signal(signal.SIGTERM)
    assert stage.monitors[-1].wait(60) == 0


def test_killed_wiped_and_rebuilt_it_ends_as_if_nothing_had_happened(stage: Stage) -> None:
    """Killed at random moments of a log that grows; then Redis is wiped, twice."""
    rng = random.Random(SEED)  # noqa: S311
    logs: dict[str, list[Event | bytes]] = {
        model: list(log_of(model, seed)) for seed, model in enumerate(MODELS)
    }
    n_written = 0
    for part in range(KILLS + 1):
        monitor = stage.start()
        before = n_written
        for model, log in logs.items():
            share = log[part * len(log) // (KILLS + 1) : (part + 1) * len(log) // (KILLS + 1)]
            stage.produce(model, share)
            n_written += len(share)
        if part < KILLS:
            target = before + rng.randrange(1, n_written - before)
            until(lambda target=target: stage.position() >= target, f"{target} records")  # type: ignore[misc]
            monitor.kill()
            monitor.wait()
    until(lambda: stage.drained(n_written), "all is read and the outbox is out")
    stop(stage)
    assert_undisturbed(stage)
    first = stage.found()
    assert len(first.alerts) >= 2 * len(MODELS)
    assert len(first.dead_letters) == sum(
        isinstance(value, bytes) for log in logs.values() for value in log
    )
    for _ in range(2):
        stage.wipe()
        stage.start()
        until(lambda: stage.drained(n_written), "rebuilt from the log")
        stop(stage)
        rebuilt = stage.found()
        assert rebuilt.alerts == first.alerts
        assert rebuilt.dead_letters == first.dead_letters
        assert rebuilt.windows == first.windows
        assert_undisturbed(stage)
