"""Send requests to an application in this process, several at the same time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
from fastapi import FastAPI


def post(
    app: FastAPI,
    *bodies: Any,
    path: str = "/api/v1/events",
    authorization: str = "Bearer secret",
    encoding: str | None = None,
) -> list[httpx.Response]:
    """The answers to one request for each of ``bodies``, all sent at once."""

    async def answers() -> list[httpx.Response]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://dashboard", timeout=60
        ) as client:
            headers = {"authorization": authorization}
            if encoding is not None:
                headers["content-encoding"] = encoding
            return await asyncio.gather(
                *(client.post(path, content=json_of(body), headers=headers) for body in bodies)
            )

    return asyncio.run(answers())


def json_of(body: Any) -> bytes:
    """The bytes of a body."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()
