"""``driftline monitor``: run one worker of the monitor until it is stopped."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from driftline.cli.connection import load_settings
from driftline.cli.options import Bootstrap, Config, Prefix, RedisUrl, WebPort


def monitor(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    web_port: WebPort = None,
    *,
    web: Annotated[
        bool | None, typer.Option("--web/--no-web", help="Serve health and metrics, or not.")
    ] = None,
) -> None:
    """Run a worker that watches the events and publishes alerts.

    Start up to as many workers as the event topic has partitions; each takes its share.

    Exit codes: 0 stopped by a signal, 1 failed (start it again), 2 invalid setting, 4 Kafka or
    Redis unreachable.
    """
    page: dict[str, Any] = {}
    if web_port is not None:
        page["port"] = web_port
    if web is not None:
        page["enabled"] = web
    settings = load_settings(
        config, bootstrap_servers=bootstrap_servers, redis_url=redis_url, prefix=prefix, web=page
    )
    spec = settings.monitor_spec()

    from stream_monitor.runtime.worker import run  # noqa: PLC0415 - light imports
    from stream_monitor.state.partition_state import PartitionStateFactory  # noqa: PLC0415

    raise typer.Exit(run(settings, PartitionStateFactory(spec, settings.topics.prefix)))
