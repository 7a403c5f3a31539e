"""Compare candidate settings with the live ones: differences, and the resulting episodes.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from driftline.offline.replay.replay_episodes import ReplayEpisode, only_in
from stream_monitor.core.spec import MonitorSpec


class SettingDifference(NamedTuple):
    """A setting that differs; ``name`` is ``section.name``."""

    name: str
    live: Any
    candidate: Any


class SettingsComparison(NamedTuple):
    """The settings that differ, and the episodes that only one of the configurations has."""

    settings: list[SettingDifference]
    would_have_fired: list[ReplayEpisode]
    would_not_have_fired: list[ReplayEpisode]


def compare_settings(
    candidate: tuple[MonitorSpec, Sequence[ReplayEpisode]],
    live: tuple[MonitorSpec, Sequence[ReplayEpisode]],
) -> SettingsComparison:
    """Compare two configurations, each with its episodes."""
    return SettingsComparison(
        setting_differences(candidate[0], live[0]),
        only_in(candidate[1], live[1]),
        only_in(live[1], candidate[1]),
    )


def setting_differences(candidate: MonitorSpec, live: MonitorSpec) -> list[SettingDifference]:
    """The settings that differ, in the order of `MonitorSpec`.

    >>> setting_differences(MonitorSpec(warm_up_events=900), MonitorSpec())
    [SettingDifference(name='monitor.warm_up_events', live=2000, candidate=900)]
    """
    ours, theirs = _flat(candidate), _flat(live)
    return [
        SettingDifference(name, theirs[name], ours[name])
        for name in ours
        if ours[name] != theirs[name]
    ]


def _flat(spec: MonitorSpec) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in msgspec.to_builtins(spec).items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{field}": below for field, below in value.items()}
        else:
            flat[f"monitor.{name}"] = value
    return flat


def difference(found: SettingsComparison) -> dict[str, Any]:
    """The comparison as data."""
    return {
        "settings": {s.name: {"live": s.live, "candidate": s.candidate} for s in found.settings},
        "would_have_fired": found.would_have_fired,
        "would_not_have_fired": found.would_not_have_fired,
    }


def comparison_lines(found: SettingsComparison) -> list[str]:
    """The comparison as text."""
    lines = [f"  candidate: {s.name} = {s.candidate!r}, live {s.live!r}" for s in found.settings]
    if not lines:
        lines = ["  candidate: no setting differs from the live settings"]
    lines += [f"  would have fired: {e.explanation}" for e in found.would_have_fired]
    lines += [f"  would not have fired: {e.explanation}" for e in found.would_not_have_fired]
    if not (found.would_have_fired or found.would_not_have_fired):
        lines.append("  both configurations find the same episodes")
    return lines
