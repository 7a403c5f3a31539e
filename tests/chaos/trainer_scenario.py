"""A retrain that faults interrupt: it must end in exactly one new champion."""

from __future__ import annotations

import random
import resource
import subprocess
import tempfile
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from producer.failpoints import EXIT_CODE, FAILPOINTS
from tests.chaos.oracle_comparison import OracleComparison
from tests.integration.test_trainer_kills import PASSES, play
from tests.integration.trainer_harness import MODEL, TrainerHarness, until
from trainer.contracts import RetrainEvent
from trainer.jobs.champions import champion_of
from trainer.jobs.database import Database
from trainer.jobs.job_store import active_jobs, jobs_of

STEPS: Final = tuple(place for place in FAILPOINTS if place.startswith("trainer."))
EXPECTED: Final = {
    1: ["declined"],  # a broken unit
    2: ["requested", "started", "succeeded", "promoted"],
    3: ["declined"],  # the job of the second one runs
}
"""The steps that are reported for each alert, whatever is killed meanwhile."""
LONGEST_LIFE_S: Final = 8.0
"""A trainer starts in 3 s and has promoted in 6 s; one of the kills may come after that."""
RECOVERY_TIMEOUT_S: Final = 150.0
DISK_FULL_BYTES: Final = 40_000
"""The limit of file sizes for a trainer on a full disk, or less by chance."""


class Training:
    """A log with a drift, a home, and the trainers in it, one after the other."""

    def __init__(self, broker: str, chance: random.Random) -> None:
        self._broker, self._chance = broker, chance
        self._held = ExitStack()

    def __enter__(self) -> Self:
        data_dir = self._held.enter_context(
            tempfile.TemporaryDirectory(prefix="driftline-training-")
        )
        self._harness = TrainerHarness(self._broker, Path(data_dir))
        self._held.callback(self._harness.close)
        play(self._harness)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()

    def killed_at_a_step(self) -> None:
        """A trainer that has done nothing yet dies at one of its steps."""
        place = self._chance.choice(STEPS)
        passes = self._chance.randint(1, PASSES.get(place, 1))
        code = self._start(f"{place}:{passes}").wait(RECOVERY_TIMEOUT_S)
        assert code == EXIT_CODE, f"a trainer ended with {code}, not at {place}"

    def killed_at_any_moment(self) -> None:
        """`kill -9` while it starts, works, or waits for the next alert."""
        trainer = self._start()
        try:
            code = trainer.wait(self._chance.uniform(0.0, LONGEST_LIFE_S))
        except subprocess.TimeoutExpired:
            trainer.kill()
            trainer.wait()
        else:
            raise AssertionError(f"a trainer ended by itself: {code}")

    def with_full_disk(self) -> None:
        """Limit the size of its files: the trainer ends, and is started again."""
        trainer = self._start()
        _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = self._chance.randint(0, DISK_FULL_BYTES)
        resource.prlimit(trainer.pid, resource.RLIMIT_FSIZE, (size, hard))
        code = trainer.wait(RECOVERY_TIMEOUT_S)
        assert code == 1, f"a trainer on a full disk ended with {code}"

    def continues(self) -> None:
        """Nothing is in its way any more: it promotes."""
        self._start()
        until(lambda: "promoted" in self._harness.steps(2), RECOVERY_TIMEOUT_S)
        until(lambda: self._harness.versions()[MODEL].version == "2", RECOVERY_TIMEOUT_S)
        self._harness.close()

    def findings(self) -> OracleComparison:
        """What is not as it would be if nothing had happened."""
        harness = self._harness
        events: dict[str, set[str]] = {}
        for event in harness._read(harness.topics.retrain, RetrainEvent):
            events.setdefault(event.id, set()).add(repr(event))
        with closing(Database(harness.data_dir)) as database:
            causes = Counter(job.caused_by for job in jobs_of(database.rows, MODEL))
            champion = champion_of(database.rows, MODEL)
            unfinished = len(active_jobs(database.rows))
        pointer = harness.versions()[MODEL]
        agreed = champion is not None and (champion.version, champion.artifact_sha256) == (
            pointer.version,
            pointer.artifact_sha256,
        )
        updates = {update_id for _, update_id in harness.updates()}  # one of each version
        expected = {f"alert-{number}" for number in EXPECTED}
        return OracleComparison(
            alerts=len(expected),
            alerts_lost=len(expected - causes.keys()),
            phantom_alerts=len(causes.keys() - expected),
            duplicate_effects=sum(count - 1 for count in causes.values())
            + sum(len(bodies) - 1 for bodies in events.values())
            + max(0, len(updates) - 2),
            state_mismatches=sum(harness.steps(n) != steps for n, steps in EXPECTED.items())
            + unfinished
            + (not agreed),
        )

    def _start(self, failpoint: str = "") -> subprocess.Popen[bytes]:
        return self._harness.start(failpoint, output=subprocess.DEVNULL)
