"""Candidate settings for ``replay --config``, compared with the live settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from driftline.cli.command_error import UsageError
from driftline.cli.connection import load_settings

if TYPE_CHECKING:
    from driftline.offline.replay.replay_episodes import ReplayResult
    from driftline.offline.replay.settings_comparison import SettingsComparison
    from stream_monitor.core.spec import MonitorSpec
    from stream_monitor.episodes.incidents import IncidentPolicy
    from stream_monitor.settings import Settings

ResultT = TypeVar("ResultT", bound="ReplayResult")


def live_settings(**flags: Any) -> Settings:
    """The settings that a monitor started here would have.

    ``--config`` of `replay` names the candidate settings; the live ones come from
    ``DRIFTLINE_CONFIG`` or ``driftline.toml``.
    """
    named = os.environ.get("DRIFTLINE_CONFIG")
    return load_settings(Path(named) if named else None, **flags)


def specs_of(candidate: Path | None) -> tuple[list[MonitorSpec], IncidentPolicy]:
    """The monitor's specifications to replay with, and the policy of incidents.

    The candidate's specification comes first, the live one second.  Without a candidate there is
    only the live one.
    """
    live = live_settings()
    chosen = [live] if candidate is None else [_candidate_settings(candidate), live]
    return [settings.monitor_spec() for settings in chosen], chosen[0].incident_policy()


def _candidate_settings(candidate: Path) -> Settings:
    """The live settings, with those of the file ``candidate`` in place of their own."""
    import tomllib  # noqa: PLC0415 - light imports

    try:
        data = tomllib.loads(candidate.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UsageError("the settings file does not exist", where=str(candidate)) from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise UsageError(
            "the settings file is not valid TOML", where=str(candidate), why=str(error)
        ) from error
    # Arguments have priority over the environment and the file.
    return type(live_settings())(**_with_one_budget_unit(data))


def _with_one_budget_unit(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` with one unit of the budget: a budget per week replaces one per events."""
    budget = data.get("budget")
    if not isinstance(budget, dict):
        return data
    other = {"per_weeks": "per_events", "per_events": "per_weeks"}
    unset = {other[unit]: None for unit in budget if unit in other}
    return {**data, "budget": {**unset, **budget}}


class CandidateRun(NamedTuple, Generic[ResultT]):
    """The result of a replay, its settings, and the comparison of candidate and live settings.

    ``settings_difference`` is ``None`` without candidate settings.
    """

    chosen: ResultT
    spec: MonitorSpec
    incidents: IncidentPolicy
    settings_difference: SettingsComparison | None


def run_with_candidate(
    config: Path | None, run: Callable[[MonitorSpec], ResultT]
) -> CandidateRun[ResultT]:
    """Run with the candidate settings of ``config``, if given, and with the live settings."""
    from driftline.offline.replay.settings_comparison import compare_settings  # noqa: PLC0415 - light imports

    specs, incidents = specs_of(config)
    results = [run(spec) for spec in specs]
    both = list(zip(specs, [result.episodes for result in results], strict=True))
    settings_difference = None if config is None else compare_settings(both[0], both[1])
    return CandidateRun(results[0], specs[0], incidents, settings_difference)
