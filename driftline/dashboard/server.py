"""Runs the dashboard until SIGINT or SIGTERM."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import uvicorn

from driftline.dashboard.observer import Observer
from driftline.dashboard.read_model import ReadModel
from driftline.dashboard.web_app import LOOPBACK, web_app

if TYPE_CHECKING:
    from driftline.doctor.health_checks import HealthCheckResult
    from stream_monitor.settings import Settings

DEFAULT_PORT: Final = 8765
_STOP_S: Final = 2


class AddressInUse(OSError):  # noqa: N818 - names what happened
    """The address cannot be listened on."""


class _Server(uvicorn.Server):
    """A server that ends by itself after a signal, instead of raising the signal once more.

    It calls ``on_ready`` as soon as it answers.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free port.

    Raises:
        AddressInUse: the port is in use, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named asyncio sets TCP_NODELAY: a body does not wait 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"failed ({error.strerror})"
        raise AddressInUse(f"{host}:{port} {why}") from error
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    settings: Settings,
    listener: socket.socket,
    *,
    version: str,
    examine: Callable[[], list[HealthCheckResult]],
    complete: Callable[[str], str],
    token: str = "",
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until a signal; blocks.

    On loopback, only requests for loopback's names are answered.  ``examine`` returns the findings
    of doctor; it is called while a page is open.  ``complete`` adds the options of the installation
    to commands.  With ``token`` people can answer incidents.  ``on_ready`` is called as soon as
    requests are answered.
    """
    host = listener.getsockname()[0]
    observer = Observer(settings, examine)
    server: list[_Server] = []
    app = web_app(
        ReadModel(observer, settings, complete=complete),
        place=f"{settings.kafka.bootstrap_servers} / {settings.topics.prefix}",
        version=version,
        hosts=LOOPBACK if host in LOOPBACK else (),
        token=token,
        stopping=lambda: server[0].should_exit,
    )
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_STOP_S, workers=1
    )
    server.append(_Server(config, on_ready))
    observer.start()
    try:
        server[0].run(sockets=[listener])
    finally:
        observer.close()
        listener.close()
