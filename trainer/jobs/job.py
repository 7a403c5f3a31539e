"""A job, its states, and which may follow which.

::

    asked -> waiting -> reading -> fitting -> evaluating -> storing -> promoting -> done
      |         |          |          |           |            |                     ^
      |         |          |          |           +------------+-- rejected ---------+
      |         |          |          +-- failed ------------------------------------+
      |         +----------+-- cancelled, gave up ------------------------------------+
      +-- a person promotes or rolls back: straight to promoting

A step that raises, or that ended three trainers, has failed in whatever state.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from stream_monitor.contracts import DriftAlert
from trainer.policy.offset_ranges import OffsetRange

State: TypeAlias = Literal[
    "asked", "waiting", "reading", "fitting", "evaluating", "storing", "promoting", "done"
]
Outcome: TypeAlias = Literal[
    "declined", "cancelled", "gave_up", "failed", "rejected", "promoted", "rolled_back"
]

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    "asked": frozenset({"waiting", "done"}),
    "waiting": frozenset({"reading", "done"}),
    "reading": frozenset({"fitting", "done"}),
    "fitting": frozenset({"evaluating", "done"}),
    "evaluating": frozenset({"storing", "done"}),
    "storing": frozenset({"promoting", "done"}),
    "promoting": frozenset({"done"}),
    "done": frozenset(),
}
"""The state machine.  Besides, a restart takes a job whose working data were in memory back to
``reading``: its ranges are recorded, so it reads the same."""

REREAD_AFTER_RESTART: Final[frozenset[State]] = frozenset({"fitting", "evaluating", "storing"})
"""States whose working data are lost with the process."""


def may_follow(after: State, before: State) -> bool:
    """Whether a job in ``before`` may go on to ``after``.

    >>> may_follow("fitting", "reading"), may_follow("promoting", "waiting")
    (True, False)
    """
    return after in TRANSITIONS[before]


class JobData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job must remember from one state to the next.

    ``alert`` is what asked for it, and ``partition``, ``onset_offset`` and ``onset_ms`` are that
    alert's; a person's request has none.
    Where the feature's data were broken after the onset, ``onset_ms`` is when they were mended.
    ``ranges`` are decided once: every repeat reads the same records.  ``now_ms`` is the latest
    event time the job has seen.  ``artifact_sha256`` is the challenger's.  ``promote``, ``rule``,
    ``reason`` and ``numbers`` are the verdict, or what a person asked for.  ``attempts`` says by
    state how many processes began its step and were not seen to end it, the present one included.
    """

    alert: DriftAlert | None = None
    partition: int | None = None
    onset_offset: int | None = None
    onset_ms: int | None = None
    ranges: list[OffsetRange] = []
    now_ms: int | None = None
    factory: str | None = None
    artifact_sha256: str | None = None
    promote: bool = False
    rolls_back: bool = False
    rule: str = ""
    reason: str = ""
    numbers: dict[str, Any] = {}
    attempts: dict[State, int] = {}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job: what one alert, or one request of a person, led to.

    ``asked_ms`` and ``finished_ms`` are event time.  A refusal is a job that was done at once.
    """

    job_id: str
    caused_by: str
    model: str
    episode_id: str | None
    champion: str
    challenger: str | None = None
    state: State
    outcome: Outcome | None = None
    asked_ms: int
    finished_ms: int | None = None
    work: JobData = JobData()

    @property
    def now_ms(self) -> int:
        """Event time as far as the job knows it."""
        return max(self.asked_ms, self.work.now_ms or 0)

    def to(self, state: State, **work: Any) -> Job:
        """The job in another state, with these fields of its work changed; its step is ended."""
        attempts = {s: n for s, n in self.work.attempts.items() if s == state or s != self.state}
        changed = msgspec.structs.replace(self.work, **{"attempts": attempts, **work})
        return msgspec.structs.replace(self, state=state, work=changed)

    def ended(self, outcome: Outcome) -> Job:
        """The job, done."""
        return msgspec.structs.replace(self, state="done", outcome=outcome, finished_ms=self.now_ms)
