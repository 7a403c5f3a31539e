"""A local HTTP server that keeps what it is sent, and answers as a test wants it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

WAIT_S = 60.0


class Posted(NamedTuple):
    """A request: its path, its headers and its JSON body."""

    path: str
    headers: dict[str, str]
    body: Any


class HttpSink:
    """Keeps accepted requests; ``status`` is the answer to the next ones."""

    def __init__(self) -> None:
        self.accepted: list[Posted] = []
        self.rejected: list[Posted] = []
        self.status = 200
        self._arrived = threading.Condition()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(size))
                posted = Posted(self.path, dict(self.headers), body)
                status = sink._keep(posted)
                self.send_response(status)
                if status in (301, 302):
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing is logged."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _keep(self, posted: Posted) -> int:
        with self._arrived:
            status = self.status
            (self.accepted if status < 300 else self.rejected).append(posted)
            self._arrived.notify_all()
        return status

    def wait(self, n_accepted: int = 0, n_rejected: int = 0) -> None:
        """Wait until so many requests have arrived."""
        with self._arrived:
            arrived = self._arrived.wait_for(
                lambda: len(self.accepted) >= n_accepted and len(self.rejected) >= n_rejected,
                WAIT_S,
            )
        assert arrived, (self.accepted, self.rejected)

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def http_sink() -> Iterator[HttpSink]:
    """A running sink."""
    sink = HttpSink()
    try:
        yield sink
    finally:
        sink.close()
