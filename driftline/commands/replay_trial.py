"""A replay with the settings that are tried, and where a file was given with the live ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from driftline.replay.comparison import Comparison
    from driftline.replay.outcome import Outcome
    from stream_monitor.alerts.incidents import IncidentPolicy
    from stream_monitor.spec import MonitorSpec

Came = TypeVar("Came", bound="Outcome")


class Trial(NamedTuple, Generic[Came]):
    """What came of it, by which settings, and how the live ones differ where others are tried."""

    chosen: Came
    spec: MonitorSpec
    incidents: IncidentPolicy
    against: Comparison | None


def trial(config: Path | None, run: Callable[[MonitorSpec], Came]) -> Trial[Came]:
    """Run with the settings of ``config``, if there are any, and with the live ones."""
    from driftline.commands.trial import specs_of  # noqa: PLC0415 - light imports
    from driftline.replay.comparison import compared  # noqa: PLC0415

    specs, incidents = specs_of(config)
    results = [run(spec) for spec in specs]
    both = list(zip(specs, [result.episodes for result in results], strict=True))
    against = None if config is None else compared(both[0], both[1])
    return Trial(results[0], specs[0], incidents, against)
