"""A store with a password: with it all works, with another one the error names the cause."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
import trustme

from driftline.stack.temporary_folder import temporary_folder
from driftline.stack.valkey import Valkey
from stream_monitor.state.redis_store import RedisStateStore
from stream_monitor.state.store import StoreUnavailable

SECRET = "s3cret"  # noqa: S105 - of a server that lives for a test


@pytest.fixture(scope="module")
def secured() -> Iterator[str]:
    """Address of a Valkey that asks for a password."""
    with temporary_folder("stack") as folder:
        valkey = Valkey(folder)
        valkey.start()
        with redis.Redis.from_url(valkey.url) as client:
            client.config_set("requirepass", SECRET)
        yield valkey.url
        valkey.process.kill()


def with_password(url: str, password: str) -> str:
    return url.replace("redis://", f"redis://:{password}@")


def check(url: str) -> None:
    async def ask() -> None:
        store = RedisStateStore(url)
        try:
            await store.check()
            await store.ping()
        finally:
            await store.close()

    asyncio.run(ask())


def test_a_client_with_the_password_connects(secured: str) -> None:
    check(with_password(secured, SECRET))


async def over_tls(url: str, folder: Path) -> None:
    """Check the store through a proxy that accepts TLS only."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    behind = urlsplit(url).port

    async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while some := await source.read(65_536):
            target.write(some)
            await target.drain()
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", behind)
        await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    place = f"rediss://:{SECRET}@127.0.0.1:{port}/0"
    store = RedisStateStore(f"{place}?ssl_ca_certs={folder / 'ca.pem'}")
    await store.check()
    await store.close()
    stranger = RedisStateStore(place)
    with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await stranger.ping()
    await stranger.close()
    server.close()


def test_a_rediss_address_uses_tls_and_verifies_the_certificate(
    secured: str, tmp_path: Path
) -> None:
    asyncio.run(over_tls(secured, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("password", [None, "guessed"])
def test_a_missing_password_is_an_error_and_no_output_has_a_password(
    secured: str, password: str | None
) -> None:
    url = secured if password is None else with_password(secured, password)
    with pytest.raises(StoreUnavailable, match=r"(?i)authenticat|password"):
        check(url)

    place = ["--bootstrap-servers", "127.0.0.1:1", "--redis-url", url]
    looked = subprocess.run(
        [sys.executable, "-m", "driftline", "doctor", "--json", *place],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (found,) = [f for f in json.loads(looked.stdout)["findings"] if f["check"] == "redis"]
    assert found["level"] == "problem"
    assert "does not answer, or rejected the connection" in found["found"]
    assert "guessed" not in looked.stdout + looked.stderr
