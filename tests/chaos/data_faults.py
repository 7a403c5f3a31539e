"""Faults that lie in what is written or stored, not in a process or a line.

What is not here: a log that is made anew, and retention that takes what nobody has read.  The
oracle re-reads the log; of records that are gone it could only repeat what the workers say.  Those
are `test_protocol_edges.py` and `test_runtime_worker.py`.
"""

from __future__ import annotations

from typing import Final

import msgspec
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from producer.codec import decode, encode
from producer.failpoint import EXIT_CODE
from stream_monitor.runtime.caution import TRIES
from tests.chaos.crew import Kills
from tests.chaos.findings import Findings
from tests.chaos.scene import NotRecovered, Scene
from tests.chaos.test_bounds import MADE_UP
from tests.chaos.test_corrupt_state import damaged
from tests.chaos.test_logger_faults import ids, run_program
from tests.chaos.test_poison import BOMB_BYTES, REFUSED, TAKEN
from tests.chaos.traffic import Record
from tests.integration.oracle import LETHAL

NAMES: Final = 300
"""How many of each kind are made up."""
FORKS: Final = 4
EVENTS_A_PROCESS: Final = 200
FLOOD: Final = 1_200
"""Rejected records in a row."""


def poison_written(scene: Scene) -> Kills:
    """All that `test_poison.py` knows, and a bomb: kilobytes that unpack to 64 MiB."""
    bomb = msgspec.json.encode({"id": "b" * BOMB_BYTES})
    values = [*REFUSED.values(), *TAKEN.values(), bomb]
    scene.chance.shuffle(values)
    scene.traffic.write([(_anywhere(scene), value, []) for value in values])
    return Kills()


def names_made_up(scene: Scene) -> Kills:
    """Models, versions, features, categories, classes and ids that nobody has heard of."""
    records: list[Record] = []
    for make in MADE_UP.values():
        partition, first = _anywhere(scene), scene.chance.randrange(10**8)
        events = (make(number) for number in range(first, first + NAMES))
        records += [(partition, encode(event), []) for event in events]
    scene.traffic.write(records)
    return Kills()


def records_repeated(scene: Scene) -> Kills:
    """A second producer writes what was written last once more, in another order."""
    recent = scene.traffic.recent()
    scene.chance.shuffle(recent)
    scene.traffic.write(recent)
    return Kills()


def servers_forked(scene: Scene) -> Kills:
    """A model server that preloads forks, and all its processes log: all is there, or counted."""
    name = f"{scene.chance.getrandbits(32):08x}-"
    said = run_program(
        scene.stage.broker, scene.stage.prefix,
        "--events", EVENTS_A_PROCESS, "--children", FORKS, "--name", name,
    )  # fmt: skip
    accepted, delivered = sum(w.accepted for w in said), sum(w.delivered for w in said)
    scene.traffic.besides += delivered
    given_up = sum(sum(words.dropped.values()) + words.spooled for words in said)
    written = {name + one for one in ids(1 + FORKS, EVENTS_A_PROCESS)}
    there = [
        decode(message.value() or b"").id  # type: ignore[union-attr]
        for message in scene.stage.log()
        if name.encode() in (message.value() or b"")
    ]
    scene.besides(
        Findings(
            events_lost=max(0, len(written - set(there)) - given_up)
            + abs(accepted - delivered - given_up),
            duplicate_effects=len(there) - len(set(there)),
        )
    )
    return Kills()


def state_damaged(scene: Scene) -> Kills:
    """All workers die, and a field of a partition changes: it is set aside and built anew."""
    redis, aside = scene.servers.redis, f"*{scene.stage.prefix}*:quarantine:*"
    before = len(list(redis.scan_iter(aside)))
    for number in range(len(scene.crew)):
        scene.crew.kill(number)
    key = scene.stage.key(_anywhere(scene))
    state = {n: v for n, v in redis.hgetall(key).items() if n.startswith(b"s:") and v}
    name = scene.chance.choice(sorted(state))
    changed = state[name]
    while changed == state[name]:
        changed = damaged(state[name], scene.chance)
    redis.hset(key, name, changed)
    scene.until(
        lambda: len(list(redis.scan_iter(aside))) > before,
        lambda: "damaged state was not set aside",
    )
    return Kills(len(scene.crew))


def rejected_flood(scene: Scene) -> Kills:
    """A producer writes nothing but refuse: each is a dead letter, and its partition goes on."""
    scene.traffic.pause()
    partition = _anywhere(scene)
    first = scene.ends()[partition]
    scene.traffic.write([(partition, b"refuse", [])] * FLOOD)
    scene.traffic.resume()
    scene.until(
        lambda: scene.committed()[partition] >= first + FLOOD,
        lambda: f"the partition stands at {scene.committed()[partition]}",
    )
    return Kills()


def log_truncated(scene: Scene) -> Kills:
    """The log is cut off at what is committed, and all workers die: only their state goes on.

    The harness keeps what is cut off, for the oracle.  Who loses state later cannot rebuild it.
    """
    upto = scene.committed()
    scene.stage.kept = [
        message
        for message in scene.stage.log()
        if (message.offset() or 0) < upto[message.partition() or 0]
    ]
    topic = scene.stage.topics.events
    cuts = [TopicPartition(topic, partition, at) for partition, at in enumerate(upto)]
    admin = AdminClient({**scene.stage.client})
    for cut in admin.delete_records(cuts).values():
        cut.result(20)
    for number in range(len(scene.crew)):
        scene.crew.kill(number)
    return Kills(len(scene.crew))


def record_kills(scene: Scene) -> Kills:
    """A record ends whoever folds it in, until it is skipped by reference.

    It is skipped after so many deaths as it takes; who replays the log dies of it again.
    """
    scene.crew.change(program=("-m", "tests.chaos.lethal_worker"))
    scene.someone()
    before = scene.crew.exits[EXIT_CODE]
    partition = _anywhere(scene)
    target = [0] * scene.stage.partitions
    with scene.crew.dying():
        scene.traffic.write([(partition, LETHAL, [])])
        target[partition] = 1 + max(
            message.offset() or 0 for message in scene.stage.log() if message.value() == LETHAL
        )
        scene.caught_up(target)
    deaths = scene.crew.exits[EXIT_CODE] - before
    if deaths < 2 * TRIES:
        raise NotRecovered(f"skipped after {deaths} deaths")
    return Kills(0, deaths)


def _anywhere(scene: Scene) -> int:
    return scene.chance.randrange(scene.stage.partitions)
