"""Each fault once, on one log: whatever happens, it ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

import msgspec
import pytest
from confluent_kafka import Producer

from tests.chaos.campaign import run_fault
from tests.chaos.faults import FAULTS
from tests.chaos.findings import judge
from tests.chaos.scene import Scene
from tests.chaos.servers import Servers

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("kafka_from_jars")]

SEED = int(os.environ.get("SEED", "7"))


class Stage(contextlib.ExitStack):
    """One scene for all faults; a fresh one after a fault that left something wrong."""

    scene: Scene | None = None

    def begin(self) -> Scene:
        if self.scene is None:
            servers = self.enter_context(Servers())
            self.scene = self.enter_context(Scene(servers, SEED))
        return self.scene

    def begin_anew(self) -> None:
        self.scene = None
        self.close()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.fixture
def scene(stage: Stage) -> Scene:
    return stage.begin()


ELSEWHERE: Final = (
    "killed_at:", "trainer_killed", "record_kills", "rejected_flood", "log_truncated",
)  # fmt: skip
"""Faults that have tests of their own: `test_failpoints.py`, `test_trainer_kills.py`, and those
that end their log, `test_protocol_edges.py`."""


@pytest.mark.parametrize("fault", [name for name in FAULTS if not name.startswith(ELSEWHERE)])
def test_nothing_is_lost_and_nothing_twice(stage: Stage, scene: Scene, fault: str) -> None:
    run = run_fault(scene, fault)
    if run.wrong:
        stage.begin_anew()

    assert run.failure == ""
    assert run.findings.wrong == 0, run.findings
    assert run.unasked == []
    assert run.findings.events > 0


def test_the_harness_sees_what_is_wrong(scene: Scene) -> None:
    scene.rest()
    key = scene.stage.key(0)
    field = next(name for name in scene.servers.redis.hkeys(key) if name.startswith(b"s:model"))
    scene.servers.redis.hset(key, field, b"something else")
    window = next(scene.servers.redis.scan_iter(f"{scene.stage.prefix}:window:*"))
    scene.servers.redis.set(window, b"{}")
    expected = scene.stage.oracle().figures
    figures = next(iter(expected))
    told = {"model": "m", "version": "1", "start_ms": 0, "end_ms": 1, "as_of_offset": 0}
    scene.servers.redis.set(figures, msgspec.json.encode({**told, "n_labelled": 1, "loss": 0.7}))
    producer = Producer(scene.stage.client)
    producer.produce(scene.stage.topics.alerts, b"{}", headers=[("ce_id", b"of nobody")])
    assert producer.flush(20) == 0

    findings = judge(scene.stage, scene.traffic.acknowledged + 3)

    assert findings.phantom_alerts == 1
    assert set(findings.differing) == {f"0/{field.decode()}", window.decode(), figures}
    assert findings.state_mismatches == 3
    assert findings.events_lost == 3
    assert findings.wrong == 7
