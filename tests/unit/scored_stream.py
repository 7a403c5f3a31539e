"""A stream of labelled events of two partitions, and a trainer's database that follows it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from producer.events import InferenceEvent, Label
from trainer.dataset.label_join import JoinedEvent
from trainer.evaluation.losses import Floats
from trainer.jobs.champions import Champion, champion_of, set_champion
from trainer.jobs.comparisons import label_positions
from trainer.jobs.database import Database
from trainer.jobs.job import Job
from trainer.jobs.job_store import active_job_of, transition
from trainer.registry.manifest import Manifest
from trainer.service.compare_versions import RecordedEvents, record_scored
from trainer.service.context import TrainerContext, context_from_settings
from trainer.service.labelled_events import LabelledEvents
from trainer.service.scored_events import ScoredEvents
from trainer.settings import Settings

MODEL: Final = "m"
HOUR_MS: Final = 3_600_000
SWAP: Final[dict[str, Any]] = {
    "block_events": 10,
    "cooldown_events": 50,
    "events_per_false_swap": 2_000,
}


class StoredRecord(NamedTuple):
    """A record of a partition."""

    offset: int
    append_ms: int
    record: InferenceEvent | Label


def partitions(seed: int, n_events: int) -> dict[int, list[StoredRecord]]:
    """Events whose labels come 0 to 30 records later, some twice, in two partitions."""
    chance = random.Random(seed)  # noqa: S311 - a repeatable stream
    placed: dict[int, list[tuple[float, InferenceEvent | Label]]] = {0: [], 1: []}
    for number in range(n_events):
        place = placed[chance.randrange(2)]
        event = InferenceEvent(
            id=f"e{number}", model=MODEL, version="2", time_ms=HOUR_MS + number, features={}
        )
        label = Label(id=event.id, model=MODEL, label=number, time_ms=event.time_ms)
        place.append((number, event))
        for _ in range(chance.choice((1, 1, 1, 2))):
            place.append((number + chance.uniform(-2, 30), label))
    return {
        p: [
            StoredRecord(i, int(1_000 * at), record)
            for i, (at, record) in enumerate(sorted(records, key=lambda one: one[0]))
        ]
        for p, records in placed.items()
    }


class LossTable:
    """Losses of versions 1 and 2 by the number of the event: version 1 is better from ``turn``."""

    newest: Manifest | None = None
    scale = 1.0

    def __init__(self, turn: int) -> None:
        self._turn = turn

    def score(self, joined: list[JoinedEvent]) -> dict[str, Floats]:
        numbers = np.array([int(one.label) for one in joined])  # type: ignore[arg-type]
        bad = np.where(numbers % 5 == 0, 0.1, 0.6)
        good = np.where(numbers % 7 == 0, 0.5, 0.1)
        turned = numbers >= self._turn
        return {"1": np.where(turned, good, bad), "2": np.where(turned, bad, good)}


class FollowedStream:
    """A trainer's loop over the stream, without Kafka and without fits."""

    def __init__(
        self,
        folder: Path,
        stream: dict[int, list[StoredRecord]],
        turn: int,
        mode: str = "auto",
        scorer: Any = None,
    ) -> None:
        self._folder, self._stream = folder, stream
        self._scorer: Any = scorer or LossTable(turn)
        self.database = Database(folder)
        self.database.rows.execute("PRAGMA synchronous = OFF")  # no power is cut here
        values: dict[str, Any] = {
            "trainer": {"data_dir": folder, "factories": {MODEL: "f:f"}, "mode": mode, "swap": SWAP}
        }
        self.context: TrainerContext = context_from_settings(Settings(**values))
        self.start()

    def start(self) -> None:
        """Begin as a new process does: from the recorded positions."""
        with self.database.transaction() as rows:
            if champion_of(rows, MODEL) is None:
                set_champion(rows, Champion(MODEL, "2", "ab", HOUR_MS, "first"))
            positions = {one.partition: one for one in label_positions(rows, MODEL)}
        self.events = LabelledEvents(
            MODEL,
            self._scorer,
            positions=positions,
            starts=dict.fromkeys(self._stream, 0),
            block_events=SWAP["block_events"],
            max_events_per_s=1_000_000,
        )
        self._next = self.events.read_from()

    def read(self, chance: random.Random) -> bool:
        """Read some records of a partition; return whether there were any."""
        left = [p for p, records in self._stream.items() if self._next[p] < len(records)]
        if not left:
            return False
        place = chance.choice(left)
        start = self._next[place]
        for offset, append_ms, record in self._stream[place][start : start + chance.randint(1, 40)]:
            self.events.add(place, offset, append_ms, record)
            self._next[place] = offset + 1
        return True

    def scored(self) -> ScoredEvents | None:
        """Score what waits; a partition that is read to its end does not hold up the other."""
        ended = {p for p, records in self._stream.items() if self._next[p] == len(records)}
        return self.events.scored(ended)

    def record(
        self, scored: ScoredEvents, fail: Callable[[], None] = lambda: None
    ) -> RecordedEvents | None:
        """Record scored events; ``fail`` is called before the end of the transaction."""
        with self.database.transaction() as rows:
            found = record_scored(rows, scored, self.context)
            fail()
        return found

    def promote(self) -> Job | None:
        """Do the step of a swap's job, as the pipeline does."""
        with self.database.transaction() as rows:
            job = active_job_of(rows, MODEL)
            if job is not None and job.state == "promoting" and job.challenger is not None:
                transition(rows, job, job.ended("promoted"))
                set_champion(rows, Champion(MODEL, job.challenger, "ab", job.now_ms, job.caused_by))
        return job
