"""Serves health and metrics of a process over HTTP, in threads, by default on loopback."""

from __future__ import annotations

import errno
import socket
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import msgspec

from stream_monitor.shared_settings import WebSettings

N_PORTS: Final = 100
"""How many ports are tried from the default on: several processes may run on one host."""
_JSON: Final = "application/json"
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"


class PortInUse(OSError):  # noqa: N818 - names what happened
    """The configured port is in use; the text names the fix."""


class WebServer:
    """Serves ``/healthz``, ``/readyz`` and ``/metrics`` until `close`.

    ``health`` and ``readiness`` return a dictionary whose ``alive`` or ``ready`` decides between
    200 and 503, ``metrics`` the text for Prometheus.  They run in the thread of the request; with
    a TimeoutError the answer is 503.  Without a port in the settings, the section ``section`` of
    the file, the server takes the first free one from ``default_port`` on, with 0 any free one.

    Raises:
        PortInUse: the configured port is in use, or none is free.
    """

    def __init__(
        self,
        settings: WebSettings,
        section: str,
        default_port: int,
        *,
        health: Callable[[], dict[str, Any]],
        readiness: Callable[[], dict[str, Any]],
        metrics: Callable[[], bytes],
    ) -> None:
        def answer(path: str) -> tuple[int, str, bytes]:
            if path == "/healthz":
                body = health()
                return _code(body["alive"]), _JSON, msgspec.json.encode(body)
            if path == "/readyz":
                body = readiness()
                return _code(body["ready"]), _JSON, msgspec.json.encode(body)
            if path == "/metrics":
                return 200, _METRICS, metrics()
            return 404, "text/plain; charset=utf-8", b"/healthz, /readyz and /metrics are here\n"

        self._server = _listen(settings, section, default_port, _handler(answer))
        self.address = _reachable(settings.host, self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="web", daemon=True).start()

    def close(self) -> None:
        """Stop listening; blocks for up to half a second."""
        self._server.shutdown()
        self._server.server_close()


def _handler(answer: Callable[[str], tuple[int, str, bytes]]) -> type[BaseHTTPRequestHandler]:
    """A handler of GET and HEAD; ``answer`` returns status, content type and body of a path."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            try:
                code, kind, body = answer(self.path.partition("?")[0])
            except TimeoutError:
                code, kind, body = 503, "text/plain; charset=utf-8", b"no answer in time\n"
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests are not logged."""

    return Handler


def _reachable(host: str, port: int) -> str:
    """The address at which others reach a server; one on all interfaces has the host's name.

    >>> _reachable("::1", 8775)
    '[::1]:8775'
    """
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - a comparison
        host = socket.gethostname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_port_free(settings: WebSettings, section: str) -> None:
    """Raise `PortInUse` if the configured port is in use, before anything else starts."""
    if settings.enabled and settings.port:
        _listen(settings, section, settings.port, BaseHTTPRequestHandler).server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking the name service for the name of the host, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


class _Server6(_Server):
    address_family = socket.AF_INET6


def _listen(
    settings: WebSettings, section: str, default_port: int, handler: type[BaseHTTPRequestHandler]
) -> _Server:
    host, server = settings.host, _Server6 if ":" in settings.host else _Server
    default = range(default_port, default_port + N_PORTS)
    ports = default if settings.port is None else [settings.port]
    for port in ports:
        try:
            return server((host, port), handler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise PortInUse(
                    f"cannot listen on {host}:{port} ({error.strerror}). "
                    f"Fix: set [{section}] host and port, or [{section}] enabled = false"
                ) from error
    variable = f"DRIFTLINE_{section.upper().replace('.', '__')}__PORT"
    raise PortInUse(
        f"port {ports[0]} of {host} is in use. Fix: set another [{section}] port ({variable}), or "
        f"remove it to use the next free one from {default_port} on"
    )


def _code(good: bool) -> int:  # noqa: FBT001 - a value, not an option
    return 200 if good else 503
