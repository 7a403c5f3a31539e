"""The faults, by name.  Each is over when its function returns; it answers who died."""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Callable
from typing import Final

from producer.failpoint import EXIT_CODE, PLACES
from tests.chaos.crew import Kills
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
from tests.chaos.scene import NotRecovered, Scene
from tests.chaos.training import Training

Fault = Callable[[Scene], Kills]
ARMED_S: Final = 90.0
"""How long an armed worker may take to reach its failpoint."""
TRAINER_KILLS: Final = 3
OFTEN: Final = {"monitor.batch.read": 5, "monitor.batch.folded": 5, "monitor.commit.ready": 5,
                "monitor.commit.answered": 5}  # fmt: skip
"""Latest pass at which a place kills, where a worker passes it all the time."""


def worker_killed(scene: Scene) -> Kills:
    """`kill -9` at a moment nobody chose."""
    scene.pause(0.0, 0.6)
    scene.crew.kill(scene.someone())
    return Kills(1)


def all_workers_killed(scene: Scene) -> Kills:
    """`kill -9` of all three at once."""
    scene.pause(0.0, 0.6)
    for number in range(len(scene.crew)):
        scene.crew.kill(number)
    return Kills(len(scene.crew))


def killed_at(place: str, scene: Scene) -> Kills:
    """`kill -9` at one step of the protocol."""
    number = scene.someone()
    count = scene.chance.randint(1, OFTEN.get(place, 1))
    before = scene.crew.exits[EXIT_CODE]
    pid = scene.crew.arm(number, f"{place}:{count}")
    if place.startswith("monitor.revoke."):
        _wait_for(lambda: scene.crew.gone(number, pid) or scene.crew.serving(number))
        if not scene.crew.gone(number, pid):
            scene.crew.signal(number, signal.SIGTERM)
    _wait_for(lambda: scene.crew.gone(number, pid))
    died_there = scene.crew.exits[EXIT_CODE] - before
    if not died_there:
        raise NotRecovered(f"a worker ended, but not at {place}")
    return Kills(1, died_there)  # the first made room for the worker that was to die there


def worker_frozen(scene: Scene) -> Kills:
    """SIGSTOP for longer than a session: a zombie, which then goes on where it was."""
    number = scene.someone()
    scene.crew.signal(number, signal.SIGSTOP)
    scene.pause(2.5, 5.0)
    scene.crew.signal(number, signal.SIGCONT)
    return Kills()


def workers_come_and_go(scene: Scene) -> Kills:
    """SIGTERM, time and again: partitions move while records come."""
    for _ in range(3):
        number = scene.someone()
        pid = scene.crew.signal(number, signal.SIGTERM)
        _wait_for(lambda number=number, pid=pid: scene.crew.gone(number, pid))  # type: ignore[misc]
        scene.pause(0.2, 1.0)
    return Kills()


def redis_killed(scene: Scene) -> Kills:
    """`kill -9`, away for a moment, back with its append-only file."""
    scene.servers.valkey.process.kill()
    scene.pause(0.0, 2.0)
    scene.servers.valkey.start()
    return Kills(1)


def redis_torn(scene: Scene) -> Kills:
    """`kill -9` as the machine would: the end of the append-only file is gone."""
    scene.servers.valkey.process.kill()
    scene.servers.tear(scene.chance)
    scene.servers.valkey.start()
    return Kills(1)


def redis_wiped(scene: Scene) -> Kills:
    """All state is gone under the feet of its owners."""
    scene.servers.redis.flushall()
    return Kills()


def redis_paused(scene: Scene) -> Kills:
    """`CLIENT PAUSE`: the server takes what it is sent and does nothing."""
    length_ms = scene.chance.randint(1_000, 4_000)
    scene.servers.redis.client_pause(length_ms, all=True)
    time.sleep(length_ms / 1000)
    return Kills()


def redis_full(scene: Scene) -> Kills:
    """No memory left: every write is refused, reads are answered."""
    scene.servers.redis.config_set("maxmemory", 1)
    scene.pause(1.0, 4.0)
    scene.servers.redis.config_set("maxmemory", 0)
    return Kills()


def redis_read_only(scene: Scene) -> Kills:
    """A replica by mistake, of a server that is not there: writes are refused, data stays."""
    scene.servers.redis.replicaof("127.0.0.1", "1")
    scene.pause(1.0, 4.0)
    scene.servers.redis.replicaof("NO", "ONE")
    return Kills()


def redis_disk_full(scene: Scene) -> Kills:
    """The append-only file can grow no further: writes are refused, and what came is kept."""
    scene.servers.fill_disk()
    _wait_for(scene.servers.refuses_writes)
    scene.pause(1.0, 3.0)
    scene.servers.free_disk()
    return Kills()


def redis_slow(scene: Scene) -> Kills:
    """Every packet takes its time."""
    scene.servers.proxy.delay_s = scene.chance.uniform(0.05, 0.4)
    scene.pause(2.0, 4.0)
    scene.servers.proxy.delay_s = 0.0
    return Kills()


def redis_unreachable(scene: Scene) -> Kills:
    """A black hole: what was sent arrives when nobody waits for it any more."""
    scene.servers.proxy.line = Line.HOLE
    scene.pause(1.0, 8.0)
    scene.servers.proxy.line = Line.OPEN
    return Kills()


def replies_lost(scene: Scene) -> Kills:
    """Commits are applied, and nobody hears of it."""
    before = scene.servers.proxy.thrown_away
    scene.servers.proxy.line = Line.DEAF
    _wait_for(lambda: scene.servers.proxy.thrown_away >= before + 3)
    scene.servers.proxy.line = Line.OPEN
    return Kills()


def broker_killed(scene: Scene) -> Kills:
    """`kill -9` of Kafka, and a start on the same data."""
    scene.servers.kafka.kill()
    scene.servers.kafka.restart()
    return Kills(1)


def broker_frozen(scene: Scene) -> Kills:
    """SIGSTOP of Kafka for longer than a session."""
    scene.servers.kafka.process.signal(signal.SIGSTOP)
    scene.pause(2.5, 6.0)
    scene.servers.kafka.process.signal(signal.SIGCONT)
    return Kills()


def broker_restarted(scene: Scene) -> Kills:
    """SIGTERM of Kafka: it hands over what it has, and starts on it."""
    scene.servers.kafka.stop()
    scene.servers.kafka.restart()
    return Kills()


def broker_slow(scene: Scene) -> Kills:
    """Every packet to and from the workers takes its time."""
    scene.servers.broker_line.delay_s = scene.chance.uniform(0.05, 0.3)
    scene.pause(2.0, 4.0)
    scene.servers.broker_line.delay_s = 0.0
    return Kills()


def broker_unreachable(scene: Scene) -> Kills:
    """A black hole between workers and Kafka, for longer than a session."""
    scene.servers.broker_line.line = Line.HOLE
    scene.pause(3.0, 8.0)
    scene.servers.broker_line.line = Line.OPEN
    return Kills()


def broker_answers_lost(scene: Scene) -> Kills:
    """Kafka does what it is asked, and every connection is cut before it can say so."""
    before = scene.servers.broker_line.thrown_away
    scene.servers.broker_line.line = Line.DEAF
    _wait_for(lambda: scene.servers.broker_line.thrown_away >= before + 10)
    scene.servers.broker_line.line = Line.OPEN
    return Kills()


def trainer_killed(scene: Scene) -> Kills:
    """A trainer beside the workers: `kill -9` at a step, and then at any moment."""
    with Training(scene.stage.broker, scene.chance) as training:
        training.killed_at_a_step()
        for _ in range(TRAINER_KILLS - 1):
            training.killed_at_any_moment()
        training.goes_on()
        scene.besides(training.findings())
    return Kills(TRAINER_KILLS - 1, 1)


def trainer_disk_full(scene: Scene) -> Kills:
    """The trainer's files can grow no further, for three starts; then there is room again."""
    with Training(scene.stage.broker, scene.chance) as training:
        for _ in range(3):
            training.without_room()
        training.goes_on()
        scene.besides(training.findings())
    return Kills()


def _wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + ARMED_S
    while not happened():
        if time.monotonic() > until:
            raise NotRecovered(f"the fault did not happen within {ARMED_S:g} s")
        time.sleep(0.02)


_SIMPLE: Final[tuple[Fault, ...]] = (
    worker_killed, all_workers_killed, worker_frozen, workers_come_and_go,
    redis_killed, redis_torn, redis_wiped, redis_paused, redis_full, redis_read_only,
    redis_disk_full, redis_slow, redis_unreachable, replies_lost,
    broker_killed, broker_restarted, broker_frozen, broker_slow, broker_unreachable,
    broker_answers_lost, trainer_killed, trainer_disk_full, poison_written, names_made_up,
    records_repeated, servers_forked, state_damaged,
)  # fmt: skip
_LAST: Final[tuple[Fault, ...]] = (rejected_flood, log_truncated, record_kills)
FAULTS: Final[dict[str, Fault]] = {fault.__name__: fault for fault in (*_SIMPLE, *_LAST)} | {
    f"killed_at:{place.removeprefix('monitor.')}": functools.partial(killed_at, place)
    for place in PLACES
    if place.startswith("monitor.")
}
"""What can happen.  Labels, repeats, latecomers and records out of order come all the time."""
LAST: Final = frozenset(fault.__name__ for fault in _LAST)
"""After these a log cannot be replayed as it was: a fault that loses state needs another log."""
TIMES: Final = {"worker_killed": 5, "all_workers_killed": 2, "redis_killed": 4, "broker_killed": 4}
"""How often a fault happens in one run of a campaign, if not once."""
