"""A job, its states, and the transitions between them.

::

    asked > waiting > reading > fitting > evaluating > refitting > storing > promoting > done
      |        |         |         |           |           |          |          |        ^
      |        |         |         |           |           |          |       proposed ---+
      |        |         |         |           |           |          +--- rejected ------+
      |        |         |         +-----------+-- failed -+------------------------------+
      |        +---------+-- cancelled, gave up ------------------------------------------+
      +-- a person promotes or rolls back: straight to promoting

A step that raises, or that ended three trainers, fails the job in any state.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from stream_monitor.contracts import DriftAlert
from trainer.policy.excluded_sources import ExcludedSource
from trainer.policy.offset_ranges import OffsetRange

State: TypeAlias = Literal[
    "asked",
    "waiting",
    "reading",
    "fitting",
    "evaluating",
    "refitting",
    "storing",
    "promoting",
    "done",
]
Outcome: TypeAlias = Literal[
    "declined", "cancelled", "gave_up", "failed", "rejected", "proposed", "promoted", "rolled_back"
]

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    "asked": frozenset({"waiting", "done"}),
    "waiting": frozenset({"reading", "done"}),
    "reading": frozenset({"fitting", "done"}),
    "fitting": frozenset({"evaluating", "done"}),
    "evaluating": frozenset({"refitting", "done"}),
    "refitting": frozenset({"storing", "done"}),
    "storing": frozenset({"promoting", "done"}),
    "promoting": frozenset({"done"}),
    "done": frozenset(),
}
"""The state machine.  In addition, a restart takes a job whose working data were in memory back to
``reading``; its ranges are recorded, so it reads the same records."""

REREAD_AFTER_RESTART: Final[frozenset[State]] = frozenset(
    {"fitting", "evaluating", "refitting", "storing"}
)
"""States whose working data are lost with the process."""


def may_follow(after: State, before: State) -> bool:
    """Whether a job may go from ``before`` to ``after``.

    >>> may_follow("fitting", "reading"), may_follow("promoting", "waiting")
    (True, False)
    """
    return after in TRANSITIONS[before]


class JobData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The data that a job carries from one state to the next.

    ``alert`` requested the job; ``partition``, ``onset_offset`` and ``onset_ms`` are from it.  A
    person's request has none.  If the feature's data were broken after the onset, ``onset_ms`` is
    the end of that.  ``labels_since_ms`` is where the count of labelled events starts, if that is
    later: after a rejected retrain.  ``ranges`` are decided once, so a repeat reads the same
    records.  ``now_ms`` is the latest event time the job has seen.  ``artifact_sha256`` is the
    challenger's.  ``promote``, ``rule``, ``reason`` and ``numbers`` are the gate's decision or a
    person's request.  ``excluded_sources`` are the producers whose new rows do not train.
    ``attempts`` has, by state, the number of processes that began the step and did not end it, the
    current one included.
    """

    alert: DriftAlert | None = None
    partition: int | None = None
    onset_offset: int | None = None
    onset_ms: int | None = None
    labels_since_ms: int | None = None
    ranges: list[OffsetRange] = []
    now_ms: int | None = None
    factory: str | None = None
    artifact_sha256: str | None = None
    promote: bool = False
    rolls_back: bool = False
    rule: str = ""
    reason: str = ""
    numbers: dict[str, Any] = {}
    excluded_sources: list[ExcludedSource] = []
    attempts: dict[State, int] = {}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The work that one alert or one person's request caused.

    ``asked_ms`` and ``finished_ms`` are event time.  A declined alert is a job, too.
    """

    job_id: str
    caused_by: str
    model: str
    episode_id: str | None = None
    champion: str
    challenger: str | None = None
    state: State
    outcome: Outcome | None = None
    asked_ms: int
    finished_ms: int | None = None
    work: JobData = JobData()

    @property
    def now_ms(self) -> int:
        """The latest event time in the job's data."""
        return max(self.asked_ms, self.work.now_ms or 0)

    def to(self, state: State, **work: Any) -> Job:
        """Return the job in another state with changed fields of its work."""
        attempts = {s: n for s, n in self.work.attempts.items() if s == state or s != self.state}
        changed = msgspec.structs.replace(self.work, **{"attempts": attempts, **work})
        return msgspec.structs.replace(self, state=state, work=changed)

    def ended(self, outcome: Outcome) -> Job:
        """Return the job in the state ``done``."""
        return msgspec.structs.replace(self, state="done", outcome=outcome, finished_ms=self.now_ms)
