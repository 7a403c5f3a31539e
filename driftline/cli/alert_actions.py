"""The commands ``acknowledge``, ``snooze`` and ``resolve``, of episodes and of incidents.

Each writes a command record to the event topic, for every episode that the given id stands for.
"""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from driftline.cli.command_error import UsageError
from driftline.cli.option_groups import kafka_settings, option_groups
from driftline.cli.options import duration_ms
from driftline.cli.output import note

if TYPE_CHECKING:
    from driftline.topics.alert_commands import AlertAction
    from stream_monitor.contracts import DriftAlert
    from stream_monitor.settings import Settings

UserOption: TypeAlias = Annotated[
    str | None, typer.Option("--user", help="Your name \\[default: the system user].")
]
ReasonOption: TypeAlias = Annotated[
    str, typer.Option("--reason", help="The reason; it is shown to others.")
]


class ActionTarget(NamedTuple):
    """The things that a group of commands acts on.

    ``metavar`` and ``argument_help`` describe the id that a person types, ``episodes`` names what
    the id stands for in the help, and ``find`` returns the last alert of each of these episodes.
    """

    metavar: str
    argument_help: str
    episodes: str
    find: Callable[[Settings, str], Sequence[DriftAlert]]


def add_actions(app: typer.Typer, target: ActionTarget) -> None:
    """Add the commands ``acknowledge``, ``snooze`` and ``resolve`` to ``app``."""
    id_argument: Any = typer.Argument(..., metavar=target.metavar, help=target.argument_help)

    @app.command(help=f"Acknowledge {target.episodes}; later alerts contain your name.")
    @option_groups(settings=kafka_settings)
    def acknowledge(
        target_id: str = id_argument,
        *,
        user: UserOption = None,
        reason: ReasonOption = "",
        settings: Settings,
    ) -> None:
        write_commands(settings, "acknowledge", target.find(settings, target_id), user, reason)

    @app.command(
        help=f"Suppress new alerts of {target.episodes} for some time; suppressed alerts are "
        "counted."
    )
    @option_groups(settings=kafka_settings)
    def snooze(
        for_: Annotated[str, typer.Option("--for", help="How long, for example 30m, 2h or 3d.")],
        target_id: str = id_argument,
        *,
        user: UserOption = None,
        reason: ReasonOption = "",
        settings: Settings,
    ) -> None:
        now_ms = round(time.time() * 1000)
        until_ms = now_ms + duration_ms(for_)
        reject_long_snooze(settings, until_ms, now_ms)
        found = target.find(settings, target_id)
        write_commands(settings, "snooze", found, user, reason, until_ms)

    @app.command(help=f"End {target.episodes}; the monitor continues with the same reference.")
    @option_groups(settings=kafka_settings)
    def resolve(
        target_id: str = id_argument,
        *,
        user: UserOption = None,
        reason: ReasonOption = "",
        settings: Settings,
    ) -> None:
        write_commands(settings, "resolve", target.find(settings, target_id), user, reason)


def reject_long_snooze(settings: Settings, until_ms: int, now_ms: int) -> None:
    """Reject a snooze that the monitor would reject, before it is written.

    Raises:
        CommandError: the snooze is longer than ``[limits] max_snooze_ms``.
    """
    from driftline.topics.alert_commands import SnoozeTooLong, check_snooze  # noqa: PLC0415 - light imports

    try:
        check_snooze(settings, until_ms, now_ms)
    except SnoozeTooLong as error:
        raise UsageError(
            str(error),
            why=f"--for asks for {(until_ms - now_ms) / 3_600_000:,.0f} h",
            fix="give a shorter --for, resolve the episode, or raise [limits] max_snooze_ms in "
            "the monitor's settings",
        ) from error


def write_commands(
    settings: Settings,
    action: AlertAction,
    episodes: Sequence[DriftAlert],
    user: str | None,
    reason: str,
    until_ms: int | None = None,
) -> None:
    """Write one command for each episode, and print what was answered.

    Raises:
        DeliveryError: Kafka did not acknowledge a command.
    """
    from driftline.topics.alert_commands import write_alert_commands  # noqa: PLC0415 - light imports

    write_alert_commands(
        settings,
        action,
        episodes,
        actor=user or current_user(),
        reason=reason,
        now_ms=round(time.time() * 1000),
        until_ms=until_ms,
    )
    note(*(f"{action}: {alert.explanation}" for alert in episodes))


def current_user() -> str:
    """The name of the system user, or its number where it has no name, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
