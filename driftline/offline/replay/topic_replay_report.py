"""Text and data about a replay of a topic: its records, versions and references."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from driftline.offline.explain.threshold_calibration import rate_fix
from driftline.offline.replay.replay_report import per_week
from driftline.offline.replay.topic_range import TopicRange
from driftline.offline.replay.topic_replay import TopicReplay, VersionReplay
from producer.events import CE_TYPE_OF, Command, InferenceEvent, Label, ModelUpdate
from stream_monitor.detectors.calibration import Budget

_NAMES: Final = {
    CE_TYPE_OF[InferenceEvent]: "events",
    CE_TYPE_OF[Label]: "labels",
    CE_TYPE_OF[ModelUpdate]: "model updates",
    CE_TYPE_OF[Command]: "commands",
}


def topic_lines(replay: TopicReplay, records: TopicRange) -> list[str]:
    """The records of the range by kind, its partitions, and the features by kind."""
    kinds = sum((part.kinds for part in records.parts), Counter[str]())
    counts = ", ".join(f"{kinds[kind]:,} {name}" for kind, name in _NAMES.items())
    by_kind: dict[str, set[str]] = {}
    for profile in replay.profiles:
        for name, feature in profile.features.items():
            by_kind.setdefault(feature.kind, set()).add(name)
    skipped = {name: why for profile in replay.profiles for name, why in profile.skipped.items()}
    rows = [
        ("records", counts),
        ("partitions", ", ".join(str(part.partition) for part in records.parts)),
        *((kind, ", ".join(sorted(by_kind[kind]))) for kind in sorted(by_kind)),
        *((f"not watched: {name}", why) for name, why in skipped.items()),
    ]
    width = max(len(head) for head, _ in rows)
    return [f"  {head:<{width}}  {text}" for head, text in rows]


def version_lines(replay: TopicReplay, model: str, budget: Budget) -> list[str]:
    """The reference of each version, and the conversion of a budget per week."""
    return [
        f"  {model}@{one.version}, {_reference_text(one)}{_budget_text(one, budget)}"
        for one in replay.versions
    ]


def coverage_lines(replay: TopicReplay) -> list[str]:
    """The events of the range that were not watched, with the reasons."""
    if not replay.coverage_episodes:
        return []
    episode_lines = [f"  {one.severity}: {one.explanation}" for one in replay.coverage_episodes]
    return ["", "Not watched", *episode_lines]


def not_watched(replay: TopicReplay) -> list[tuple[str, str]]:
    """The features and the events of the range that were not watched, with the reasons."""
    skipped = {name: why for profile in replay.profiles for name, why in profile.skipped.items()}
    events = [("events", one.explanation) for one in replay.coverage_episodes]
    return [*skipped.items(), *events]


def version_data(replay: TopicReplay, budget: Budget) -> list[dict[str, Any]]:
    """The versions as data; the event rate only with a budget per week."""
    without = () if budget.per_weeks is not None else ("events_per_week",)
    return [
        {name: value for name, value in one._asdict().items() if name not in without}
        for one in replay.versions
    ]


def _reference_text(one: VersionReplay) -> str:
    if one.reference is None:
        return f"no profile, and too few events to learn one: {one.events:,}, not watched"
    how = "announced profile" if one.reference == "training" else "its own first events"
    return f"{how}: {one.watched:,} of {one.events:,} events compared with {one.reference_events:,}"


def _budget_text(one: VersionReplay, budget: Budget) -> str:
    if budget.per_weeks is None or one.reference is None:
        return ""
    fix = rate_fix(from_rows=False, timed=True)
    return f"; {per_week(budget, one.events_per_week, fix)}"
