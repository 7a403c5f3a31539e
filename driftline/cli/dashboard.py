"""``driftline dashboard``: serve the web pages and the HTTP API until stopped."""

from __future__ import annotations

import contextvars
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.command_error import CommandError, UsageError
from driftline.cli.option_groups import option_groups, server_settings
from driftline.cli.output import write_line
from driftline.cli.suggested_commands import complete_commands

if TYPE_CHECKING:
    from driftline.doctor.health_checks import HealthCheckResult
    from stream_monitor.settings import Settings


@option_groups(settings=server_settings)
def dashboard(
    settings: Settings,
    host: Annotated[
        str, typer.Option("--host", envvar="DRIFTLINE_DASHBOARD_HOST", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port",
            min=0,
            max=65_535,
            envvar="DRIFTLINE_DASHBOARD_PORT",
            help="Port to listen on; 0 takes a free port.",
        ),
    ] = 8765,
    token: Annotated[
        str,
        typer.Option(
            "--token",
            envvar="DRIFTLINE_DASHBOARD_TOKEN",
            show_envvar=True,
            help="Secret to answer incidents and to POST events; read-only without one.",
        ),
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            envvar="DRIFTLINE_DASHBOARD_TOKEN_FILE",
            help="File that holds the secret.",
        ),
    ] = None,
) -> None:
    """Serve the dashboard: models, incidents, retrains, and the HTTP API.

    It reads Kafka and Redis.  With a token, people can acknowledge, snooze and resolve incidents,
    and services can POST events; without one it writes nothing.  While Kafka or Redis is away, the
    pages state it.

    Exit codes: 0 stopped by a signal, 1 the address is in use, 2 invalid setting.
    """
    try:
        from driftline.dashboard.server import AddressInUse, address_of, listen, serve  # noqa: PLC0415 - light imports
    except ModuleNotFoundError as error:
        raise CommandError(
            f"the dashboard needs {error.name}", fix="pip install 'driftline[dashboard]'"
        ) from error
    from importlib.metadata import version  # noqa: PLC0415

    try:
        listener = listen(host, port)
    except AddressInUse as error:
        raise CommandError(
            "the dashboard cannot listen",
            why=str(error),
            fix="driftline dashboard --port 0 takes a free port",
        ) from error
    address = address_of(listener)
    context = contextvars.copy_context()
    serve(
        settings,
        listener,
        version=version("driftline"),
        examine=lambda: _examine(settings),
        complete=lambda text: context.copy().run(complete_commands, text),
        token=_token(token, token_file),
        on_ready=lambda: write_line(f"Dashboard {address}"),
    )


def _token(token: str, file: Path | None) -> str:
    if file is None:
        return token
    try:
        return file.read_text("utf-8").strip()
    except OSError as error:
        raise UsageError(
            "the file of the token cannot be read", where=str(file), why=error.strerror or ""
        ) from error


def _examine(settings: Settings) -> list[HealthCheckResult]:
    from driftline.cli.doctor import examine  # noqa: PLC0415 - light imports

    return examine(settings)[0]
