"""Problems of processes: partitions that no worker reads, and a silent trainer.  Pure.

None of it follows from the event topic, so it is no part of a partition's state.  Every live worker
reads the same owner status, and one of them publishes the problems
(`stream_monitor.runtime.health_reporter`); a live trainer does so where no worker is left.  Clocks
of other machines are not compared: a status is stale when it has not changed for a while of the
reader's own clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from shlex import quote
from typing import Final, NamedTuple

from stream_monitor.contracts import HealthEvent, HealthKind, HealthPhase

STALE_S: Final = 45.0
"""A partition without a write for so long has no owner: an idle partition gets ticks."""
TRAINER_SILENT_S: Final = 40.0
"""A trainer sends a heartbeat every 5 s; workers check every 15 s, so they notice in a minute."""


class OwnerStatus(NamedTuple):
    """The owner of a partition, according to the store.

    ``fencing_token`` is empty where no worker has ever owned the partition, ``written_ms`` is the
    owner's last write (0 where it released the partition), ``stopped`` is why it reads no further.
    """

    fencing_token: str
    written_ms: int
    stopped: str = ""


class HealthProblem(NamedTuple):
    """A problem that delays the handling of a part of the traffic or of the alerts.

    ``occurrence`` distinguishes this occurrence from later ones; every process derives the same id.
    """

    kind: HealthKind
    subject: str
    occurrence: str
    since_ms: int
    explanation: str
    fix: str

    @property
    def problem_id(self) -> str:
        """The id of the problem; the same in every process."""
        return _derived(self.kind, self.subject, self.occurrence)

    def event(self, phase: HealthPhase, now_ms: int) -> HealthEvent:
        """The event to publish; repeats have one ``health_id``."""
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
    """The health of all processes as one process observes it; times are its monotonic seconds."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._partitions: dict[int, tuple[OwnerStatus, float]] = {}
        self._trainer: tuple[int, float] | None = None

    def observe(
        self, partitions: Mapping[int, OwnerStatus], trainer_ms: int | None, now_s: float
    ) -> None:
        """Take the present status; ``trainer_ms`` is the trainer's last heartbeat, if any."""
        self._partitions = {
            p: (sign, _since(self._partitions.get(p), sign, now_s))
            for p, sign in partitions.items()
        }
        if trainer_ms is not None:
            self._trainer = trainer_ms, _since(self._trainer, trainer_ms, now_s)

    def stale(self, now_s: float) -> list[int]:
        """Return the partitions whose owner has not written for `STALE_S`."""
        return [p for p, (_, since_s) in self._partitions.items() if now_s - since_s > STALE_S]

    def is_reporter(self, ours: Collection[int], now_s: float) -> bool:
        """Whether this worker publishes: it owns the lowest partition that has a live owner."""
        stale = set(self.stale(now_s))
        alive = [p for p in self._partitions if p in ours or p not in stale]
        return bool(ours) and min(alive, default=-1) in ours

    def problems(
        self, now_s: float, now_ms: int, *, ours: Collection[int], held: Collection[int] = ()
    ) -> list[HealthProblem]:
        """The present problems.  An open transaction blocks the records of ``held`` partitions."""
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
            "start a worker (driftline monitor), or run driftline doctor to see why the present "
            "workers do not read it",
        )


def _since(before: tuple[object, float] | None, sign: object, now_s: float) -> float:
    """When ``sign`` last changed."""
    return before[1] if before is not None and before[0] == sign else now_s


def _silent_trainer(since_ms: int) -> HealthProblem:
    return HealthProblem(
        "trainer_silent",
        "trainer",
        str(since_ms),
        since_ms,
        "the trainer has stopped sending heartbeats: no alert leads to a retrain",
        "start it: driftline train",
    )


def no_worker(group: str, topic: str, since_ms: int) -> HealthProblem:
    """Return the problem that the monitor's group has no members, so that nothing is watched."""
    return HealthProblem(
        "no_worker",
        group,
        str(since_ms),
        since_ms,
        f"no worker is a member of {group}: nothing of {topic} is watched",
        "start a worker: driftline monitor",
    )


def scoring_stopped(topic: str, since_ms: int, why: str) -> HealthProblem:
    """Return the problem that the trainer does not score stored versions."""
    return HealthProblem(
        "scoring_stopped",
        "trainer",
        str(since_ms),
        since_ms,
        f"the trainer does not score stored versions on the labelled events of {topic}"
        + (f": {why}" if why else ""),
        "see the trainer's log; alerts still lead to retrains meanwhile",
    )


def mlflow_out_of_date(server: str, since_ms: int, why: str) -> HealthProblem:
    """The problem that MLflow lacks versions or aliases of the trainer."""
    return HealthProblem(
        "mlflow_out_of_date",
        "trainer",
        str(since_ms),
        since_ms,
        f"{server} does not have all versions and aliases of the trainer: {why}",
        "start MLflow, or correct [trainer.registry] mlflow_uri or its credentials; the trainer "
        "tries again, and promotes nothing that it cannot publish",
    )


def alias_moved(model: str, alias: str, found: str, wanted: str, now_ms: int) -> HealthProblem:
    """The problem that a person moved an alias in MLflow, which follows the trainer."""
    of_model = quote(model)
    version = quote(found) if found and " " not in found else "VERSION"
    return HealthProblem(
        "alias_moved",
        f"{model}:{alias}",
        f"{found}:{now_ms}",
        now_ms,
        f"a person changed the alias {alias} of {model} in MLflow to {found or 'no version'}; the "
        f"trainer set it back to {wanted or 'no version'}, and nothing else has changed",
        f"to put a version into service: driftline models promote {of_model} {version}",
    )


def changes(
    before: Iterable[HealthProblem], now: Iterable[HealthProblem]
) -> list[tuple[HealthPhase, HealthProblem]]:
    """The changes to publish: problems that began, and problems that are resolved."""
    there = {problem.problem_id: problem for problem in now}
    over = [problem for problem in before if problem.problem_id not in there]
    known = {problem.problem_id for problem in before}
    new = [problem for name, problem in there.items() if name not in known]
    return [*(("started", p) for p in new), *(("resolved", p) for p in over)]
