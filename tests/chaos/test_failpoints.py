"""A monitor that dies at any step of the protocol loses nothing and repeats nothing."""

from __future__ import annotations

import os
import random
import signal

import pytest

from producer.events import Event
from producer.failpoints import EXIT_CODE, FAILPOINTS
from tests.integration.monitor_harness import (
    MODELS,
    SHORT_SESSION,
    MonitorHarness,
    assert_undisturbed,
    log_of,
    until,
)

pytestmark = pytest.mark.kafka

MONITORS = [place for place in FAILPOINTS if place.startswith("monitor.")]
LAST_PASS = {"monitor.partition.acquired": 2, "monitor.batch.read": 4, "monitor.batch.processed": 4}
"""The latest pass at which a place kills, where one run is sure to pass it more than twice."""
N_EVENTS = 4_500
SEED = os.environ.get("SEED", "7")


@pytest.mark.long
def test_killed_once_at_every_step_it_ends_as_if_nothing_had_happened(
    harness: MonitorHarness,
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a repeatable schedule
    order = chance.sample(MONITORS, len(MONITORS))
    logs: dict[str, list[Event | bytes]] = {
        model: list(log_of(model, seed, N_EVENTS)) for seed, model in enumerate(MODELS)
    }
    n_written = 0
    for number, place in enumerate([*order, ""]):
        if place.startswith("monitor.revoke."):
            setting = place
        else:
            setting = place and f"{place}:{chance.randint(1, LAST_PASS.get(place, 1))}"
        monitor = harness.start(**SHORT_SESSION, DRIFTLINE_FAILPOINT=setting)
        before = n_written
        for model, log in logs.items():
            parts = len(order) + 1
            share = log[number * len(log) // parts : (number + 1) * len(log) // parts]
            harness.produce(model, share)
            n_written += len(share)
        if place.startswith("monitor.revoke."):
            half = (before + n_written) // 2
            until(lambda half=half: harness.position() >= half, "half is read")  # type: ignore[misc]
            monitor.send_signal(signal.SIGTERM)
        if place:
            assert monitor.wait(90) == EXIT_CODE, place
    until(lambda: harness.drained(n_written), "all is read and the outbox is out")
    monitor.send_signal(signal.SIGTERM)
    assert monitor.wait(60) == 0
    assert_undisturbed(harness)
    assert len(harness.found().alerts) >= 2 * len(MODELS)
