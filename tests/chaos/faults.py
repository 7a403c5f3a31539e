"""Faults by name.  A fault is over when its function returns; it returns the ended processes."""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Callable
from typing import Final

from producer.failpoints import EXIT_CODE, FAILPOINTS
from tests.chaos.chaos_harness import ChaosCluster, NotRecoveredError
from tests.chaos.data_faults import (
    log_truncated,
    names_made_up,
    poison_written,
    record_kills,
    records_repeated,
    rejected_flood,
    servers_forked,
    state_damaged,
)
from tests.chaos.proxy import Line
from tests.chaos.trainer_scenario import Training
from tests.chaos.worker_group import Kills

Fault = Callable[[ChaosCluster], Kills]
ARMED_S: Final = 90.0
"""How long an armed worker may take to reach its failpoint."""
TRAINER_KILLS: Final = 3
OFTEN: Final = {
    "monitor.batch.read": 5,
    "monitor.batch.processed": 5,
    "monitor.commit.ready": 5,
    "monitor.commit.answered": 5,
}
"""Latest pass at which a place kills, where a worker passes it all the time."""


def worker_killed(cluster: ChaosCluster) -> Kills:
    """`kill -9` at a random moment."""
    cluster.pause(0.0, 0.6)
    cluster.worker_group.kill(cluster.random_worker())
    return Kills(1)


def all_workers_killed(cluster: ChaosCluster) -> Kills:
    """`kill -9` of all three at once."""
    cluster.pause(0.0, 0.6)
    for number in range(len(cluster.worker_group)):
        cluster.worker_group.kill(number)
    return Kills(len(cluster.worker_group))


def killed_at(place: str, cluster: ChaosCluster) -> Kills:
    """`kill -9` at one step of the protocol."""
    number = cluster.random_worker()
    count = cluster.chance.randint(1, OFTEN.get(place, 1))
    before = cluster.worker_group.exits[EXIT_CODE]
    pid = cluster.worker_group.arm(number, f"{place}:{count}")
    if place.startswith("monitor.revoke."):
        _wait_for(
            lambda: cluster.worker_group.gone(number, pid) or cluster.worker_group.serving(number)
        )
        cluster.pause(0.5, 1.0)  # it logs the acquisition before the partition is in its set
        if not cluster.worker_group.gone(number, pid):
            cluster.worker_group.signal(number, signal.SIGTERM)
    _wait_for(lambda: cluster.worker_group.gone(number, pid))
    died_there = cluster.worker_group.exits[EXIT_CODE] - before
    if not died_there:
        raise NotRecoveredError(f"a worker ended, but not at {place}")
    return Kills(1, died_there)  # the first let the worker with the failpoint take over


def worker_frozen(cluster: ChaosCluster) -> Kills:
    """SIGSTOP for longer than a session: a zombie, which then continues where it was."""
    number = cluster.random_worker()
    cluster.worker_group.signal(number, signal.SIGSTOP)
    cluster.pause(2.5, 5.0)
    cluster.worker_group.signal(number, signal.SIGCONT)
    return Kills()


def workers_come_and_go(cluster: ChaosCluster) -> Kills:
    """SIGTERM, time and again: partitions move while records come."""
    for _ in range(3):
        number = cluster.random_worker()
        pid = cluster.worker_group.signal(number, signal.SIGTERM)
        _wait_for(lambda number=number, pid=pid: cluster.worker_group.gone(number, pid))  # type: ignore[misc]
        cluster.pause(0.2, 1.0)
    return Kills()


def redis_killed(cluster: ChaosCluster) -> Kills:
    """`kill -9`, away for a moment, back with its append-only file."""
    cluster.servers.valkey.process.kill()
    cluster.pause(0.0, 2.0)
    cluster.servers.valkey.start()
    return Kills(1)


def redis_torn(cluster: ChaosCluster) -> Kills:
    """`kill -9` as the machine would: the end of the append-only file is gone."""
    cluster.servers.valkey.process.kill()
    cluster.servers.tear(cluster.chance)
    cluster.servers.valkey.start()
    return Kills(1)


def redis_wiped(cluster: ChaosCluster) -> Kills:
    """All state is gone under the feet of its owners."""
    cluster.servers.redis.flushall()
    return Kills()


def redis_paused(cluster: ChaosCluster) -> Kills:
    """`CLIENT PAUSE`: the server takes what it is sent and does nothing."""
    length_ms = cluster.chance.randint(1_000, 4_000)
    cluster.servers.redis.client_pause(length_ms, all=True)
    time.sleep(length_ms / 1000)
    return Kills()


def redis_full(cluster: ChaosCluster) -> Kills:
    """No memory left: every write is rejected, reads are answered."""
    cluster.servers.redis.config_set("maxmemory", 1)
    cluster.pause(1.0, 4.0)
    cluster.servers.redis.config_set("maxmemory", 0)
    return Kills()


def redis_read_only(cluster: ChaosCluster) -> Kills:
    """A replica by mistake, of a server that is not there: writes are rejected, data stays."""
    cluster.servers.redis.replicaof("127.0.0.1", "1")
    cluster.pause(1.0, 4.0)
    cluster.servers.redis.replicaof("NO", "ONE")
    return Kills()


def redis_disk_full(cluster: ChaosCluster) -> Kills:
    """The append-only file can grow no further: writes are rejected, and what came is kept."""
    cluster.servers.fill_disk()
    _wait_for(cluster.servers.rejects_writes)
    cluster.pause(1.0, 3.0)
    cluster.servers.free_disk()
    return Kills()


def redis_slow(cluster: ChaosCluster) -> Kills:
    """Every packet takes its time."""
    cluster.servers.proxy.delay_s = cluster.chance.uniform(0.05, 0.4)
    cluster.pause(2.0, 4.0)
    cluster.servers.proxy.delay_s = 0.0
    return Kills()


def redis_unreachable(cluster: ChaosCluster) -> Kills:
    """A black hole: what was sent arrives after every timeout."""
    cluster.servers.proxy.line = Line.HOLE
    cluster.pause(1.0, 8.0)
    cluster.servers.proxy.line = Line.OPEN
    return Kills()


def replies_lost(cluster: ChaosCluster) -> Kills:
    """Commits are applied, and their replies are lost."""
    before = cluster.servers.proxy.thrown_away
    cluster.servers.proxy.line = Line.DEAF
    _wait_for(lambda: cluster.servers.proxy.thrown_away >= before + 3)
    cluster.servers.proxy.line = Line.OPEN
    return Kills()


def broker_killed(cluster: ChaosCluster) -> Kills:
    """`kill -9` of Kafka, and a start on the same data."""
    cluster.servers.kafka.kill()
    cluster.servers.kafka.restart()
    return Kills(1)


def broker_frozen(cluster: ChaosCluster) -> Kills:
    """SIGSTOP of Kafka for longer than a session."""
    cluster.servers.kafka.process.signal(signal.SIGSTOP)
    cluster.pause(2.5, 6.0)
    cluster.servers.kafka.process.signal(signal.SIGCONT)
    return Kills()


def broker_restarted(cluster: ChaosCluster) -> Kills:
    """SIGTERM of Kafka: it hands over what it has, and starts on it."""
    cluster.servers.kafka.stop()
    cluster.servers.kafka.restart()
    return Kills()


def broker_slow(cluster: ChaosCluster) -> Kills:
    """Every packet to and from the workers takes its time."""
    cluster.servers.broker_line.delay_s = cluster.chance.uniform(0.05, 0.3)
    cluster.pause(2.0, 4.0)
    cluster.servers.broker_line.delay_s = 0.0
    return Kills()


def broker_unreachable(cluster: ChaosCluster) -> Kills:
    """A black hole between workers and Kafka, for longer than a session."""
    cluster.servers.broker_line.line = Line.HOLE
    cluster.pause(3.0, 8.0)
    cluster.servers.broker_line.line = Line.OPEN
    return Kills()


def broker_answers_lost(cluster: ChaosCluster) -> Kills:
    """Kafka applies each request, and every connection is cut before the reply."""
    before = cluster.servers.broker_line.thrown_away
    cluster.servers.broker_line.line = Line.DEAF
    _wait_for(lambda: cluster.servers.broker_line.thrown_away >= before + 10)
    cluster.servers.broker_line.line = Line.OPEN
    return Kills()


def trainer_killed(cluster: ChaosCluster) -> Kills:
    """A trainer next to the workers: `kill -9` at a step, and then at any moment."""
    with Training(cluster.harness.broker, cluster.chance) as training:
        training.killed_at_a_step()
        for _ in range(TRAINER_KILLS - 1):
            training.killed_at_any_moment()
        training.continues()
        cluster.count_also(training.findings())
    return Kills(TRAINER_KILLS - 1, 1)


def trainer_disk_full(cluster: ChaosCluster) -> Kills:
    """The trainer's files cannot grow for three starts; then there is free space again."""
    with Training(cluster.harness.broker, cluster.chance) as training:
        for _ in range(3):
            training.with_full_disk()
        training.continues()
        cluster.count_also(training.findings())
    return Kills()


def _wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + ARMED_S
    while not happened():
        if time.monotonic() > until:
            raise NotRecoveredError(f"the fault did not happen within {ARMED_S:g} s")
        time.sleep(0.02)


_SIMPLE: Final[tuple[Fault, ...]] = (
    worker_killed,
    all_workers_killed,
    worker_frozen,
    workers_come_and_go,
    redis_killed,
    redis_torn,
    redis_wiped,
    redis_paused,
    redis_full,
    redis_read_only,
    redis_disk_full,
    redis_slow,
    redis_unreachable,
    replies_lost,
    broker_killed,
    broker_restarted,
    broker_frozen,
    broker_slow,
    broker_unreachable,
    broker_answers_lost,
    trainer_killed,
    trainer_disk_full,
    poison_written,
    names_made_up,
    records_repeated,
    servers_forked,
    state_damaged,
)
_LAST: Final[tuple[Fault, ...]] = (rejected_flood, log_truncated, record_kills)
FAULTS: Final[dict[str, Fault]] = {fault.__name__: fault for fault in (*_SIMPLE, *_LAST)} | {
    f"killed_at:{place.removeprefix('monitor.')}": functools.partial(killed_at, place)
    for place in FAILPOINTS
    if place.startswith("monitor.")
}
"""What can happen.  Labels, repeats, latecomers and records out of order come all the time."""
LAST: Final = frozenset(fault.__name__ for fault in _LAST)
"""After these a log cannot be replayed as it was: a fault that loses state needs another log."""
TIMES: Final = {"worker_killed": 5, "all_workers_killed": 2, "redis_killed": 4, "broker_killed": 4}
"""How often a fault happens in one run of a campaign, if not once."""
