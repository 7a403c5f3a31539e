"""The settings that are tried against the live ones: what differs, and what comes of it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from driftline.replay.episodes import Episode, only_in
from stream_monitor.spec import MonitorSpec


class Setting(NamedTuple):
    """One that differs, as ``section.name``."""

    name: str
    live: Any
    tried: Any


class Comparison(NamedTuple):
    """Settings that differ, and episodes that only one of the two configurations has."""

    settings: list[Setting]
    would_have_fired: list[Episode]
    would_have_been_quiet: list[Episode]


def compared(
    tried: tuple[MonitorSpec, Sequence[Episode]], live: tuple[MonitorSpec, Sequence[Episode]]
) -> Comparison:
    """Two configurations, each with what it found."""
    return Comparison(
        differing(tried[0], live[0]), only_in(tried[1], live[1]), only_in(live[1], tried[1])
    )


def differing(tried: MonitorSpec, live: MonitorSpec) -> list[Setting]:
    """The settings that differ, in the order in which the core has them.

    >>> differing(MonitorSpec(warm_up_events=900), MonitorSpec())
    [Setting(name='monitor.warm_up_events', live=2000, tried=900)]
    """
    ours, theirs = _flat(tried), _flat(live)
    return [Setting(name, theirs[name], ours[name]) for name in ours if ours[name] != theirs[name]]


def _flat(spec: MonitorSpec) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in msgspec.to_builtins(spec).items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{field}": below for field, below in value.items()}
        else:
            flat[f"monitor.{name}"] = value
    return flat


def difference(found: Comparison) -> dict[str, Any]:
    """For programs: the settings, and the episodes themselves."""
    return {
        "settings": {s.name: {"live": s.live, "tried": s.tried} for s in found.settings},
        "would_have_fired": found.would_have_fired,
        "would_have_been_quiet": found.would_have_been_quiet,
    }


def comparison_lines(found: Comparison) -> list[str]:
    """For people."""
    lines = [f"  tried: {s.name} = {s.tried!r}, live {s.live!r}" for s in found.settings]
    if not lines:
        lines = ["  tried: no setting that differs from the live ones"]
    lines += [f"  would have fired: {e.explanation}" for e in found.would_have_fired]
    lines += [f"  would have been quiet: {e.explanation}" for e in found.would_have_been_quiet]
    if not (found.would_have_fired or found.would_have_been_quiet):
        lines.append("  the two configurations find the same")
    return lines
