"""A Redis that cannot hold state is named with its fix before the worker starts."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from driftline.stack.server_process import ServerProcess, free_port
from driftline.stack.temporary_folder import temporary_folder
from driftline.stack.valkey import binary
from stream_monitor.state.redis_store import ACL_RULES, RedisStateStore, partition_key
from stream_monitor.state.store import StoreMisconfigured


def check(url: str, *keys: str) -> str | None:
    async def main() -> str | None:
        store = RedisStateStore(url)
        try:
            return await store.check(keys)
        finally:
            await store.close()

    return asyncio.run(main())


def answers(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url).ping())
    except redis.RedisError:
        return False


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder("stack") as made:
        yield made


def start(folder: Path, *options: str) -> tuple[ServerProcess, str]:
    port = free_port()
    command = [str(binary()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    server = ServerProcess([*command, "--save", "", *options], folder / "server.log")
    server.start()
    url = f"redis://127.0.0.1:{port}/0"
    server.wait_until(lambda: answers(url), 10)
    return server, url


def test_a_redis_cluster_is_rejected_with_an_alternative(folder: Path) -> None:
    server, url = start(folder, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    try:
        with pytest.raises(StoreMisconfigured, match=r"Redis Cluster.*Fix: .*standalone"):
            check(url)
    finally:
        server.stop()


def test_a_sentinel_is_rejected_with_the_command_to_query_it(folder: Path) -> None:
    (folder / "sentinel.conf").write_text("")
    port = free_port()
    command = [str(binary()), str(folder / "sentinel.conf"), "--port", str(port), "--sentinel"]
    server = ServerProcess(command, folder / "sentinel.log")
    server.start()
    url = f"redis://127.0.0.1:{port}/0"
    try:
        server.wait_until(lambda: answers(url), 10)
        with pytest.raises(StoreMisconfigured, match=r"Sentinel.*Fix: .*get-master-addr-by-name"):
            check(url)
    finally:
        server.stop()


@pytest.fixture
def user(redis_url: str) -> Iterator[tuple[redis.Redis, str]]:
    """A user of its own, without any right yet."""
    name = f"user{uuid.uuid4().hex[:8]}"
    admin: Any = redis.Redis.from_url(redis_url)
    admin.execute_command("ACL", "SETUSER", name, "on", ">secret")
    yield admin, redis_url.replace("redis://", f"redis://{name}:secret@")
    admin.execute_command("ACL", "DELUSER", name)


def name_of(url: str) -> str:
    return url.removeprefix("redis://").partition(":")[0]


def test_the_stated_rights_are_enough(user: tuple[Any, str]) -> None:
    admin, url = user
    admin.execute_command("ACL", "SETUSER", name_of(url), *ACL_RULES.split())

    assert check(url) is None


@pytest.mark.parametrize(
    "missing", ["-eval -evalsha", "-hset", "-hscan", "-set", "-rename", "resetkeys ~other:*"]
)
def test_a_missing_right_is_named_with_the_rule_that_gives_it(
    user: tuple[Any, str], missing: str
) -> None:
    admin, url = user
    rules = [*ACL_RULES.split(), *missing.split()]
    admin.execute_command("ACL", "SETUSER", name_of(url), *rules)

    with pytest.raises(StoreMisconfigured, match=r"does not let this user.*Fix: ACL SETUSER"):
        check(url)


def test_a_value_of_another_type_at_our_key_is_named(redis_url: str) -> None:
    key = partition_key(f"foreign-{uuid.uuid4().hex}", 0)
    with redis.Redis.from_url(redis_url) as client:
        client.set(key, "mine")
        with pytest.raises(StoreMisconfigured, match=r"another type of value.*Fix: RENAME"):
            check(redis_url, key)
        assert client.get(key) == b"mine"


def test_a_foreign_hash_at_a_state_key_is_reported_and_kept(redis_url: str) -> None:
    key = partition_key(f"foreign-{uuid.uuid4().hex}", 0)
    with redis.Redis.from_url(redis_url) as client:
        client.hset(key, "name", "mine")
        with pytest.raises(StoreMisconfigured, match=r"did not write.*Fix: RENAME"):
            check(redis_url, key)
        assert client.hgetall(key) == {b"name": b"mine"}


def test_the_check_leaves_no_key_behind(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        check(redis_url)
        left = [
            key for key in client.scan_iter("driftline:{check-*") if client.type(key) == b"hash"
        ]
    assert left == []
