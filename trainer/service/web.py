"""Serves health and metrics of the trainer over HTTP, in threads, on loopback by default."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from stream_monitor.health import HealthProblem

DEFAULT_PORT: Final = 8785
N_PORTS: Final = 100
"""Number of ports to try from the default on."""
STALL_S: Final = 60.0
"""A loop without an iteration for this time is not alive."""
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class TrainerMetrics:
    """The Prometheus metrics of one trainer process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.alerts = self._counter(
            "alerts", "Alerts received, by model and decision", "model", "action", "rule"
        )
        self.skipped = self._counter(
            "alerts_skipped", "Records of the alerts topic that are not alerts"
        )
        self.jobs = self._counter("jobs", "Jobs that ended, by outcome", "model", "outcome")
        self.active = self._gauge("jobs_active", "Jobs that are not done", "state")
        self.lag = self._gauge("alerts_lag", "Alerts not received yet", "partition")
        self.unsent = self._gauge("events_unsent", "1 while events wait for Kafka to accept them")
        self._problems = Gauge(
            "driftline_health_problem",
            "1 while this trainer sees the problem",
            ["kind", "subject"],
            registry=self.registry,
        )
        self._loop_ran_s = time.monotonic()
        since = self._gauge("loop_age_seconds", "Seconds since the last iteration of the loop")
        since.set_function(self.loop_age_s)

    def see(self, problem: HealthProblem | None) -> None:
        """Export the problem of the monitor's workers; ``None``: there is none."""
        self._problems.clear()
        if problem is not None:
            self._problems.labels(problem.kind, problem.subject).set(1)

    def mark_loop_ran(self) -> None:
        """Record an iteration of the loop."""
        self._loop_ran_s = time.monotonic()

    def loop_age_s(self) -> float:
        """Return the seconds since the last iteration of the loop."""
        return time.monotonic() - self._loop_ran_s

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"driftline_trainer_{name}", description, labels, registry=self.registry)

    def _gauge(self, name: str, description: str, *labels: str) -> Gauge:
        return Gauge(f"driftline_trainer_{name}", description, labels, registry=self.registry)


class PortInUse(OSError):  # noqa: N818 - says what happened
    """The configured port is in use; the text has the fix."""


class TrainerWeb:
    """Serves ``/healthz`` (the loop runs), ``/readyz`` (it receives alerts) and ``/metrics``.

    ``readiness`` returns a dictionary whose ``ready`` decides between 200 and 503.  Without a
    ``port`` it uses the first free one from `DEFAULT_PORT` on, with 0 any free one.

    Raises:
        PortInUse: the configured port is in use, or none is free.
    """

    def __init__(
        self,
        host: str,
        port: int | None,
        metrics: TrainerMetrics,
        readiness: Callable[[], dict[str, Any]],
    ) -> None:
        def answer(path: str) -> tuple[int, str, bytes]:
            if path == "/healthz":
                alive = metrics.loop_age_s() < STALL_S
                body = {"alive": alive, "loop_age_s": round(metrics.loop_age_s(), 1)}
                return (200 if alive else 503), "application/json", msgspec.json.encode(body)
            if path == "/readyz":
                state = readiness()
                code = 200 if state["ready"] else 503
                return code, "application/json", msgspec.json.encode(state)
            if path == "/metrics":
                return 200, _TEXT, metrics.text()
            return 404, "text/plain; charset=utf-8", b"/healthz, /readyz and /metrics are here\n"

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                code, kind, body = answer(self.path.partition("?")[0])
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Requests are not logged."""

        self._server = _listen(host, port, Handler)
        self._server.daemon_threads = True
        self.address = f"{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="trainer-web", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _listen(
    host: str, port: int | None, handler: type[BaseHTTPRequestHandler]
) -> ThreadingHTTPServer:
    ports = range(DEFAULT_PORT, DEFAULT_PORT + N_PORTS) if port is None else [port]
    for each in ports:
        try:
            return ThreadingHTTPServer((host, each), handler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise PortInUse(
                    f"cannot listen on {host}:{each} ({error.strerror}). "
                    "Fix: set [trainer.web] host and port, or [trainer.web] enabled = false"
                ) from error
    raise PortInUse(
        f"port {ports[0]} of {host} is in use. Fix: set another [trainer.web] port "
        "(DRIFTLINE_TRAINER__WEB__PORT), or remove it to use the next free one from 8785 on"
    )
