"""The live settings, and the same with a file of others laid over them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from driftline.cli.command_error import EXIT_USAGE, CommandError
from driftline.cli.connection import load_settings

if TYPE_CHECKING:
    from driftline.offline.replay.replay_result import ReplayResult
    from stream_monitor.core.spec import MonitorSpec
    from stream_monitor.episodes.incidents import IncidentPolicy
    from stream_monitor.settings import Settings


def live_settings(**flags: Any) -> Settings:
    """What the monitor would be started with here: ``--config`` is not its file, but what is tried.

    ``DRIFTLINE_CONFIG`` names another file than ``driftline.toml``, as for all commands.
    """
    named = os.environ.get("DRIFTLINE_CONFIG")
    return load_settings(Path(named) if named else None, **flags)


def specs_of(candidate: Path | None) -> tuple[list[MonitorSpec], IncidentPolicy]:
    """Of the core, as it would run and then as it runs; and what an incident would be.

    Without a file to try there is only how it runs.
    """
    live = live_settings()
    chosen = [live] if candidate is None else [_candidate_settings(candidate), live]
    return [settings.monitor_spec() for settings in chosen], chosen[0].incident_policy()


def _candidate_settings(candidate: Path) -> Settings:
    """What the file names is tried, even against the environment."""
    import tomllib  # noqa: PLC0415 - light imports, see commands/__init__

    try:
        data = tomllib.loads(candidate.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CommandError(
            "there is no such settings file", where=str(candidate), code=EXIT_USAGE
        ) from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise CommandError(
            "the settings file is no TOML", where=str(candidate), why=str(error), code=EXIT_USAGE
        ) from error
    # Arguments come before the environment and the file.
    return type(live_settings())(**_with_one_budget_unit(data))


def _with_one_budget_unit(data: dict[str, Any]) -> dict[str, Any]:
    """A budget that is tried per week takes the place of a live one per events, and vice versa."""
    budget = data.get("budget")
    if not isinstance(budget, dict):
        return data
    other = {"per_weeks": "per_events", "per_events": "per_weeks"}
    unset = {other[unit]: None for unit in budget if unit in other}
    return {**data, "budget": {**unset, **budget}}


if TYPE_CHECKING:
    from driftline.offline.replay.settings_comparison import SettingsComparison
    from stream_monitor.core.spec import MonitorSpec
    from stream_monitor.episodes.incidents import IncidentPolicy

ResultT = TypeVar("ResultT", bound="ReplayResult")


class CandidateRun(NamedTuple, Generic[ResultT]):
    """What came of it, by which settings, and how the live ones differ where others are tried."""

    chosen: ResultT
    spec: MonitorSpec
    incidents: IncidentPolicy
    settings_difference: SettingsComparison | None


def run_with_candidate(
    config: Path | None, run: Callable[[MonitorSpec], ResultT]
) -> CandidateRun[ResultT]:
    """Run with the settings of ``config``, if there are any, and with the live ones."""
    from driftline.cli.candidate_settings import specs_of  # noqa: PLC0415 - light imports
    from driftline.offline.replay.settings_comparison import compare_settings  # noqa: PLC0415

    specs, incidents = specs_of(config)
    results = [run(spec) for spec in specs]
    both = list(zip(specs, [result.episodes for result in results], strict=True))
    settings_difference = None if config is None else compare_settings(both[0], both[1])
    return CandidateRun(results[0], specs[0], incidents, settings_difference)
