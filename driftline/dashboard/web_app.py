"""The web application: pages, live updates, the API, ``/healthz``, and security headers.

Requests with another host name are rejected while the dashboard listens on loopback: otherwise a
web page could read it through a name that it lets point to 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftline.dashboard.api import ANSWERS, ReadApi, describe
from driftline.dashboard.incident_answers import incident_answers
from driftline.dashboard.monitor_routes import ModelsHealth, MonitorRoutes
from driftline.dashboard.page_templates import STATIC, environment
from driftline.dashboard.pages import PageNotFound, Pages
from driftline.dashboard.read_model import ReadModel
from driftline.dashboard.request_problem import (
    RequestProblem,
    problem_of_http,
    problem_of_parameters,
)
from driftline.dashboard.write_api import WriteApi, write_components
from producer.printable import printable

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_UPDATES: Final = "/updates"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class SecurityHeaders:
    """Adds `HEADERS` to the answers of ``app``; ``hosts`` are the accepted names, empty for any.

    HEAD is answered as GET without the body, wherever GET is and the answer ends.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        is_head = scope["method"] == "HEAD" and scope["path"] != _UPDATES
        if is_head:
            scope = {**scope, "method": "GET"}

        async def send_with_headers(message: Message) -> None:
            if is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if self._hosts and host_of(Headers(scope=scope).get("host", "")) not in self._hosts:
            text = f"this dashboard is reached as {', '.join(sorted(self._hosts))} only\n"
            await PlainTextResponse(text, 421)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def host_of(header: str) -> str:
    """The name in a ``Host`` header, without its port.

    >>> host_of("localhost:8765"), host_of("[::1]:8765"), host_of("[::1]")
    ('localhost', '::1', '::1')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


_KEEP_ALIVE_ROUNDS: Final = 30
_ROUND_S: Final = 0.5


class _StaticFiles(StaticFiles):
    """Static files; their addresses change with their content."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def web_app(
    read: ReadModel,
    *,
    place: str,
    version: str,
    hosts: Collection[str] = (),
    token: str = "",
    stopping: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """The application.

    ``place`` names the installation on every page.  ``hosts`` are the accepted host names.
    ``token`` allows to answer incidents and to write events; without one all is read-only.
    ``stopping`` ends live updates when the process stops.
    """
    app = FastAPI(
        title="driftline", version=version, docs_url=None, redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )  # fmt: skip
    app.openapi = lambda: describe(  # type: ignore[method-assign]
        app, [*ANSWERS.values(), ModelsHealth], write_components()
    )
    app.add_middleware(SecurityHeaders, hosts=hosts)
    app.mount("/static", _StaticFiles(directory=STATIC), name="static")
    app.include_router(ReadApi(read).routes())
    app.include_router(MonitorRoutes(read).routes())
    app.include_router(WriteApi(read.settings, token).routes())
    pages = Pages(read, environment(), place, writable=bool(token))
    app.include_router(incident_answers(read, pages, token))

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> Response:
        away = [server.name for server in read.observer.current.away()]
        text = f"alive; without {', '.join(away)}\n" if away else "alive\n"
        return PlainTextResponse(text)

    @app.get(_UPDATES, include_in_schema=False)
    async def updates(request: Request) -> StreamingResponse:
        return StreamingResponse(_updates(read, request, stopping), media_type="text/event-stream")

    routes: dict[str, Callable[..., str]] = {
        "/": pages.overview,
        "/model": pages.model,
        "/incidents": pages.incidents,
        "/incidents/{incident_id}": pages.incident,
        "/retrains": pages.retrains,
        "/coverage": pages.coverage,
        "/doctor": pages.doctor,
    }
    for path, page in routes.items():
        app.add_api_route(path, page, response_class=HTMLResponse, include_in_schema=False)

    @app.exception_handler(PageNotFound)
    async def no_page(request: Request, error: PageNotFound) -> Response:
        del request
        return HTMLResponse(pages.failed(str(error), 404), 404)

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> Response:
        if request.url.path.startswith(("/api/", "/monitor/")):
            response = problem_of_http(error, request.url.path).response()
            response.headers.update(error.headers or {})
            return response
        is_missing = error.status_code == HTTPStatus.NOT_FOUND
        why = f"There is no page {request.url.path}" if is_missing else str(error.detail)
        text = pages.failed(printable(why), error.status_code)
        return HTMLResponse(text, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def wrong_parameter(request: Request, error: RequestValidationError) -> Response:
        del request
        return problem_of_parameters(error).response()

    @app.exception_handler(RequestProblem)
    async def failed_request(request: Request, error: RequestProblem) -> Response:
        del request
        return error.response()

    return app


async def _updates(
    read: ReadModel, request: Request, stopping: Callable[[], bool]
) -> AsyncIterator[str]:
    """An event whenever something changed, and a comment when nothing did for a while."""
    known, silent = read.observer.version, 0
    yield "retry: 2000\n\n"
    while not stopping() and not await request.is_disconnected():
        read.observer.viewed()
        if read.observer.version != known:
            known, silent = read.observer.version, 0
            yield f"event: changed\ndata: {known}\n\n"
        elif silent >= _KEEP_ALIVE_ROUNDS:
            silent = 0
            yield ": nothing changed\n\n"
        silent += 1
        await asyncio.sleep(_ROUND_S)
