"""Load the settings, and connect commands to Kafka and Redis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from driftline.cli.command_error import UsageError

if TYPE_CHECKING:
    from redis import Redis

    from stream_monitor.settings import Settings
    from stream_monitor.shared_settings import FileSettings

SettingsT = TypeVar("SettingsT", bound="FileSettings")
WAIT_NOTICE_AFTER_S: Final = 1.0
"""A command that waits longer prints which servers it waits for."""


def load_settings(
    config: Path | None = None,
    *,
    bootstrap_servers: str | None = None,
    redis_url: str | None = None,
    prefix: str | None = None,
    **sections: dict[str, Any],
) -> Settings:
    """Load the monitor's settings: flags, then environment, then file, then defaults.

    Raises:
        CommandError: the file does not exist, or is not TOML.
        ValidationError: a setting is unknown or invalid (pydantic's class).
    """
    from stream_monitor.settings import Settings  # noqa: PLC0415 - light imports

    flags = flags_by_section(
        ("kafka", "bootstrap_servers", bootstrap_servers),
        ("redis", "url", redis_url),
        ("topics", "prefix", prefix),
    )
    return load_file_settings(Settings, config, flags | {k: v for k, v in sections.items() if v})


def flags_by_section(*flags: tuple[str, str, Any]) -> dict[str, dict[str, Any]]:
    """Flags as the settings take them: by section and name; ``None`` is a flag not given.

    >>> flags_by_section(("kafka", "bootstrap_servers", None), ("topics", "prefix", "test"))
    {'topics': {'prefix': 'test'}}
    """
    found: dict[str, dict[str, Any]] = {}
    for section, name, value in flags:
        if value is not None:
            found.setdefault(section, {})[name] = value
    return found


def load_file_settings(
    kind: type[SettingsT], config: Path | None, flags: Mapping[str, Any]
) -> SettingsT:
    """Settings of a process; ``config`` takes the place of ``driftline.toml``.

    Raises:
        CommandError: the file does not exist, or is not TOML.
        ValidationError: a setting is unknown or wrong (pydantic's).
    """
    import tomllib  # noqa: PLC0415 - light imports, see commands/__init__

    if config is not None and not config.is_file():
        raise UsageError("the settings file does not exist", where=str(config))
    try:
        return kind.load(config, **flags)
    except tomllib.TOMLDecodeError as error:
        where = str(config or "driftline.toml")
        raise UsageError(
            "the settings file is not valid TOML", where=where, why=str(error)
        ) from error


def connect_redis(settings: Settings) -> Redis:
    """A Redis client that gives up after 5 s."""
    from redis import Redis  # noqa: PLC0415

    client: Redis = Redis.from_url(settings.redis.url, socket_timeout=5, socket_connect_timeout=5)
    return client


def wait_for_kafka(client: Mapping[str, Any], timeout_s: float) -> None:
    """Wait up to ``timeout_s`` until a broker answers; prints a note after one second.

    ``client`` is librdkafka's configuration.

    Raises:
        KafkaException: no broker answered; the text contains the reason.
    """
    import threading  # noqa: PLC0415 - light imports

    from driftline.cli.output import note  # noqa: PLC0415
    from producer.kafka_client import connect_admin  # noqa: PLC0415

    servers = client.get("bootstrap.servers", "")
    waits = threading.Timer(WAIT_NOTICE_AFTER_S, note, [f"waiting for Kafka at {servers}"])
    waits.daemon = True
    waits.start()
    try:
        connect_admin(client, timeout_s)
    finally:
        waits.cancel()


def without_password(url: str) -> str:
    """A Redis URL with its password replaced by ``***``.

    >>> without_password("redis://me:secret@db:6379/0")
    'redis://me:***@db:6379/0'
    """
    scheme, separator, rest = url.partition("://")
    login, at, server = rest.rpartition("@")
    if not at or ":" not in login:
        return url
    return f"{scheme}{separator}{login.partition(':')[0]}:***@{server}"
