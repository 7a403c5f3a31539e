"""Kills during scoring: each labelled event counts once, one swap, one champion."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.unit.scored_stream import MODEL, FollowedStream, partitions
from trainer.jobs.champions import champion_of
from trainer.jobs.comparisons import find_comparison
from trainer.jobs.job_store import active_jobs, jobs_of
from trainer.jobs.outbox import unsent_records
from trainer.service.compare_versions import SWAP_RULE

N_EVENTS, TURN = 600, 250
PLACES: Final = ("read", "scored", "in_transaction", "recorded", "promoted")
"""Where the process ends: after reading, after scoring, before the end of the transaction, after
it, and after the promotion."""


class Killed(Exception):  # noqa: N818 - the end of a process
    """The process ends here."""


@pytest.fixture(autouse=True)
def stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every version is in the registry."""
    from types import SimpleNamespace  # noqa: PLC0415

    from trainer.service.context import TrainerContext  # noqa: PLC0415

    manifest = SimpleNamespace(artifact_sha256="ab")
    monkeypatch.setattr(TrainerContext, "manifest", lambda *_: manifest)


def run(trainer: FollowedStream, chance: random.Random, place: str, *, kills: int) -> None:
    """Follow the stream to its end; the process ends ``kills`` times at random passes."""
    left = sorted(chance.randint(1, 25) for _ in range(kills))
    passes = 0

    def here(name: str) -> None:
        nonlocal passes
        if name != place:
            return
        passes += 1
        if left and passes >= left[0]:
            del left[0]
            raise Killed

    while True:
        try:
            _follow(trainer, chance, here)
        except Killed:
            trainer.start()
        else:
            return


def _follow(trainer: FollowedStream, chance: random.Random, here: object) -> None:
    assert callable(here)
    more = True
    while more:
        more = trainer.read(chance)
        here("read")
        scored = trainer.scored()
        here("scored")
        if scored is not None:
            assert trainer.record(scored, lambda: here("in_transaction")) is not None
            here("recorded")
        if trainer.promote() is not None:
            here("promoted")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("place", PLACES)
def test_a_killed_trainer_counts_each_labelled_event_once_and_swaps_once(
    tmp_path: Path, place: str, seed: int
) -> None:
    chance = random.Random(f"{place} {seed}")  # noqa: S311 - a repeatable schedule
    trainer = FollowedStream(tmp_path, partitions(seed, N_EVENTS), TURN)

    run(trainer, chance, place, kills=4)

    with closing(trainer.database) as database:
        found = find_comparison(database.rows, MODEL)
        assert found is not None
        assert found.n_labelled == N_EVENTS - trainer.events.n_waiting
        assert trainer.events.n_waiting < 10
        jobs = jobs_of(database.rows, MODEL)
        assert Counter(job.work.rule for job in jobs) == Counter([SWAP_RULE])
        assert (jobs[0].champion, jobs[0].challenger, jobs[0].outcome) == ("2", "1", "promoted")
        assert active_jobs(database.rows) == []
        champion = champion_of(database.rows, MODEL)
        assert champion is not None
        assert (champion.version, champion.caused_by) == ("1", jobs[0].caused_by)
        assert found.swap.champion == "1"
        assert len(unsent_records(database.rows)) == 1  # the request, once


def test_events_of_other_positions_are_not_recorded(tmp_path: Path) -> None:
    """A process that began before another one recorded: its events would count twice."""
    stream = partitions(1, N_EVENTS)
    trainer = FollowedStream(tmp_path, stream, TURN)
    chance = random.Random(1)  # noqa: S311
    trainer.read(chance)
    early = trainer.scored()
    assert early is not None
    assert trainer.record(early) is not None

    assert trainer.record(early) is None

    with closing(trainer.database) as database:
        found = find_comparison(database.rows, MODEL)
        assert found is not None
        assert found.n_labelled == early.n_labelled
