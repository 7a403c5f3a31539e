"""Faults in what is written or stored, not in a process or a connection.

Two faults are elsewhere, because the oracle rereads the topic and cannot know deleted records: a
recreated topic (`test_protocol_edges.py`) and retention of unread records
(`test_runtime_worker.py`).
"""

from __future__ import annotations

from typing import Final

import msgspec
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from producer.codec import decode, encode
from producer.failpoints import EXIT_CODE
from stream_monitor.runtime.poison_records import MAX_ATTEMPTS
from tests.chaos.chaos_harness import ChaosCluster, NotRecoveredError
from tests.chaos.oracle_comparison import OracleComparison
from tests.chaos.test_corrupt_state import damaged
from tests.chaos.test_logger_faults import ids, run_program
from tests.chaos.test_poison_records import BOMB_BYTES, REJECTED, TAKEN
from tests.chaos.test_state_bounds import MADE_UP
from tests.chaos.traffic import Record
from tests.chaos.worker_group import Kills
from tests.integration.oracle import CRASHING

NAMES: Final = 300
"""How many of each kind are made up."""
FORKS: Final = 4
EVENTS_A_PROCESS: Final = 200
FLOOD: Final = 1_200
"""Rejected records in a row."""


def poison_written(cluster: ChaosCluster) -> Kills:
    """All that `test_poison.py` knows, and a bomb: kilobytes that unpack to 64 MiB."""
    bomb = msgspec.json.encode({"id": "b" * BOMB_BYTES})
    values = [*REJECTED.values(), *TAKEN.values(), bomb]
    cluster.chance.shuffle(values)
    cluster.traffic.write([(_anywhere(cluster), value, []) for value in values])
    return Kills()


def names_made_up(cluster: ChaosCluster) -> Kills:
    """Models, versions, features, categories, classes and ids that are new."""
    records: list[Record] = []
    for make in MADE_UP.values():
        partition, first = _anywhere(cluster), cluster.chance.randrange(10**8)
        events = (make(number) for number in range(first, first + NAMES))
        records += [(partition, encode(event), []) for event in events]
    cluster.traffic.write(records)
    return Kills()


def records_repeated(cluster: ChaosCluster) -> Kills:
    """A second producer writes what was written last once more, in another order."""
    recent = cluster.traffic.recent()
    cluster.chance.shuffle(recent)
    cluster.traffic.write(recent)
    return Kills()


def servers_forked(cluster: ChaosCluster) -> Kills:
    """A model server that preloads forks, and all its processes log: all is there, or counted."""
    name = f"{cluster.chance.getrandbits(32):08x}-"
    logged = run_program(
        cluster.harness.broker,
        cluster.harness.prefix,
        "--events",
        EVENTS_A_PROCESS,
        "--children",
        FORKS,
        "--name",
        name,
    )
    accepted, delivered = sum(w.accepted for w in logged), sum(w.delivered for w in logged)
    cluster.traffic.count_also += delivered
    given_up = sum(sum(words.dropped.values()) + words.spooled for words in logged)
    written = {name + one for one in ids(1 + FORKS, EVENTS_A_PROCESS)}
    there = [
        decode(message.value() or b"").id  # type: ignore[union-attr]
        for message in cluster.harness.log()
        if name.encode() in (message.value() or b"")
    ]
    cluster.count_also(
        OracleComparison(
            events_lost=max(0, len(written - set(there)) - given_up)
            + abs(accepted - delivered - given_up),
            duplicate_effects=len(there) - len(set(there)),
        )
    )
    return Kills()


def state_damaged(cluster: ChaosCluster) -> Kills:
    """All workers die, and a field of a partition is damaged: it is quarantined and rebuilt."""
    redis, aside = cluster.servers.redis, f"*{cluster.harness.prefix}*:quarantine:*"
    before = len(list(redis.scan_iter(aside)))
    for number in range(len(cluster.worker_group)):
        cluster.worker_group.kill(number)
    key = cluster.harness.key(_anywhere(cluster))
    state = {n: v for n, v in redis.hgetall(key).items() if n.startswith(b"s:") and v}
    name = cluster.chance.choice(sorted(state))
    changed = state[name]
    while changed == state[name]:
        changed = damaged(state[name], cluster.chance)
    redis.hset(key, name, changed)
    cluster.until(
        lambda: len(list(redis.scan_iter(aside))) > before,
        lambda: "damaged state was not set aside",
    )
    return Kills(len(cluster.worker_group))


def rejected_flood(cluster: ChaosCluster) -> Kills:
    """A producer writes invalid records only: each is a dead letter, its partition continues."""
    cluster.traffic.pause()
    partition = _anywhere(cluster)
    first = cluster.ends()[partition]
    cluster.traffic.write([(partition, b"reject", [])] * FLOOD)
    cluster.traffic.resume()
    cluster.until(
        lambda: cluster.committed()[partition] >= first + FLOOD,
        lambda: f"the partition stands at {cluster.committed()[partition]}",
    )
    return Kills()


def log_truncated(cluster: ChaosCluster) -> Kills:
    """Committed records are deleted and all workers die: only their state continues.

    The harness keeps the deleted records, for the oracle.  State lost later cannot be rebuilt.
    """
    upto = cluster.committed()
    cluster.harness.kept = [
        message
        for message in cluster.harness.log()
        if (message.offset() or 0) < upto[message.partition() or 0]
    ]
    topic = cluster.harness.topics.events
    cuts = [TopicPartition(topic, partition, at) for partition, at in enumerate(upto)]
    admin = AdminClient({**cluster.harness.client})
    for cut in admin.delete_records(cuts).values():
        cut.result(20)
    for number in range(len(cluster.worker_group)):
        cluster.worker_group.kill(number)
    return Kills(len(cluster.worker_group))


def record_kills(cluster: ChaosCluster) -> Kills:
    """A record crashes every worker that applies it, until it is skipped by reference.

    It is skipped after the allowed number of crashes; a later replay crashes on it again.
    """
    cluster.worker_group.change(program=("-m", "tests.chaos.crashing_worker"))
    cluster.random_worker()
    before = cluster.worker_group.exits[EXIT_CODE]
    partition = _anywhere(cluster)
    target = [0] * cluster.harness.partitions
    with cluster.worker_group.dying():
        cluster.traffic.write([(partition, CRASHING, [])])
        target[partition] = 1 + max(
            message.offset() or 0
            for message in cluster.harness.log()
            if message.value() == CRASHING
        )
        cluster.caught_up(target)
    deaths = cluster.worker_group.exits[EXIT_CODE] - before
    if deaths < 2 * MAX_ATTEMPTS:
        raise NotRecoveredError(f"skipped after {deaths} deaths")
    return Kills(0, deaths)


def _anywhere(cluster: ChaosCluster) -> int:
    return cluster.chance.randrange(cluster.harness.partitions)
