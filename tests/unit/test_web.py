"""The HTTP server of the monitor and of the trainer."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from typing import Any

import pytest

from driftline.stack.server_process import free_port
from stream_monitor.shared_settings import WebSettings
from stream_monitor.web import PortInUse, WebServer


def server(port: int | None = 0, default_port: int = 1, **answers: Callable[[], Any]) -> WebServer:
    defaults: dict[str, Callable[[], Any]] = {
        "health": lambda: {"alive": True},
        "readiness": lambda: {"ready": False, "waiting": [3]},
        "metrics": lambda: b"up 1\n",
    }
    return WebServer(WebSettings(port=port), "web", default_port, **(defaults | answers))


def page(web: WebServer, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://{web.address}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_pages() -> None:
    with closing(server()) as web:
        assert page(web, "/healthz") == (200, b'{"alive":true}')
        code, body = page(web, "/readyz?verbose")
        assert (code, json.loads(body)) == (503, {"ready": False, "waiting": [3]})
        assert page(web, "/metrics") == (200, b"up 1\n")
        assert page(web, "/")[0] == 404


def test_head_is_answered_as_get_without_the_body() -> None:
    with closing(server()) as web:
        for path in ("/healthz", "/readyz", "/metrics", "/"):
            connection = HTTPConnection(web.address, timeout=5)
            connection.request("HEAD", path)
            answer = connection.getresponse()
            found = answer.status, answer.read()
            connection.close()
            assert found == (page(web, path)[0], b""), path


def test_a_server_on_all_interfaces_is_named_by_its_host() -> None:
    """As others reach it: heartbeats carry the address to `driftline status` on any machine."""
    answers: dict[str, Callable[[], Any]] = {"health": dict, "readiness": dict, "metrics": bytes}
    settings = WebSettings(host="0.0.0.0", port=0)  # noqa: S104 - what a container listens on
    with closing(WebServer(settings, "web", 1, **answers)) as web:
        assert web.address.rpartition(":")[0] == socket.gethostname()


def test_without_an_answer_in_time_the_process_is_not_alive() -> None:
    def hangs() -> dict[str, bool]:
        raise TimeoutError

    with closing(server(health=hangs)) as web:
        assert page(web, "/healthz")[0] == 503


def test_without_a_port_the_next_free_one_is_used() -> None:
    first = free_port()
    with ExitStack() as open_servers:
        ports = [
            int(open_servers.enter_context(closing(server(None, first))).address.split(":")[1])
            for _ in range(2)
        ]

    assert first <= ports[0] < ports[1]


def test_a_port_that_is_in_use_is_an_error_with_a_fix() -> None:
    with closing(server()) as web, pytest.raises(PortInUse, match=r"Fix: .*DRIFTLINE_WEB__PORT"):
        server(int(web.address.split(":")[1]))
