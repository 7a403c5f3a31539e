"""Planted faults in Redis, and in the monitor's state there: doctor finds each, and names the fix.

The state is that of a monitor that read a log in this process.  `test_doctor_faults` plants those
that need Kafka.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis

from driftline.cli.doctor import examine_coverage, examine_placement, examine_redis
from driftline.doctor.health_checks import HealthCheckResult
from driftline.stack.temporary_folder import temporary_folder
from driftline.stack.valkey import Valkey
from driftline.topics.topic_reader import Record
from producer.codec import encode
from producer.events import CE_TYPE_OF, Event, Label, ModelUpdate
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import profile_to_data
from stream_monitor.settings import RedisSettings, Settings
from stream_monitor.shared_settings import TopicSettings
from stream_monitor.state.partition_state import PartitionStateFactory
from stream_monitor.state.redis_store import partition_key
from tests.builders import batch_of, inference_event, record_of

START_MS: Final = 1_700_000_000_000
SECOND_MS: Final = 1_000


def profile_of(version: str) -> dict[str, Any]:
    rng = random.Random(3)  # noqa: S311
    values = {"a": [rng.gauss(5, 1) for _ in range(2_000)]}
    predictions = [0.3] * 2_000
    made = fit_profile(
        "m", version, values, predictions=predictions, task="binary", origin="training"
    )
    return profile_to_data(made)


def announced(version: str, time_ms: int) -> ModelUpdate:
    return ModelUpdate(
        id=f"u{version}", model="m", version=version, time_ms=time_ms, profile=profile_of(version)
    )


def events(n: int, *, model: str = "m", version: str = "1", after: int = 0) -> Iterator[Event]:
    rng = random.Random(after)  # noqa: S311
    for i in range(after, after + n):
        yield inference_event(
            f"{model}-{version}-{i}",
            {"a": rng.gauss(5, 1)},
            0.3,
            model=model,
            version=version,
            time_ms=START_MS + SECOND_MS * i,
        )


def foreign_labels(n: int, *, after: int = 0) -> Iterator[Event]:
    for i in range(after, after + n):
        yield Label(id=f"row {i}", model="m", label=1, time_ms=START_MS + SECOND_MS * i)


HEALTHY: Final[list[Event]] = [announced("1", START_MS), *events(900)]
PLANTED: Final[dict[str, tuple[list[Event], str, str, str]]] = {
    "an old version still serves": (
        [*HEALTHY, announced("2", START_MS + 900_000), *events(700, after=900)],
        "version of m",
        "version 2 was announced last, but has had no event for 12 min, while version 1 has",
        "driftline models promote m 1",
    ),
    "labels with ids of another system": (
        [*HEALTHY, *foreign_labels(150)],
        "labels without predictions of m",
        "150 labels have the id of no prediction; 0 labels have one",
        "InferenceLogger.log",
    ),
    "more models than are watched": (
        [*HEALTHY, *events(100, model="second", after=900)],
        "coverage second",
        "over the limit of models for a partition",
        "driftline coverage second",
    ),
    "a version without a reference": (
        [*HEALTHY, *events(120, version="7", after=900)],
        "coverage m",
        "version 7: 120 events (11.8 %) not watched: warming up",
        "driftline profile send",
    ),
}


class StoredState:
    """The settings of an installation, and the state of its only partition in a real Redis."""

    def __init__(self, url: str) -> None:
        self.settings = Settings(
            redis=RedisSettings(url=url),
            topics=TopicSettings(prefix=f"d{uuid.uuid4().hex[:10]}"),
            monitor={"max_models": 1, "warm_up_events": 500},
        )
        self.client: Any = redis.Redis.from_url(url)

    def after(self, log: list[Event], *, newest: int = 0) -> dict[str, HealthCheckResult]:
        """What doctor reports when a monitor has read ``log``; without what is fine.

        The last ``newest`` records are those that doctor reads from Kafka.
        """
        topic, prefix = self.settings.topics.events, self.settings.topics.prefix
        state = PartitionStateFactory(self.settings.monitor_spec(), prefix).new(topic, 0)
        records = [record_of(i, event, START_MS + SECOND_MS * i) for i, event in enumerate(log)]
        state.observe(batch_of(records, topic=topic))
        self.client.hset(partition_key(topic, 0), mapping=state.take_changes())
        found = [
            *examine_coverage(self.settings, self.client, 1),
            *examine_placement(self.settings, self.client, 1, tail_of(log, newest)),
        ]
        return {each.check: each for each in found if each.level != "ok"}


def tail_of(log: list[Event], n: int) -> list[Record]:
    """The last records of a log as they are read from Kafka."""
    return [
        Record(0, i, CE_TYPE_OF[type(event)], encode(event), b"m", START_MS)
        for i, event in enumerate(log)
    ][len(log) - n :]


@pytest.fixture
def stored(redis_url: str) -> StoredState:
    return StoredState(redis_url)


def test_a_healthy_state_has_no_finding(stored: StoredState) -> None:
    labels = [
        Label(id=f"m-1-{i}", model="m", label=1, time_ms=START_MS + SECOND_MS * i)
        for i in range(900)
    ]
    assert stored.after([*HEALTHY, *labels, *foreign_labels(50)]) == {}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_in_the_state_is_found_with_its_fix(fault: str, stored: StoredState) -> None:
    log, check, text, fix = PLANTED[fault]
    found = stored.after(log)

    assert found.keys() == {check}
    assert text in found[check].found
    assert fix in found[check].fix


def labels_of_all(n: int) -> list[Event]:
    return [
        Label(id=f"m-1-{i}", model="m", label=1, time_ms=START_MS + SECOND_MS * i) for i in range(n)
    ]


def test_labels_that_lost_their_predictions_lately_are_found_after_many_that_had_one(
    stored: StoredState,
) -> None:
    """And no more, once the newest labels have predictions."""
    broken = [*HEALTHY, *labels_of_all(900), *foreign_labels(85)]
    assert stored.after(broken, newest=100) == {}

    broken += foreign_labels(120, after=85)
    found = stored.after(broken, newest=300)

    [one] = found.values()
    assert one.check == "labels without predictions of m"
    assert one.found == "205 of the newest 300 labels have the id of no prediction"
    mended = [*HEALTHY, *foreign_labels(150), *labels_of_all(900)]
    assert stored.after(mended, newest=300) == {}


def test_a_redis_that_may_lose_the_state_is_found_with_the_fix() -> None:
    """Its own server, because the settings of a server are for all of its clients."""
    with temporary_folder("stack") as folder:
        server = Valkey(folder)
        server.start()
        try:
            settings = Settings(redis=RedisSettings(url=server.url))
            client: Any = redis.Redis.from_url(server.url)
            client.config_set("appendonly", "yes")
            fine, _ = examine_redis(settings)
            client.config_set("appendonly", "no")
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.config_set("maxmemory", str(client.info()["used_memory"]))
            found, _ = examine_redis(settings)
        finally:
            server.stop()

    assert {each.level for each in fine} == {"ok"}
    wrong = {each.check: each for each in found if each.level != "ok"}
    assert wrong.keys() == {"redis eviction", "redis persistence", "redis memory"}
    assert "maxmemory-policy noeviction" in wrong["redis eviction"].fix
    assert "appendonly yes" in wrong["redis persistence"].fix
    assert "raise maxmemory" in wrong["redis memory"].fix
