"""Plans of a campaign that end after a number of kills, not after a time."""

from __future__ import annotations

import random
from typing import Final

from tests.chaos.faults import FAULTS, TIMES, TRAINER_KILLS

PRODUCTION: Final = {
    "DRIFTLINE_KAFKA__SESSION_TIMEOUT_S": "10",
    "DRIFTLINE_KAFKA__HEARTBEAT_S": "3",
}
"""The defaults of a worker."""
PRODUCTION_SESSION: Final = "production_session"
PRODUCTION_KILLS: Final = 10
PRODUCTION_P99_S: Final = 15.0
"""A session, and five seconds."""
_WORKERS_KILLED: Final = 3


def by_kills(n_kills: int, seed: int) -> list[str]:
    """At least so many kills of workers, a third of them at failpoints; a tenth of others.

    Half of these only let the worker with the failpoint take over; they are kills
    all the same, and the table counts the two apart.

    >>> plan = by_kills(200, 1)
    >>> min(plan.count(fault) for fault in FAULTS if fault.startswith("killed_at:"))
    4
    >>> plan.count("redis_killed") * TIMES["redis_killed"]
    20
    """
    steps = [fault for fault in FAULTS if fault.startswith("killed_at:")]
    rounds = _up(n_kills // 3, 2 * len(steps))
    all_at_once = _up(n_kills // 10, _WORKERS_KILLED * TIMES["all_workers_killed"])
    rest = n_kills - 2 * rounds * len(steps)
    rest -= all_at_once * _WORKERS_KILLED * TIMES["all_workers_killed"]
    plan = steps * rounds + ["all_workers_killed"] * all_at_once
    plan += ["worker_killed"] * _up(max(1, rest), TIMES["worker_killed"])
    for fault in ("redis_killed", "broker_killed"):
        plan += [fault] * _up(n_kills // 10, TIMES[fault])
    plan += ["trainer_killed"] * _up(n_kills // 10, TRAINER_KILLS)
    random.Random(seed).shuffle(plan)  # noqa: S311 - a repeatable schedule
    return plan


def _up(n: int, size: int) -> int:
    """How many of ``size`` make ``n`` at least, and one in any case."""
    return max(1, -(-n // size))
