"""Flags and environment variables that have another name now: an old one is rejected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from driftline.cli.command_error import EXIT_USAGE, CommandError

RENAMED_OPTIONS: Final[Mapping[str, str]] = {
    "--by": "--user",
    "--drills": "--include-drills",
    "--home": "--data-dir",
    "--picture": "--plot",
}


def renamed_option_error(error: Any) -> CommandError | None:
    """The error for an old option of the command; ``None`` for every other error.

    ``error`` is an exception of the command line's parser.
    """
    old = getattr(error, "option_name", None)
    new = RENAMED_OPTIONS.get(old) if isinstance(old, str) else None
    command = getattr(getattr(error, "ctx", None), "command", None)
    known = [option for parameter in getattr(command, "params", []) for option in parameter.opts]
    if new not in known:
        return None
    return CommandError(f"{old} is now {new}", fix=f"write {new} instead", code=EXIT_USAGE)
