"""Problems of processes: partitions that no worker reads, and a silent trainer.  Pure.

None of it follows from the log, so none of it is decided in the fold.  Every live worker looks at
the same signs, and one of them publishes what it finds (`stream_monitor.runtime.health_reporter`);
a live
trainer does so where no worker is left.  Clocks of other machines are not compared with ours: a
sign is stale when it has not changed for a while of our own clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from stream_monitor.contracts import HealthEvent, HealthKind, HealthPhase

STALE_S: Final = 45.0
"""A partition whose owner wrote nothing for so long has none: even an idle one gets ticks."""
TRAINER_SILENT_S: Final = 40.0
"""A trainer leaves a note every 5 s; workers look every 15 s, so a minute is enough."""


class OwnerStatus(NamedTuple):
    """What the store holds of a partition.

    That is its owner's epoch, empty where nobody has ever owned it, the last write of the owner
    (ms; 0 where it gave the partition up), and why the owner reads no further.
    """

    fencing_token: str
    written_ms: int
    stopped: str = ""


class HealthProblem(NamedTuple):
    """Something that keeps a part of the traffic, or of the alerts, from being worked on.

    ``occurrence`` tells this time from the next one: whoever looks at it derives the same id.
    """

    kind: HealthKind
    subject: str
    occurrence: str
    since_ms: int
    explanation: str
    fix: str

    @property
    def problem_id(self) -> str:
        """The same for everybody who sees it."""
        return _derived(self.kind, self.subject, self.occurrence)

    def event(self, phase: HealthPhase, now_ms: int) -> HealthEvent:
        """It as it is published; repeats have one ``health_id``."""
        return HealthEvent(
            health_id=_derived(self.problem_id, phase),
            problem_id=self.problem_id,
            phase=phase,
            kind=self.kind,
            subject=self.subject,
            since_ms=self.since_ms,
            time_ms=now_ms,
            explanation=self.explanation,
            fix=self.fix,
        )


def _derived(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


class Health:
    """What one process has seen of the others; times in its own monotonic seconds."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._partitions: dict[int, tuple[OwnerStatus, float]] = {}
        self._trainer: tuple[int, float] | None = None

    def observe(
        self, partitions: Mapping[int, OwnerStatus], trainer_ms: int | None, now_s: float
    ) -> None:
        """Take what is there now; ``trainer_ms`` is the trainer's last note, if one ever ran."""
        self._partitions = {
            p: (sign, _since(self._partitions.get(p), sign, now_s))
            for p, sign in partitions.items()
        }
        if trainer_ms is not None:
            self._trainer = trainer_ms, _since(self._trainer, trainer_ms, now_s)

    def stale(self, now_s: float) -> list[int]:
        """Partitions without a sign of their owner."""
        return [p for p, (_, since_s) in self._partitions.items() if now_s - since_s > STALE_S]

    def is_reporter(self, ours: Collection[int], now_s: float) -> bool:
        """Whether we are the one that publishes: the owner of the lowest partition that lives."""
        stale = set(self.stale(now_s))
        alive = [p for p in self._partitions if p in ours or p not in stale]
        return bool(ours) and min(alive, default=-1) in ours

    def problems(
        self, now_s: float, now_ms: int, *, ours: Collection[int], held: Collection[int] = ()
    ) -> list[HealthProblem]:
        """What is wrong.  ``held`` partitions get no records for a transaction that is open."""
        stale = set(self.stale(now_s)) - set(ours) - set(held)
        found = [
            self._of_partition(p, sign, now_ms)
            for p, (sign, _) in sorted(self._partitions.items())
            if sign.stopped or p in stale
        ]
        if self._trainer is not None and now_s - self._trainer[1] > TRAINER_SILENT_S:
            found.append(_silent_trainer(self._trainer[0]))
        return found

    def _of_partition(self, partition: int, sign: OwnerStatus, now_ms: int) -> HealthProblem:
        subject = f"{self._topic}:{partition}"
        since_ms = sign.written_ms or now_ms
        if sign.stopped:
            return HealthProblem(
                "partition_stopped",
                subject,
                sign.fencing_token,
                since_ms,
                f"partition {partition} of {self._topic} is not read any more: {sign.stopped}",
                "correct what writes these records, then restart the worker (see driftline doctor)",
            )
        return HealthProblem(
            "partition_without_owner",
            subject,
            f"{sign.fencing_token}:{sign.written_ms}",
            since_ms,
            f"no worker reads partition {partition} of {self._topic}: none of its models is "
            "watched",
            "start a worker (driftline monitor), or see why the present ones do not take it: "
            "driftline doctor",
        )


def _since(before: tuple[object, float] | None, sign: object, now_s: float) -> float:
    """Since when the sign is as it is."""
    return before[1] if before is not None and before[0] == sign else now_s


def _silent_trainer(since_ms: int) -> HealthProblem:
    return HealthProblem(
        "trainer_silent",
        "trainer",
        str(since_ms),
        since_ms,
        "the trainer has given no sign of life: no alert leads to a retrain",
        "start it: driftline train",
    )


def no_worker(group: str, topic: str, since_ms: int) -> HealthProblem:
    """No process is a member of the monitor's group: nothing at all is watched."""
    return HealthProblem(
        "no_worker",
        group,
        str(since_ms),
        since_ms,
        f"no worker is a member of {group}: nothing of {topic} is watched",
        "start a worker: driftline monitor",
    )


def changes(
    before: Iterable[HealthProblem], now: Iterable[HealthProblem]
) -> list[tuple[HealthPhase, HealthProblem]]:
    """What is to be published: problems that began, and those that are over."""
    there = {problem.problem_id: problem for problem in now}
    over = [problem for problem in before if problem.problem_id not in there]
    known = {problem.problem_id for problem in before}
    new = [problem for name, problem in there.items() if name not in known]
    return [*(("started", p) for p in new), *(("resolved", p) for p in over)]
