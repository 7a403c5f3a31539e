"""Actions of people on incidents: acknowledge, snooze, resolve, each with a name and a reason.

Everybody who knows the token may answer.  It is part of each form, never of a cookie, so that
another site cannot make a browser send it (CSRF).
"""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import Annotated, Any, Final, cast
from urllib.parse import parse_qs

import msgspec
from confluent_kafka import KafkaException
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from driftline.dashboard.page_templates import url
from driftline.dashboard.pages import ANSWERS, PageNotFound, Pages
from driftline.dashboard.read_model import ReadModel
from driftline.topics.alert_commands import (
    AlertAction,
    SnoozeTooLong,
    check_snooze,
    write_alert_commands,
)
from producer.writer import DeliveryError

MAX_BODY_BYTES: Final = 16_384
_WRONG_TOKEN_S: Final = 1.0
"""The delay after a wrong token, so that it cannot be guessed quickly."""
_OWN_REQUESTS: Final = ("same-origin", "none", "")


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A submitted form: the action, the person, the reason, and the hours of a snooze."""

    action: str
    token: str
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""
    hours: Annotated[float, msgspec.Meta(gt=0, le=24 * 365)] = 2.0


class _AnswerError(ValueError):
    """The form is not accepted; the text has the reason."""

    def __init__(self, text: str, code: int = 400) -> None:
        super().__init__(text)
        self.code = code


def incident_answers(read: ReadModel, pages: Pages, token: str) -> APIRouter:
    """The route that forms of incident pages post to; all are rejected without a ``token``."""
    router = APIRouter(include_in_schema=False)

    @router.post("/incidents/{incident_id}/answer")
    async def answer(incident_id: str, request: Request) -> Response:
        try:
            form = await _form_of(request, token)
            await run_in_threadpool(_write, read, incident_id, form)
        except (_AnswerError, SnoozeTooLong) as error:
            code = getattr(error, "code", 400)
            page = await run_in_threadpool(pages.incident, incident_id, "", str(error))
            return HTMLResponse(page, code)
        except (DeliveryError, KafkaException) as error:
            text = f"Kafka did not accept the answer: {error}"
            page = await run_in_threadpool(pages.incident, incident_id, "", text)
            return HTMLResponse(page, 503)
        return RedirectResponse(url(f"/incidents/{incident_id}", answer=form.action), 303)

    return router


async def _form_of(request: Request, token: str) -> Answer:
    """The form of a request, whose token was checked."""
    if not token:
        raise _AnswerError("This dashboard is read-only: it has no token", 403)
    if request.headers.get("sec-fetch-site", "") not in _OWN_REQUESTS:
        raise _AnswerError("The form was sent by another site", 403)
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise _AnswerError("The form is too large", 413)
    fields = {k: v[-1] for k, v in parse_qs(body.decode("utf-8", "replace")).items()}
    try:
        form = msgspec.convert(fields, Answer, strict=False)
    except msgspec.ValidationError as error:
        raise _AnswerError(f"The form is not complete: {error}") from error
    if not hmac.compare_digest(form.token.encode(), token.encode()):
        await asyncio.sleep(_WRONG_TOKEN_S)
        raise _AnswerError("The token is wrong", 403)
    if form.action not in ANSWERS:
        raise _AnswerError("The action is none of acknowledge, snooze, resolve")
    return form


def _write(read: ReadModel, incident_id: str, form: Answer) -> None:
    incident = read.incident(incident_id)
    if incident is None:
        raise PageNotFound("There is no such incident")
    episodes = read.open_episodes_of(incident)
    if not episodes:
        raise _AnswerError("The incident has no open episode", 409)
    now_ms = round(time.time() * 1000)
    snooze: dict[str, Any] = {}
    if form.action == "snooze":
        snooze["until_ms"] = now_ms + round(form.hours * 3_600_000)
        check_snooze(read.settings, snooze["until_ms"], now_ms)
    write_alert_commands(
        read.settings,
        cast("AlertAction", form.action),
        episodes,
        actor=form.user,
        reason=form.reason,
        now_ms=now_ms,
        source="/driftline/dashboard",
        **snooze,
    )
