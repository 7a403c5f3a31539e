"""Errors of HTTP requests as JSON: what failed, where, why, and how to fix it."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from producer.printable import printable_json


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of an error.

    ``where`` is the place in the body as a JSON path (``$[3].time_ms``), or the server.  ``reason``
    is that of a dead letter.  ``ids`` are those of events that may not have been written.
    """

    what: str
    where: str
    why: str
    fix: str
    reason: str = ""
    ids: list[str] = []


def problem_of_http(error: HTTPException, path: str) -> RequestProblem:
    """The problem of a path or method that does not exist."""
    allowed = (error.headers or {}).get("Allow", "")
    return RequestProblem(
        error.status_code,
        Problem(
            what="the request was not answered",
            where=path,
            why=str(error.detail),
            fix=f"use {allowed}" if allowed else "/api/v1/openapi.json lists the paths",
        ),
    )


def problem_of_parameters(error: RequestValidationError) -> RequestProblem:
    """The problem of the first query parameter that is missing or invalid."""
    first = error.errors()[0]
    kind, name = first["loc"][0], first["loc"][-1]
    return RequestProblem(
        422,
        Problem(
            what="the request was not answered",
            where=f"{kind} parameter {name}",
            why=str(first["msg"]),
            fix=f"correct {name}; /api/v1/openapi.json describes the parameters",
        ),
    )


def described_problem(text: str) -> dict[str, Any]:
    """An error in the OpenAPI document."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


class RequestProblem(Exception):  # noqa: N818 - names what is wrong
    """Ends a request with ``status`` and ``problem``; a retry makes sense after ``retry_s``."""

    def __init__(self, status: int, problem: Problem, *, retry_s: int | None = None) -> None:
        super().__init__(problem.what)
        self.status, self.problem, self.retry_s = status, problem, retry_s

    def response(self) -> Response:
        """The error as an answer."""
        headers = {} if self.retry_s is None else {"Retry-After": str(self.retry_s)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return json_response(self.problem, self.status, headers)


def json_response(
    data: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """``data`` as JSON; characters that a terminal would act on are escaped."""
    text = printable_json(msgspec.json.encode(data).decode())
    return Response(text, status, headers, "application/json")
