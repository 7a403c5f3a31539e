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
from tests.chaos.chaos_harness import ChaosCluster
from tests.chaos.faults import FAULTS
from tests.chaos.oracle_comparison import compare_with_oracle
from tests.chaos.servers import Servers

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("kafka_from_jars")]

SEED = int(os.environ.get("SEED", "7"))


class ClusterStack(contextlib.ExitStack):
    """One scene for all faults; a fresh one after a fault that left something wrong."""

    cluster: ChaosCluster | None = None

    def begin(self) -> ChaosCluster:
        if self.cluster is None:
            servers = self.enter_context(Servers())
            self.cluster = self.enter_context(ChaosCluster(servers, SEED))
        return self.cluster

    def recreate(self) -> None:
        self.cluster = None
        self.close()


@pytest.fixture(scope="module")
def harness() -> Iterator[ClusterStack]:
    with ClusterStack() as harness:
        yield harness


@pytest.fixture
def cluster(harness: ClusterStack) -> ChaosCluster:
    return harness.begin()


ELSEWHERE: Final = (
    "killed_at:",
    "trainer_killed",
    "record_kills",
    "rejected_flood",
    "log_truncated",
)
"""Faults that have tests of their own: `test_failpoints.py`, `test_trainer_kills.py`, and those
that end their log, `test_protocol_edges.py`."""
SMOKE: Final = ("redis_killed", "replies_lost")
IN_CI: Final = (
    *SMOKE,
    "worker_killed",
    "broker_killed",
    "redis_torn",
    "redis_wiped",
    "workers_come_and_go",
)
"""The faults that `.ci/run` repeats; `make test-long` has the others."""


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            name,
            marks=[
                *([pytest.mark.smoke] if name in SMOKE else []),
                *([] if name in IN_CI else [pytest.mark.long]),
            ],
        )
        for name in FAULTS
        if not name.startswith(ELSEWHERE)
    ],
)
def test_nothing_is_lost_and_nothing_twice(
    harness: ClusterStack, cluster: ChaosCluster, fault: str
) -> None:
    run = run_fault(cluster, fault)
    if run.wrong:
        harness.recreate()

    assert run.failure == ""
    assert run.findings.wrong == 0, run.findings
    assert run.unasked == []
    assert run.findings.events > 0


def test_the_harness_detects_each_planted_defect(cluster: ChaosCluster) -> None:
    cluster.rest()
    key = cluster.harness.key(0)
    field = next(name for name in cluster.servers.redis.hkeys(key) if name.startswith(b"s:model"))
    cluster.servers.redis.hset(key, field, b"something else")
    window = next(cluster.servers.redis.scan_iter(f"{cluster.harness.prefix}:window:*"))
    cluster.servers.redis.set(window, b"{}")
    expected = cluster.harness.oracle().figures
    figures = next(iter(expected))
    reported = {"model": "m", "version": "1", "start_ms": 0, "end_ms": 1, "as_of_offset": 0}
    cluster.servers.redis.set(
        figures, msgspec.json.encode({**reported, "n_labelled": 1, "loss": 0.7})
    )
    producer = Producer(cluster.harness.client)
    producer.produce(cluster.harness.topics.alerts, b"{}", headers=[("ce_id", b"foreign")])
    assert producer.flush(20) == 0

    findings = compare_with_oracle(cluster.harness, cluster.traffic.acknowledged + 3)

    assert findings.phantom_alerts == 1
    assert set(findings.differing) == {f"0/{field.decode()}", window.decode(), figures}
    assert findings.state_mismatches == 3
    assert findings.events_lost == 3
    assert findings.wrong == 7
