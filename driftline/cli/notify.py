"""``driftline notify``: send messages about incidents until it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from driftline.cli.command_error import CommandError, UsageError
from driftline.cli.connection import flags_by_section, load_file_settings
from driftline.cli.options import Bootstrap, Config, Prefix, WebPort
from driftline.cli.output import note, write_line
from driftline.cli.running_service import run_until_stopped, starting

if TYPE_CHECKING:
    from driftline.notify.settings import Settings

ALL: Final = "all"


def notify(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", help="Folder of the notifier's database \\[default: .driftline]."
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            "--test", metavar="TARGET", help="Send a test message to a target, or to all; then end."
        ),
    ] = None,
    web_port: WebPort = None,
) -> None:
    """Send messages about incidents and health to the targets of [notify.targets].

    Run one notifier for each --data-dir.  While Kafka is away it waits, and continues by itself.

    Exit codes: 0 stopped by a signal, 1 failed (start it again), 2 invalid setting.
    """
    from driftline.notify.notice_store import NotifierAlreadyRunning  # noqa: PLC0415 - light imports
    from driftline.notify.notifier import Notifier  # noqa: PLC0415
    from driftline.notify.settings import Settings  # noqa: PLC0415

    flags = flags_by_section(
        ("kafka", "bootstrap_servers", bootstrap_servers),
        ("topics", "prefix", prefix),
        ("notify", "data_dir", data_dir),
        ("notify", "web", None if web_port is None else {"port": web_port}),
    )
    settings = load_file_settings(Settings, config, flags)
    if not settings.notify.targets:
        raise UsageError(
            "no target is set",
            fix='give one in driftline.toml: [notify.targets.team] url = "slack://..."; '
            "docs/notifications.md has examples",
        )
    if test is not None:
        send_test(settings, test)
        return
    with starting("notifier", NotifierAlreadyRunning), Notifier(settings) as notifier:
        run_until_stopped(notifier)


def send_test(settings: Settings, name: str) -> None:
    """Send a test message to one target, or to all; print how each answered.

    Raises:
        CommandError: no target has the name, or one did not accept the message.
    """
    from driftline.notify.delivery import DeliveryFailed, sender_of  # noqa: PLC0415 - light imports
    from driftline.notify.messages import Text  # noqa: PLC0415

    targets = settings.notify.targets
    names = sorted(targets) if name == ALL else [name]
    if name != ALL and name not in targets:
        raise UsageError(
            f"no target is named {name!r}",
            fix=f"[notify.targets] has: {', '.join(sorted(targets))}",
        )
    text = Text(
        "[test] driftline can send messages here",
        "This message was sent by: driftline notify --test",
        "low",
        is_resolved=True,
    )
    failed = []
    for one in names:
        try:
            sender = sender_of(
                one,
                targets[one],
                dashboard_url=settings.notify.dashboard_url,
                timeout_s=settings.notify.timeout_s,
            )
            sender.send_text(text)
        except DeliveryFailed as error:
            failed.append(one)
            note(f"{one}: {error}. Fix: {error.fix}")
        else:
            write_line(f"{one}: accepted the message")
    if failed:
        raise CommandError(
            f"{len(failed)} of {len(names)} targets did not accept the message",
            where=", ".join(failed),
        )
