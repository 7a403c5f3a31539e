"""``driftline notify``: send messages about incidents until it is stopped."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from driftline.cli.command_error import EXIT_FAILED, EXIT_USAGE, CommandError
from driftline.cli.connection import load_file_settings
from driftline.cli.options import Bootstrap, Config, Prefix
from driftline.cli.output import note, write_line

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
    web_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port for health and metrics; 0 takes a free port."),
    ] = None,
) -> None:
    """Send messages about incidents and health to the targets of [notify.targets].

    Run one notifier for each --data-dir.  While Kafka is away it waits, and continues by itself.

    Exit codes: 0 stopped by a signal, 1 failed (start it again), 2 invalid setting.
    """
    from driftline.notify.notice_store import NotifierAlreadyRunning  # noqa: PLC0415 - light imports
    from driftline.notify.notifier import Notifier  # noqa: PLC0415
    from driftline.notify.settings import Settings  # noqa: PLC0415
    from stream_monitor.runtime.logs import configure  # noqa: PLC0415
    from stream_monitor.web import PortInUse  # noqa: PLC0415

    flags: dict[str, Any] = {}
    for section, name, value in (
        ("kafka", "bootstrap_servers", bootstrap_servers),
        ("topics", "prefix", prefix),
        ("notify", "data_dir", data_dir),
        ("notify", "web", None if web_port is None else {"port": web_port}),
    ):
        if value is not None:
            flags.setdefault(section, {})[name] = value
    settings = load_file_settings(Settings, config, flags)
    if not settings.notify.targets:
        raise CommandError(
            "no target is set",
            fix='give one in driftline.toml: [notify.targets.team] url = "slack://..."; '
            "docs/notifications.md has examples",
            code=EXIT_USAGE,
        )
    if test is not None:
        send_test(settings, test)
        return
    configure()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Notifier(settings) as notifier:
            notifier.serve()
            notifier.run(stop)
    except PortInUse as error:
        why, _, fix = str(error).partition(" Fix: ")
        raise CommandError(
            "the port for health and metrics is in use", why=why, fix=fix, code=EXIT_USAGE
        ) from error
    except NotifierAlreadyRunning as error:
        raise CommandError(
            "a notifier is already running",
            why=str(error),
            fix="stop it, or give this one another --data-dir",
            code=EXIT_USAGE,
        ) from error


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
        raise CommandError(
            f"no target is named {name!r}",
            fix=f"[notify.targets] has: {', '.join(sorted(targets))}",
            code=EXIT_USAGE,
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
            code=EXIT_FAILED,
        )
