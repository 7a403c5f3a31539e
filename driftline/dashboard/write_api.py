"""The writing part of the HTTP API: events and labels of services that have no Kafka client.

A request needs the dashboard's token as a bearer token, which a browser never sends by itself, so
another site cannot use it (CSRF).  Events are written in threads of their own: at most
`MAX_REQUESTS` requests are in work, and a further one is answered with 429.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import msgspec
from confluent_kafka import KafkaException
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from driftline.dashboard.event_intake import MAX_BODY_BYTES, MAX_EVENTS, PostedEvent, events_of_body
from driftline.dashboard.request_problem import Problem, RequestProblem, json_response
from producer.events import InferenceEvent, Label
from producer.writer import DeliveryError, EventWriter

if TYPE_CHECKING:
    from stream_monitor.settings import Settings

DELIVERY_S: Final = 10.0
"""Kafka has to acknowledge all events of a request within this time."""
RETRY_S: Final = 5
_TIMEOUTS: Final = frozenset({"message.timeout.ms", "delivery.timeout.ms"})


class EventDelivery:
    """Writes events; each concurrent request has its own writer.

    A writer that failed is not used again, because it counts the failures of earlier requests.
    librdkafka drops a record after ``timeout_s``, so none arrives after the answer.
    """

    def __init__(self, settings: Settings, timeout_s: float = DELIVERY_S) -> None:
        self._servers = settings.kafka.bootstrap_servers
        self._prefix, self._topic = settings.topics.prefix, settings.topics.events
        self._timeout_s = timeout_s
        given = {k: v for k, v in settings.kafka.librdkafka.items() if k not in _TIMEOUTS}
        self._librdkafka = {**given, "message.timeout.ms": round(timeout_s * 1000)}
        self._idle: deque[EventWriter] = deque()

    def deliver(self, events: Sequence[InferenceEvent | Label]) -> None:
        """Write events; blocks until Kafka has acknowledged all of them.

        Raises:
            RequestProblem: Kafka did not acknowledge an event.
        """
        try:
            writer = self._writer()
            for event in events:
                writer.write(event)
            writer.flush(self._timeout_s + 1)
        except (DeliveryError, KafkaException) as error:
            raise RequestProblem(
                503,
                Problem(
                    what="Kafka did not acknowledge all events; some may have been written",
                    where=f"topic {self._topic} at {self._servers}",
                    why=_text_of(error),
                    fix="repeat the request with these ids: an event that arrives twice counts "
                    "once. `driftline doctor` names what is wrong with Kafka",
                    ids=[event.id for event in events],
                ),
                retry_s=RETRY_S,
            ) from error
        self._idle.append(writer)

    def _writer(self) -> EventWriter:
        try:
            return self._idle.pop()
        except IndexError:
            return EventWriter(
                self._servers,
                topic_prefix=self._prefix,
                source="/driftline/http",
                librdkafka=self._librdkafka,
            )


def _text_of(error: Exception) -> str:
    cause = error.args[0] if error.args else error
    return str(cause.str()) if hasattr(cause, "str") else str(error)


MAX_REQUESTS: Final = 8
"""Requests that are read and written at the same time."""
_BODY_S: Final = 30.0
_WRONG_TOKEN_S: Final = 1.0
"""The delay after a wrong token, so that it cannot be guessed quickly."""
_REF: Final = "#/components/schemas/{name}"


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """Kafka has acknowledged the events with these ids, in the order of the request.

    ``ignored_fields`` are fields of the request that events do not have.
    """

    ids: list[str]
    ignored_fields: list[str] = []


class WriteApi:
    """The routes that write; without a ``token`` each answers 403.

    ``timeout_s`` is the time in which Kafka has to acknowledge the events of a request.
    """

    def __init__(self, settings: Settings, token: str, *, timeout_s: float = DELIVERY_S) -> None:
        self._token = token
        self._limits = settings.monitor_spec().limits
        self._delivery = EventDelivery(settings, timeout_s)
        self._threads = ThreadPoolExecutor(MAX_REQUESTS, thread_name_prefix="http-writer")
        self._n_active = 0

    def routes(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["write"])
        answers: dict[str, tuple[Callable[[Request], Awaitable[Response]], str, str]] = {
            "/api/v1/events": (self.events, "Write events to the event topic", "PostedEvent"),
            "/api/v1/labels": (self.labels, "Write labels to the event topic", "PostedLabel"),
            "/monitor/predict": (self.events, "The same as /api/v1/events", "PostedEvent"),
        }
        for path, (answer, summary, name) in answers.items():
            router.add_api_route(
                path,
                answer,
                summary=summary,
                methods=["POST"],
                status_code=202,
                response_class=Response,
                responses=_RESPONSES,
                openapi_extra=_request_body(name),
                operation_id=path.strip("/").replace("/", "_"),
            )
        return router

    async def events(self, request: Request) -> Response:
        """Write one event or a list; an event without a prediction has only inputs."""
        return await self._answer(request, InferenceEvent)

    async def labels(self, request: Request) -> Response:
        """Write one label or a list; the ``id`` is that of the event."""
        return await self._answer(request, Label)

    async def _answer(self, request: Request, kind: type[PostedEvent]) -> Response:
        try:
            await self._check_token(request)
            return json_response(await self._accept(request, kind), 202)
        except RequestProblem as problem:
            return problem.response()

    async def _check_token(self, request: Request) -> None:
        if not self._token:
            raise RequestProblem(
                403,
                Problem(
                    what="nothing was written", where=request.url.path,
                    why="this dashboard is read-only: it has no token",
                    fix="start it with DRIFTLINE_DASHBOARD_TOKEN_FILE=FILE, and send "
                    "'Authorization: Bearer TOKEN'",
                ),
            )  # fmt: skip
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(
            given.strip().encode(), self._token.encode()
        ):
            return
        if given:
            await asyncio.sleep(_WRONG_TOKEN_S)
        raise RequestProblem(
            401,
            Problem(
                what="nothing was written", where="header Authorization",
                why="the token is wrong" if given else "the header is missing",
                fix="send 'Authorization: Bearer TOKEN' with the token of the dashboard",
            ),
        )  # fmt: skip

    async def _accept(self, request: Request, kind: type[PostedEvent]) -> Accepted:
        if self._n_active >= MAX_REQUESTS:
            raise RequestProblem(
                429,
                Problem(
                    what="nothing was written", where=request.url.path,
                    why=f"{MAX_REQUESTS} requests are in work",
                    fix=f"repeat the request; send up to {MAX_EVENTS} events in one",
                ),
                retry_s=1,
            )  # fmt: skip
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise RequestProblem(
                415,
                Problem(
                    what="nothing was written", where="header Content-Encoding",
                    why=f"bodies in {encoding} are not read", fix="send the JSON uncompressed",
                ),
            )  # fmt: skip
        self._n_active += 1
        try:
            body = await _body_of(request)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._write, body, kind)
        finally:
            self._n_active -= 1

    def _write(self, body: bytes, kind: type[PostedEvent]) -> Accepted:
        now_ms = round(time.time() * 1000)
        found = events_of_body(body, kind, limits=self._limits, now_ms=now_ms)
        self._delivery.deliver(found.events)
        return Accepted(
            ids=[event.id for event in found.events], ignored_fields=found.ignored_fields
        )


async def _body_of(request: Request) -> bytes:
    """The body.

    Raises:
        RequestProblem: the body is too large, or does not arrive.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise RequestProblem(
                        413,
                        Problem(
                            what="nothing was written", where="the body",
                            why=f"more than {MAX_BODY_BYTES} bytes",
                            fix="send the events in several requests",
                        ),
                    )  # fmt: skip
    except (TimeoutError, ClientDisconnect):
        raise RequestProblem(
            408,
            Problem(
                what="nothing was written", where="the body",
                why=f"it did not arrive as a whole within {_BODY_S:g} s",
                fix="repeat the request, with fewer events",
            ),
        ) from None  # fmt: skip
    return bytes(body)


def _request_body(name: str) -> dict[str, Any]:
    one = {"$ref": _REF.format(name=name)}
    many = {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_EVENTS}
    text = f"One or a list of up to {MAX_EVENTS:,}; the body has up to {MAX_BODY_BYTES:,} bytes."
    return {
        "security": [{"bearer": []}],
        "requestBody": {
            "required": True,
            "description": text,
            "content": {"application/json": {"schema": {"oneOf": [one, many]}}},
        },
    }


def _described(text: str, name: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name=name)}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    202: _described("Kafka has acknowledged all events", "Accepted"),
    401: _described("The token is missing or wrong", "Problem"),
    403: _described("The dashboard has no token", "Problem"),
    408: _described("The body does not arrive", "Problem"),
    413: _described("The body is too large, or has too many events", "Problem"),
    415: _described("The body is compressed", "Problem"),
    422: _described("An event is invalid; nothing was written", "Problem"),
    429: _described("Too many requests at the same time; see Retry-After", "Problem"),
    503: _described("Kafka does not acknowledge; see Retry-After", "Problem"),
}


def write_components() -> dict[str, Any]:
    """The OpenAPI components of the routes: the bodies, the answers, and the token."""
    _, schemas = msgspec.json.schema_components(
        [InferenceEvent, Label, Accepted, Problem], ref_template=_REF
    )
    for kind, name in (("InferenceEvent", "PostedEvent"), ("Label", "PostedLabel")):
        schema = dict(schemas.pop(kind))
        schema["title"] = name
        schema["required"] = [f for f in schema["required"] if f not in ("id", "time_ms")]
        schemas[name] = schema
    return {"schemas": schemas, "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}}
