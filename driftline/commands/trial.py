"""The live settings, and the same with a file of others laid over them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftline.commands.connection import load_settings
from driftline.commands.failure import USAGE, Failure

if TYPE_CHECKING:
    from stream_monitor.alerts.incidents import IncidentPolicy
    from stream_monitor.settings import Settings
    from stream_monitor.spec import MonitorSpec


def live_settings(**flags: Any) -> Settings:
    """What the monitor would be started with here: ``--config`` is not its file, but what is tried.

    ``DRIFTLINE_CONFIG`` names another file than ``driftline.toml``, as for all commands.
    """
    named = os.environ.get("DRIFTLINE_CONFIG")
    return load_settings(Path(named) if named else None, **flags)


def specs_of(tried: Path | None) -> tuple[list[MonitorSpec], IncidentPolicy]:
    """Of the core, as it would run and then as it runs; and what an incident would be.

    Without a file to try there is only how it runs.
    """
    live = live_settings()
    chosen = [live] if tried is None else [_tried_settings(tried), live]
    return [settings.monitor_spec() for settings in chosen], chosen[0].incident_policy()


def _tried_settings(tried: Path) -> Settings:
    """What the file names is tried, even against the environment."""
    import tomllib  # noqa: PLC0415 - light imports, see commands/__init__

    try:
        data = tomllib.loads(tried.read_text("utf-8"))
    except FileNotFoundError as error:
        raise Failure("there is no such settings file", where=str(tried), code=USAGE) from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise Failure(
            "the settings file is no TOML", where=str(tried), why=str(error), code=USAGE
        ) from error
    # Arguments come before the environment and the file.
    return type(live_settings())(**_in_its_unit(data))


def _in_its_unit(data: dict[str, Any]) -> dict[str, Any]:
    """A budget that is tried per week takes the place of a live one per events, and vice versa."""
    budget = data.get("budget")
    if not isinstance(budget, dict):
        return data
    other = {"per_weeks": "per_events", "per_events": "per_weeks"}
    unset = {other[unit]: None for unit in budget if unit in other}
    return {**data, "budget": {**unset, **budget}}
