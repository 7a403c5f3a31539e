"""The weights of a pool in service: those of the backtest, each renewal announced once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.pool_registry import store_pool, store_version
from tests.unit.scored_stream import HOUR_MS, MODEL, FollowedStream, partitions
from tests.unit.test_trainer_scoring_kills import PLACES, run
from trainer.contracts import ModelVersion, RetrainEvent
from trainer.dataset.label_join import JoinedEvent
from trainer.evaluation.losses import Floats
from trainer.evaluation.vote import (
    MIN_EVENTS,
    RECENT_EVENTS,
    RENEW_EVENTS,
    VersionVote,
    VoteState,
    vote_weights,
)
from trainer.jobs.champions import Champion, set_champion
from trainer.jobs.comparisons import Position, find_comparison, read_pool_weights
from trainer.jobs.database import Database
from trainer.jobs.job_store import jobs_of
from trainer.jobs.outbox import OutboundRecord, unsent_records
from trainer.registry.manifest import Manifest
from trainer.service.compare_versions import record_scored
from trainer.service.context import TrainerContext, context_from_settings
from trainer.service.scored_events import ScoredEvents
from trainer.settings import Settings

N_EVENTS: Final = 1_100
BLOCK: Final = 25


class Follower:
    """Records scored events of stored versions; the champion 2 is a pool, 1 is none."""

    def __init__(self, folder: Path, mode: str = "pool", champion: str = "2") -> None:
        self.folder = folder
        self.database = Database(folder)
        self.context = self.in_mode(mode)
        self._offset = 0
        self.champion = store_version(folder, MODEL, "1")
        if champion == "2":
            store_version(folder, MODEL, "3", c=3.0)
            self.champion = store_pool(folder, MODEL, "2", "first")
        self.promote("first", self.champion)

    def promote(self, caused_by: str, manifest: Manifest | None = None) -> None:
        self.champion = found = manifest or self.champion
        champion = Champion(MODEL, found.version, found.artifact_sha256, HOUR_MS, caused_by)
        with self.database.transaction() as rows:
            set_champion(rows, champion)

    def in_mode(self, mode: str) -> TrainerContext:
        trainer = {"data_dir": self.folder, "mode": mode, "swap": {"block_events": BLOCK}}
        self.context = context_from_settings(Settings.model_validate({"trainer": trainer}))
        return self.context

    def record(self, losses: dict[str, Floats]) -> None:
        n = len(next(iter(losses.values()), range(BLOCK)))
        at = Position(partition=0, next_offset=self._offset, reread_offset=self._offset)
        self._offset += n
        scored = ScoredEvents(
            model=MODEL,
            before=[at] if self._offset > n else [],
            after=[msgspec.structs.replace(at, next_offset=self._offset)],
            n_labelled=n,
            newest_ms=HOUR_MS,
            times_ms=[HOUR_MS] * n,
            versions=["2"] * n,
            losses={name: values.tolist() for name, values in losses.items()},
        )
        with self.database.transaction() as rows:
            assert record_scored(rows, scored, self.context) is not None
            rows.execute("UPDATE label_positions SET reread_offset = next_offset")

    @property
    def weights(self) -> dict[str, float]:
        found = find_comparison(self.database.rows, MODEL)
        assert found is not None
        assert found.vote is not None
        return found.vote.weights

    def sent(self, kind: type[Any]) -> list[Any]:
        topic = "models" if kind is ModelVersion else "retrain"
        found = unsent_records(self.database.rows, 1_000)
        return [msgspec.json.decode(one.value, type=kind) for one in found if topic in one.topic]


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Follower]:
    follower = Follower(tmp_path)
    with closing(follower.database):
        yield follower


def losses_of(seed: int, n: int, **means: float) -> dict[str, Floats]:
    draw = np.random.default_rng(seed)
    return {f"{name[1:]}": draw.random(n) * 2 * mean for name, mean in means.items()}


def test_weights_are_those_of_the_newest_losses_and_renewed_after_each_so_many_labels(
    follower: Follower,
) -> None:
    """The losses come in messages of any size of whole blocks."""
    chance = random.Random(1)  # noqa: S311 - a repeatable stream
    all_losses = losses_of(1, 3 * RENEW_EVENTS, v1=0.20, v2=0.22, v3=0.21)
    expected, start = {"2": 1.0}, 0
    while start < 3 * RENEW_EVENTS:
        n = min(BLOCK * chance.randint(1, 8), 3 * RENEW_EVENTS - start)
        follower.record({name: values[start : start + n] for name, values in all_losses.items()})
        start += n
        renewed = start // RENEW_EVENTS * RENEW_EVENTS
        if renewed:
            newest = slice(renewed - RECENT_EVENTS, renewed)
            expected = vote_weights({v: one[newest] for v, one in all_losses.items()})
        assert follower.weights == pytest.approx(expected)

    pointers, events = follower.sent(ModelVersion), follower.sent(RetrainEvent)
    assert len(pointers) == len(events) == 3
    assert {event.step for event in events} == {"reweighted"}
    assert {pointer.version for pointer in pointers} == {"2"}
    assert {pointer.artifact_sha256 for pointer in pointers} == {follower.champion.artifact_sha256}
    last = {member.version: member.weight for member in pointers[-1].members}
    assert last == pytest.approx(expected)
    assert events[-1].numbers == {f"weight_of_{v}": pytest.approx(w) for v, w in last.items()}
    assert "a prediction costs 3 predictions" in events[-1].reason
    shown = read_pool_weights(follower.folder, MODEL)
    assert shown is not None
    assert shown[0] == "2"
    assert shown[1] == pytest.approx(expected)


@settings(max_examples=25)
@given(seed=st.integers(0, 1_000), cut=st.integers(0, 40))
def test_a_restart_changes_no_weight(seed: int, cut: int) -> None:
    draw = np.random.default_rng(seed)
    blocks = [{v: draw.random(BLOCK) for v in "123"} for _ in range(40)]
    for block in blocks[::7]:
        block["3"][::2] = np.nan  # events that it was trained on
    whole = VersionVote(VoteState(champion="2", weights={}))
    parts = VersionVote(VoteState(champion="2", weights={}))
    for i, block in enumerate(blocks):
        if i == cut:
            stored = msgspec.json.encode(parts.state)
            parts = VersionVote(msgspec.json.decode(stored, type=VoteState))
        if whole.observe(block):
            whole.serve(whole.weights("123"))
        if parts.observe(block):
            parts.serve(parts.weights("123"))

    assert parts.state == whole.state
    assert whole.state.weights


def test_a_version_of_which_too_little_is_known_does_not_vote() -> None:
    """A rejected challenger that was stored a moment ago; one that predicts few of the events."""
    nothing, little = np.full(RECENT_EVENTS, np.nan), np.full(RECENT_EVENTS, np.nan)
    little[-MIN_EVENTS + 1 :] = 0.0

    weights = vote_weights({"1": np.full(100, 0.2), "2": nothing, "3": little})

    assert weights == {"1": 1.0}
    assert vote_weights({"2": nothing}) == {}


def test_labels_that_the_champion_was_trained_on_renew_nothing(follower: Follower) -> None:
    """After a late start the labels of the training rows are scored after the promotion."""
    late = losses_of(1, 2 * RENEW_EVENTS, v1=0.2, v2=0.2)
    late["2"][:] = np.nan

    follower.record(late)
    assert follower.sent(ModelVersion) == []
    follower.record(losses_of(2, RENEW_EVENTS, v1=0.2, v2=0.2))
    assert len(follower.sent(ModelVersion)) == 1


def test_no_swap_while_a_pool_serves(follower: Follower) -> None:
    follower.record(losses_of(1, 3_000, v1=0.05, v2=0.45))

    assert jobs_of(follower.database.rows, MODEL) == []
    assert follower.weights["1"] > 0.99
    assert follower.sent(ModelVersion)[-1].members[0].version == "1"


def test_a_version_with_other_features_is_left_out_and_named(follower: Follower) -> None:
    store_version(follower.folder, MODEL, "4", features=("a", "c"), c=9.0)

    follower.record(losses_of(1, RENEW_EVENTS, v1=0.2, v2=0.2, v4=0.1, v5=0.1))

    assert follower.weights.keys() == {"1", "2"}
    (event,) = follower.sent(RetrainEvent)
    assert "Version 4 has no vote: it has other features." in event.reason
    assert event.numbers["left_out_4"] == "it has other features"
    assert "no version '5'" in event.numbers["left_out_5"]


def test_events_of_excluded_time_ranges_do_not_weigh(follower: Follower) -> None:
    with follower.database.transaction() as rows:
        rows.execute("INSERT INTO spans (episode_id, model, start_ms) VALUES ('q', ?, 0)", (MODEL,))
    follower.record(losses_of(1, 2 * RENEW_EVENTS, v1=0.01, v2=0.4))

    assert follower.weights == {"2": 1.0}
    assert follower.sent(ModelVersion) == []


def test_in_another_mode_the_version_serves_alone_again(follower: Follower) -> None:
    follower.record(losses_of(1, RENEW_EVENTS, v1=0.2, v2=0.2))
    follower.in_mode("manual")
    follower.record({})  # versions are not even compared
    follower.record(losses_of(3, RENEW_EVENTS, v1=0.2, v2=0.2))

    pool, alone = follower.sent(ModelVersion)
    assert (len(pool.members), alone.members) == (2, ())
    assert read_pool_weights(follower.folder, MODEL) is None


def test_a_version_that_a_person_promotes_serves_alone(follower: Follower) -> None:
    follower.record(losses_of(1, RENEW_EVENTS, v1=0.2, v2=0.2))
    follower.promote("person:1")
    follower.record(losses_of(2, 2 * RENEW_EVENTS, v1=0.1, v2=0.4))

    assert follower.weights == {"2": 1.0}
    assert len(follower.sent(ModelVersion)) == 1


def test_versions_of_the_mode_auto_form_no_pool(tmp_path: Path) -> None:
    follower = Follower(tmp_path, "auto")
    with closing(follower.database):
        follower.promote("person:1")
        follower.record(losses_of(1, 2 * RENEW_EVENTS, v1=0.2, v2=0.2))
        assert follower.sent(ModelVersion) == []


class SlowLosses:
    """Losses of versions 1 and 2 by the number of the event: in turn one is a little better."""

    newest = None
    scale = 1.0

    def score(self, joined: list[JoinedEvent]) -> dict[str, Floats]:
        numbers = np.array([int(one.label) for one in joined])  # type: ignore[arg-type]
        return {"1": 0.2 + 0.02 * np.sin(numbers / 200), "2": 0.2 + 0.02 * np.cos(numbers / 200)}


def followed(folder: Path, seed: int) -> FollowedStream:
    stream = partitions(seed, N_EVENTS)
    trainer = FollowedStream(folder, stream, N_EVENTS, mode="pool", scorer=SlowLosses())
    store_version(folder, MODEL, "1")
    store_pool(folder, MODEL, "2", "first")
    return trainer


def announced(trainer: FollowedStream) -> list[OutboundRecord]:
    with closing(trainer.database) as database:
        return unsent_records(database.rows)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("place", [place for place in PLACES if place != "promoted"])
def test_a_killed_trainer_announces_the_weights_of_an_undisturbed_run_once(
    tmp_path: Path, place: str, seed: int
) -> None:
    undisturbed = followed(tmp_path / "undisturbed", seed)
    run(undisturbed, random.Random(seed), "read", kills=0)  # noqa: S311 - a repeatable schedule
    killed = followed(tmp_path / "killed", seed)
    run(killed, random.Random(f"{place} {seed}"), place, kills=4)  # noqa: S311

    expected = announced(undisturbed)
    assert len(expected) == 2 * (N_EVENTS // RENEW_EVENTS)
    assert weights_of(announced(killed)) == weights_of(expected)


def weights_of(records: list[OutboundRecord]) -> list[tuple[str, Any]]:
    """The ids, and what of the records does not depend on where messages are cut: not the time."""
    found = []
    for one in records:
        value = msgspec.json.decode(one.value)
        found.append((one.id, value.get("members", value.get("numbers"))))
    return found
