"""The measurements as tables for people, and as one line for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tests.benchmarks.detection.measure import Delays, FalseAlerts
from tests.benchmarks.detection.rivals import RIVALS
from tests.benchmarks.detection.watch import BUDGET

_SLACK: Final = 1.3
_BLOCK_EVENTS: Final = 8


def false_alert_lines(rows: Sequence[FalseAlerts]) -> list[str]:
    """False alerts per million events: the product's against the budget, and River's."""
    head = f"{'stationary stream':<26}{'signals':>9}{'95 % <':>8}{'episodes':>10}{'budget':>8}"
    lines = [head + "".join(f"{rival:>19}" for rival in RIVALS)]
    for row in rows:
        episodes = row.started / row.n_events * 1e6
        mark = " " if row.signals <= row.allowed else "!"
        lines.append(
            f"{row.stream.name + ', ' + row.stream.dependence:<26}{row.per_million:>9.2f}"
            f"{row.upper:>8.2f}{episodes:>10.2f}{BUDGET.false_alerts:>7.1f}{mark}"
            + "".join(f"{row.rivals.get(rival, float('nan')):>19,.0f}" for rival in RIVALS)
        )
    return lines


def delay_lines(rows: Sequence[Delays]) -> list[str]:
    """Delays in events; of River's detectors, whose budgets are no budgets, the medians."""
    head = f"{'change':<24}{'stream':<24}{'bound':>7}{'median':>8}{'p90':>8}{'missed':>8}"
    lines = [head + f"{'episode':>9}{'missed':>8}" + "".join(f"{r:>19}" for r in RIVALS)]
    for row in rows:
        missed = f"{row.missed / row.n_runs:.0%}"
        unstarted = f"{row.not_started / row.n_runs:.0%}"
        lines.append(
            f"{row.change.name:<24}{row.stream.name + ', ' + row.stream.dependence:<24}"
            f"{_events(row.bound):>7}{_events(row.median):>8}{_events(row.p90):>8}{missed:>8}"
            f"{_events(row.started_median):>9}{unstarted:>8}"
            + "".join(f"{_events(row.rivals.get(rival)):>19}" for rival in RIVALS)
            + ("" if within(row) in (True, None) else "  !")
        )
    return lines


def within(row: Delays) -> bool | None:
    """Whether an independent continuous shift is found in 1.3 times the bound and a block.

    ``None`` where the figure asks for nothing but to be found.
    """
    asked = row.stream.dependence == "iid" and row.change.shift and not row.change.ramp_events
    continuous = row.stream.shape in ("normal", "lognormal", "Pareto", "t2")
    if not (asked and continuous) or row.bound is None:
        return None
    return row.median is not None and row.median <= _SLACK * row.bound + _BLOCK_EVENTS


def summary(
    false_alerts: Sequence[FalseAlerts], delays: Sequence[Delays], seconds: float
) -> dict[str, Any]:
    """All figures as plain data; ``within`` says whether each held."""
    n_events = sum(row.n_events for row in false_alerts)
    judged = [verdict for row in delays if (verdict := within(row)) is not None]
    return {
        "budget_per_million": BUDGET.false_alerts / BUDGET.per_events * 1e6,
        "events": n_events,
        "signals_per_million": sum(row.signals for row in false_alerts) / n_events * 1e6,
        "episodes_per_million": sum(row.started for row in false_alerts) / n_events * 1e6,
        "streams_over_budget": sum(row.signals > row.allowed for row in false_alerts),
        "shifts_in_time": sum(judged),
        "shifts": len(judged),
        "seconds": round(seconds, 1),
        "false_alerts": [
            {
                "stream": row.stream.name, "dependence": row.stream.dependence,
                "events": row.n_events, "signals": row.signals, "episodes": row.started,
                "allowed_signals": row.allowed, "per_million": row.per_million,
                "upper_95": row.upper, "river_per_million": row.rivals,
            }
            for row in false_alerts
        ],
        "delays": [
            {
                "stream": row.stream.name, "dependence": row.stream.dependence,
                "change": row.change.name, "runs": row.n_runs, "lorden_bound": row.bound,
                "median": row.median, "p90": row.p90, "missed": row.missed,
                "episode_median": row.started_median, "episode_missed": row.not_started,
                "within": within(row), "river_median": row.rivals,
            }
            for row in delays
        ],
    }  # fmt: skip


def _events(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
