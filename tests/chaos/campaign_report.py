"""Results of a campaign, as a table and as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce

from tests.chaos.campaign import Run
from tests.chaos.oracle_comparison import OracleComparison
from tests.chaos.worker_group import Kills

_HEAD = (
    "fault",
    "runs",
    "kills",
    "deaths at a step",
    "p50 s",
    "p99 s",
    "events lost",
    "alerts lost",
    "phantom alerts",
    "duplicate effects",
    "state mismatches",
    "unasked ends",
)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of them do not exceed; 0 of none.

    >>> percentile([3.0, 1.0, 2.0], 0.5), percentile([3.0, 1.0, 2.0], 0.99), percentile([], 0.5)
    (2.0, 3.0, 0.0)
    """
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0


def total(runs: Sequence[Run]) -> OracleComparison:
    """All findings together."""
    return reduce(OracleComparison.plus, (run.findings for run in runs), OracleComparison())


def kills(runs: Sequence[Run]) -> Kills:
    """All processes that died."""
    return reduce(Kills.plus, (run.kills for run in runs), Kills())


def table(runs: Sequence[Run]) -> str:
    """A Markdown table, a line for every fault."""
    head = ["| " + " | ".join(_HEAD) + " |", "|---|" + "---:|" * (len(_HEAD) - 1)]
    faults = sorted({run.fault for run in runs})
    lines = [_line(fault, [run for run in runs if run.fault == fault]) for fault in faults]
    return "\n".join([*head, *lines, _line("**all**", runs)])


def summary(runs: Sequence[Run]) -> str:
    """The line that machines read."""
    found = total(runs)
    seconds = [s for run in runs for s in run.recoveries_s]
    return json.dumps(
        {
            "runs": len(runs),
            "kills": kills(runs).killed,
            "deaths_at_steps": kills(runs).at_steps,
            "events": found.events,
            "events_lost": found.events_lost,
            "alerts_lost": found.alerts_lost,
            "phantom_alerts": found.phantom_alerts,
            "duplicate_effects": found.duplicate_effects,
            "state_mismatches": found.state_mismatches,
            "unasked_ends": sum(len(run.unasked) for run in runs),
            "recovery_seconds_p99": round(percentile(seconds, 0.99), 2),
        }
    )


def _line(name: str, runs: Sequence[Run]) -> str:
    found = total(runs)
    seconds = [s for run in runs for s in run.recoveries_s]
    cells = (
        name,
        len(runs),
        kills(runs).killed,
        kills(runs).at_steps,
        f"{percentile(seconds, 0.5):.1f}",
        f"{percentile(seconds, 0.99):.1f}",
        found.events_lost,
        found.alerts_lost,
        found.phantom_alerts,
        found.duplicate_effects,
        found.state_mismatches,
        sum(len(run.unasked) for run in runs),
    )
    return "| " + " | ".join(map(str, cells)) + " |"
