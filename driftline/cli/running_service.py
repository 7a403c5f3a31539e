"""Run a service of a command until a signal stops it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Protocol

from driftline.cli.command_error import UsageError


class Service(Protocol):
    """A trainer or a notifier."""

    def serve(self) -> object:
        """Serve health and metrics, if a port is set."""

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set."""


def run_until_stopped(service: Service) -> None:
    """Serve health and metrics, and run until SIGTERM or Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    service.serve()
    service.run(stop)


@contextlib.contextmanager
def starting(name: str, already_running: type[Exception]) -> Iterator[None]:
    """Configure logging for the service ``name``, and explain why it cannot start.

    Raises:
        CommandError: its port is in use, or another process uses its data directory.
    """
    from stream_monitor.runtime.logs import configure  # noqa: PLC0415 - light imports
    from stream_monitor.web import PortInUse  # noqa: PLC0415

    configure()
    try:
        yield
    except PortInUse as error:
        why, _, fix = str(error).partition(" Fix: ")
        raise UsageError("the port for health and metrics is in use", why=why, fix=fix) from error
    except already_running as error:
        raise UsageError(
            f"a {name} is already running",
            why=str(error),
            fix="stop it, or give this one another --data-dir",
        ) from error
