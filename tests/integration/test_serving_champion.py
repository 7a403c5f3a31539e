"""A model server follows the announced champion, on a real Kafka, whatever goes wrong with it."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from sklearn.linear_model import LogisticRegression

from driftline.serving import ChampionModel, NoChampion, ServedVersion
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import profile_to_data
from trainer.contracts import ModelVersion, PoolMember
from trainer.registry.registry import Registry

pytestmark = pytest.mark.kafka

WAIT_S: Final = 90.0
FRAME: Final = pd.DataFrame({"temp": np.random.default_rng(0).normal(size=400)})


@dataclass
class World:
    """A registry, a models topic of its own, and a trainer's hand to write there."""

    broker: str
    folder: Path
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")

    def __post_init__(self) -> None:
        self.registry = Registry(self.folder)
        self.topic = f"{self.prefix}.models.v1"
        self.producer = Producer({"bootstrap.servers": self.broker})

    def make_topic(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.broker})
        new = NewTopic(self.topic, 1, 1, config={"cleanup.policy": "compact"})
        for made in admin.create_topics([new]).values():
            made.result(20)

    def write(self, key: str, value: bytes | None) -> None:
        self.producer.produce(self.topic, key=key, value=value)
        assert self.producer.flush(WAIT_S) == 0

    def store(self, version: str) -> str:
        """A model that predicts ``version`` everywhere; its hash."""
        classes = np.array([f"not {version}", version])
        profile = profile_from_frame(FRAME, model="m", version=version, task="binary")
        manifest = self.registry.store(
            LogisticRegression().fit(FRAME, classes[(FRAME["temp"] > 0).astype(int)]),
            model="m",
            version=version,
            profile=profile,
            training={},
            metrics={},
            factory="f:f",
            caused_by="alert",
            time_ms=1,
        )
        record = self.announcement(version, manifest.artifact_sha256, profile_to_data(profile))
        self.write(f"m@{version}", msgspec.json.encode(record))
        return manifest.artifact_sha256

    def announcement(self, version: str, sha256: str, profile: Any = None) -> ModelVersion:
        return ModelVersion(
            model="m",
            version=version,
            artifact_sha256=sha256,
            time_ms=1,
            caused_by="alert",
            profile=profile,
        )

    def promote(self, version: str, sha256: str) -> None:
        self.write("m", msgspec.json.encode(self.announcement(version, sha256)))

    def announce_pool(
        self, version: str, hashes: dict[str, str], weights: dict[str, float]
    ) -> None:
        pointer = self.announcement(version, hashes[version])
        members = tuple(
            PoolMember(version=one, artifact_sha256=hashes[one], weight=weight)
            for one, weight in weights.items()
        )
        self.write("m", msgspec.json.encode(msgspec.structs.replace(pointer, members=members)))

    def file(self, sha256: str) -> Path:
        return self.folder / "artifacts" / f"{sha256}.skops"

    def champion(self, **others: Any) -> ChampionModel:
        return ChampionModel(
            "m",
            bootstrap_servers=self.broker,
            registry=self.folder,
            topic_prefix=self.prefix,
            **others,
        )


@pytest.fixture
def world(kafka_broker: str, tmp_path: Path) -> World:
    made = World(kafka_broker, tmp_path)
    made.make_topic()
    return made


def classes_of(serving: ServedVersion) -> list[str]:
    names: list[str] = serving.estimator.classes_.tolist()
    return names


def until_failed(model: ChampionModel, times: int) -> None:
    waiting = threading.Event()
    for _ in range(int(WAIT_S / 0.05)):
        if model.n_failures >= times:
            return
        waiting.wait(0.05)
    pytest.fail(f"{model.n_failures} failures, {times} expected")


def test_versions_are_swapped_as_they_are_announced(world: World) -> None:
    first, second = world.store("1"), world.store("2")
    world.promote("1", first)
    with world.champion() as model:
        assert model.wait(timeout_s=WAIT_S).version == "1"

        world.promote("2", second)

        serving = model.wait("2", timeout_s=WAIT_S)
        assert (serving.sha256, classes_of(serving)) == (second, ["2", "not 2"])
        assert model.current() is serving
        assert set(model.predict(FRAME)) == {"2", "not 2"}
        assert model.predict_proba(FRAME).shape == (400, 2)

        world.promote("1", first)  # rolled back

        assert classes_of(model.wait("1", timeout_s=WAIT_S)) == ["1", "not 1"]
        assert (model.n_swaps, model.n_failures) == (3, 0)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_version_that_does_not_load_leaves_the_old_one(world: World, damage: str) -> None:
    first, second = world.store("1"), world.store("2")
    world.promote("1", first)
    whole = world.file(second).read_bytes()
    if damage == "missing":
        world.file(second).unlink()
    else:
        world.file(second).write_bytes(whole[:-1] + b"?")
    with world.champion() as model:
        model.wait("1", timeout_s=WAIT_S)

        world.promote("2", second)
        until_failed(model, 1)

        assert model.version == "1"
        assert "version '2' cannot be loaded" in str(model.last_failure)
        with pytest.raises(TimeoutError, match=r"version '2' is not the champion.*cannot be"):
            model.wait("2", timeout_s=0)

        world.file(second).write_bytes(whole)  # it arrives after all

        assert model.wait("2", timeout_s=WAIT_S).sha256 == second
        assert model.last_failure is None


def test_a_restart_takes_the_champion_and_none_before_it(world: World) -> None:
    hashes = {version: world.store(version) for version in ("1", "2", "3")}
    for version in ("1", "2", "3", "2"):
        world.promote(version, hashes[version])
    world.file(hashes["1"]).unlink()

    with world.champion() as model:
        assert model.wait(timeout_s=WAIT_S).version == "2"
        assert (model.n_swaps, model.n_failures) == (1, 0)


def test_an_invalid_announcement_changes_nothing(world: World) -> None:
    first = world.store("1")
    world.promote("1", first)
    with world.champion() as model:
        model.wait("1", timeout_s=WAIT_S)
        other = msgspec.structs.replace(world.announcement("9", "ab" * 32), model="other")
        for key, value in [
            ("m", b"{not json"),
            ("m", None),
            ("m", msgspec.json.encode(other)),
            ("other", msgspec.json.encode(other)),
        ]:
            world.write(key, value)
        second = world.store("2")
        assert model.version == "1"

        world.promote("2", second)

        assert model.wait("2", timeout_s=WAIT_S).version == "2"
        assert (model.n_swaps, model.n_failures) == (2, 0)


def test_the_fallback_serves_until_a_champion_is_announced(world: World) -> None:
    mine = ServedVersion("0", LogisticRegression().fit(FRAME, FRAME["temp"] > 0), "")
    first = world.store("1")
    with world.champion(fallback=mine) as model, world.champion() as bare:
        assert model.current() is mine
        assert model.version == "0"
        with pytest.raises(NoChampion, match="no champion of 'm' is loaded"):
            bare.current()

        world.promote("1", first)

        assert model.wait(timeout_s=WAIT_S) is model.current()
        assert model.version == "1"


def test_a_topic_that_comes_later_is_found(kafka_broker: str, tmp_path: Path) -> None:
    world = World(kafka_broker, tmp_path)
    with world.champion() as model:
        until_failed(model, 1)
        world.make_topic()
        world.promote("1", world.store("1"))

        assert model.wait(timeout_s=WAIT_S).version == "1"


def test_without_kafka_the_fallback_serves(tmp_path: Path) -> None:
    mine = ServedVersion("0", LogisticRegression(), "")
    with ChampionModel(
        "m", bootstrap_servers="127.0.0.1:1", registry=tmp_path, fallback=mine
    ) as model:
        assert model.current() is mine
        with pytest.raises(TimeoutError, match="no champion of 'm' after 0 s"):
            model.wait(timeout_s=0)


def test_readers_never_see_a_version_with_another_ones_estimator(world: World) -> None:
    hashes = {version: world.store(version) for version in ("1", "2")}
    world.promote("1", hashes["1"])
    mixed: list[ServedVersion] = []
    done = threading.Event()
    with world.champion() as model:
        model.wait(timeout_s=WAIT_S)

        def read() -> None:
            while not done.is_set():
                serving = model.current()
                if serving.version not in classes_of(serving):
                    mixed.append(serving)

        reader = threading.Thread(target=read)
        reader.start()
        for version in ("2", "1", "2"):
            world.promote(version, hashes[version])
            model.wait(version, timeout_s=WAIT_S)
        done.set()
        reader.join()

    assert mixed == []


def test_the_newest_stored_version_makes_shadow_predictions_until_it_is_the_champion(
    world: World,
) -> None:
    first, second = world.store("1"), world.store("2")
    world.promote("1", first)
    with world.champion(shadow=True) as model:
        model.wait("1", timeout_s=WAIT_S)
        shadow = until_shadow(model, "2")
        assert classes_of(shadow) == ["2", "not 2"]

        world.promote("2", second)
        model.wait("2", timeout_s=WAIT_S)
        assert classes_of(until_shadow(model, "1")) == ["1", "not 1"]

    with world.champion() as model:
        model.wait("2", timeout_s=WAIT_S)
        assert model.shadow() is None


def test_a_pool_is_served_with_the_announced_weights_and_only_when_each_member_is_verified(
    world: World,
) -> None:
    hashes = {version: world.store(version) for version in ("1", "2", "3")}
    whole = world.file(hashes["3"]).read_bytes()
    world.file(hashes["3"]).write_bytes(whole[:-1] + b"?")
    world.promote("1", hashes["1"])
    with world.champion() as model:
        alone = model.wait("1", timeout_s=WAIT_S)
        world.announce_pool("2", hashes, {"1": 0.25, "2": 0.75})
        pool = model.wait("2", timeout_s=WAIT_S)

        probabilities = model.predict_proba(FRAME)
        assert pool.estimator.classes_.tolist() == ["1", "not 1", "2", "not 2"]
        first = alone.estimator.predict_proba(FRAME)
        assert probabilities[:, :2] == pytest.approx(0.25 * first)

        world.announce_pool("2", hashes, {"2": 0.5, "3": 0.5})
        until_failed(model, 1)
        assert model.current() is pool
        world.announce_pool("2", hashes, {"1": 0.5, "2": 0.5})
        until_members(model, {"1": 0.5, "2": 0.5})
        loaded = {voter.version: voter.estimator for voter in model.estimator.voters}
        assert loaded["1"] is alone.estimator  # other weights load nothing again

        world.promote("2", hashes["2"])
        until_members(model, {})
        assert classes_of(model.current()) == ["2", "not 2"]


def until_members(model: ChampionModel, weights: dict[str, float]) -> None:
    waiting = threading.Event()
    for _ in range(int(WAIT_S / 0.05)):
        if {member.version: member.weight for member in model.current().members} == weights:
            return
        waiting.wait(0.05)
    pytest.fail(f"the members are {model.current().members}: {model.last_failure}")


def until_shadow(model: ChampionModel, version: str) -> ServedVersion:
    waiting = threading.Event()
    for _ in range(int(WAIT_S / 0.05)):
        shadow = model.shadow()
        if shadow is not None and shadow.version == version:
            return shadow
        waiting.wait(0.05)
    pytest.fail(f"version {version} makes no shadow predictions: {model.last_failure}")
