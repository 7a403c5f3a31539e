"""Serves the health and the metrics of a worker over HTTP, by default on loopback."""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from stream_monitor.metrics import Metrics
from stream_monitor.shared_settings import WebSettings

Readiness = Callable[[], Awaitable[dict[str, Any]]]
DEFAULT_PORT: Final = 8765
N_PORTS: Final = 100
"""How many ports are tried from the default on: several workers may run on one host."""


class PortInUse(OSError):  # noqa: N818 - names what happened
    """The configured port is in use; the text names the fix."""


def _taken(host: str, port: int) -> PortInUse:
    return PortInUse(
        f"port {port} of {host} is in use. Fix: set another [web] port "
        "(DRIFTLINE_WEB__PORT), or none, for the next free one from 8765 on"
    )


def check_port_free(settings: WebSettings) -> None:
    """Raise `PortInUse` if the configured port is in use, before anything else starts."""
    if not (settings.enabled and settings.port):
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise _taken(settings.host, settings.port) from error


class HttpServer:
    """Serves ``/healthz`` (the event loop runs), ``/readyz`` and ``/metrics``.

    ``readiness`` returns the answer of ``/readyz``; its ``ready`` decides between 200 and 503.
    Without a ``port`` the server takes the first free one from `DEFAULT_PORT` on, with 0 any free
    one; the attribute `port` is the one in use.
    """

    def __init__(self, host: str, port: int | None, metrics: Metrics, readiness: Readiness) -> None:
        self._host = host
        self._wanted_port = port
        self._metrics = metrics
        self._readiness = readiness
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Start to listen.

        Raises:
            PortInUse: the configured port is in use, or none is free.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics_page)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await self._listen(self._runner)
        self.port = int(self._runner.addresses[0][1])

    async def _listen(self, runner: web.AppRunner) -> None:
        default = range(DEFAULT_PORT, DEFAULT_PORT + N_PORTS)
        ports = default if self._wanted_port is None else [self._wanted_port]
        for port in ports:
            try:
                await web.TCPSite(runner, self._host, port).start()
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise PortInUse(
                        f"cannot listen on {self._host}:{port} ({error.strerror}). "
                        "Fix: set [web] host and port, or [web] enabled = false"
                    ) from error
            else:
                return
        await runner.cleanup()
        raise _taken(self._host, ports[0])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def _readyz(self, _request: web.Request) -> web.Response:
        answer = await self._readiness()
        return web.json_response(
            body=msgspec.json.encode(answer), status=200 if answer["ready"] else 503
        )

    async def _metrics_page(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.text(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )
