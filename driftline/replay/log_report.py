"""What a replay of the log held against what, for people."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from driftline.explain.calibration import rate_fix
from driftline.replay.fold import LogReplay, Watched
from driftline.replay.log import LogRange
from driftline.replay.report import per_week
from producer.events import CE_TYPE_OF, Command, InferenceEvent, Label, ModelUpdate
from stream_monitor.drift.calibration import Budget

_NAMES: Final = {
    CE_TYPE_OF[InferenceEvent]: "events",
    CE_TYPE_OF[Label]: "labels",
    CE_TYPE_OF[ModelUpdate]: "model updates",
    CE_TYPE_OF[Command]: "commands",
}


def log_lines(replay: LogReplay, log: LogRange) -> list[str]:
    """What lies in the range, and what its features are."""
    kinds = sum((part.kinds for part in log.parts), Counter[str]())
    counts = ", ".join(f"{kinds[kind]:,} {name}" for kind, name in _NAMES.items())
    by_kind: dict[str, set[str]] = {}
    for profile in replay.profiles:
        for name, feature in profile.features.items():
            by_kind.setdefault(feature.kind, set()).add(name)
    skipped = {name: why for profile in replay.profiles for name, why in profile.skipped.items()}
    rows = [
        ("records", counts),
        ("partitions", ", ".join(str(part.partition) for part in log.parts)),
        *((kind, ", ".join(sorted(by_kind[kind]))) for kind in sorted(by_kind)),
        *((f"not watched: {name}", why) for name, why in skipped.items()),
    ]
    width = max(len(head) for head, _ in rows)
    return [f"  {head:<{width}}  {text}" for head, text in rows]


def version_lines(replay: LogReplay, model: str, budget: Budget) -> list[str]:
    """What each version was held against, and what became of a budget per week."""
    return [
        f"  {model}@{one.version}, {_held(one)}{_allowed(one, budget)}" for one in replay.versions
    ]


def uncovered_lines(replay: LogReplay) -> list[str]:
    """What was not watched in the range, if anything was not."""
    if not replay.uncovered:
        return []
    told = [f"  {one.severity}: {one.explanation}" for one in replay.uncovered]
    return ["", "Not watched", *told]


def version_data(replay: LogReplay, budget: Budget) -> list[dict[str, Any]]:
    """The same for programs; a rate is of no matter to a budget per events."""
    without = () if budget.per_weeks is not None else ("events_per_week",)
    return [
        {name: value for name, value in one._asdict().items() if name not in without}
        for one in replay.versions
    ]


def _held(one: Watched) -> str:
    if one.reference is None:
        return f"no profile, and too few events to learn one: {one.events:,}, not watched"
    how = "as the log announces it" if one.reference == "training" else "its own first events"
    return f"{how}: {one.watched:,} of {one.events:,} events against {one.reference_events:,}"


def _allowed(one: Watched, budget: Budget) -> str:
    if budget.per_weeks is None or one.reference is None:
        return ""
    fix = rate_fix(from_rows=False, timed=True)
    return f"; {per_week(budget, one.events_per_week, fix)}"
