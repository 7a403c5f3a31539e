"""Runs one worker in this process until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
from typing import Any, Final

import faust
import structlog
from confluent_kafka import KafkaError, KafkaException

from producer.kafka_client import connect_admin
from producer.permission import PERMISSIONS_FIX, require_permissions
from stream_monitor.runtime.app import STOP_S, MonitorApp, exit_after
from stream_monitor.runtime.credentials import faust_credentials
from stream_monitor.runtime.logs import configure
from stream_monitor.runtime.memory import fix_mmap_threshold
from stream_monitor.settings import Settings
from stream_monitor.state.partition_state import PartitionStateFactory
from stream_monitor.state.redis_store import RedisStateStore, partition_key
from stream_monitor.state.store import StoreMisconfigured, StoreUnavailable
from stream_monitor.trainer_heartbeat import trainer_group
from stream_monitor.web import PortInUse, check_port_free

log = structlog.get_logger(__name__)

OK: Final = 0
FAILED: Final = 1
MISCONFIGURED: Final = 2
UNREACHABLE: Final = 4
METADATA_S: Final = 15.0
GC_ALLOCATIONS: Final = 50_000


class PlainWorker(faust.Worker):
    """Faust's worker without banner, spinner and logging set-up."""

    def __init__(self, app: MonitorApp) -> None:
        super().__init__(
            app, quiet=True, override_logging=False, redirect_stdouts=False, loglevel="INFO"
        )
        self.spinner = None

    def _schedule_shutdown(self, signal: Any) -> None:
        log.info("stopping", signal=str(signal))
        exit_after(STOP_S)
        super()._schedule_shutdown(signal)

    async def _sentinel_task(self) -> None:
        """Do nothing: Faust would wait a second after the stop."""


def run(settings: Settings, state_factory: PartitionStateFactory) -> int:
    """Process the event topic until SIGTERM or SIGINT; return the exit code.

    0: stopped by the signal, within 15 s.  1: an unexpected error; start the worker again.  2: a
    setting is wrong.  4: Kafka or Redis is unreachable, or topics are missing.
    """
    configure(settings.log_level)
    faulthandler.enable()  # a crash in a library names the Python line that called it
    exit_code = check(settings)
    if exit_code is not None:
        return exit_code
    _tune_garbage_collector()
    fix_mmap_threshold()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    store = RedisStateStore(settings.redis.url, owner_timeout_ms=settings.kafka.owner_timeout_ms)
    app = MonitorApp(settings, state_factory, store)
    try:
        PlainWorker(app).execute_from_commandline()
    except SystemExit as stop:
        return int(stop.code or OK) if app.failure is None else _exit_code(app.failure)
    except BaseException:
        if app.failure is not None:  # logged where it happened; a panic arrives here
            return _exit_code(app.failure)
        raise


def _exit_code(failure: BaseException) -> int:
    return MISCONFIGURED if isinstance(failure, StoreMisconfigured | PortInUse) else FAILED


def _tune_garbage_collector() -> None:
    """Collect cycles rarely: reference counting frees nearly all objects of a batch.

    Measured: with Python's default of 700 allocations the collector took a third of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 50)


def check(settings: Settings) -> int | None:
    """Check port, Kafka and Redis; return an exit code if one fails, else ``None``."""
    try:
        check_port_free(settings.web, "web")
    except PortInUse as error:
        log.critical(str(error))
        return MISCONFIGURED
    found = _check_kafka(settings)
    if isinstance(found, int):
        return found
    try:
        warning = asyncio.run(_check_store(settings, found))
    except StoreMisconfigured as error:
        log.critical(str(error))
        return MISCONFIGURED
    except StoreUnavailable as error:
        log.critical("Redis does not answer, or rejected the request", error=str(error))
        return UNREACHABLE
    if warning:
        log.warning(warning)
    return None


def _check_kafka(settings: Settings) -> int | list[str]:
    """Check Kafka; return an exit code, or the store keys of all partitions."""
    try:
        faust_credentials(settings.kafka.librdkafka)
        known = connect_admin(settings.kafka.client(), METADATA_S).cluster.topics
    except (ValueError, OSError) as error:
        log.critical("[kafka.librdkafka] is wrong", error=str(error))
        return MISCONFIGURED
    except KafkaException as error:
        at, why = settings.kafka.bootstrap_servers, error.args[0]
        if why.code() == KafkaError._INVALID_ARG:  # noqa: SLF001 - its public name
            log.critical("[kafka.librdkafka] is wrong", error=why.str())
            return MISCONFIGURED
        log.critical("Kafka does not answer, or rejected the connection", at=at, error=why.str())
        return UNREACHABLE
    topics = settings.topics
    try:
        require_permissions(
            settings.kafka.client(),
            topics={
                topics.events: ("Read", "Write"),
                topics.alerts: ("Write",),
                topics.dead_letters: ("Write",),
            },
            groups={topics.group: ("Read",), trainer_group(topics.prefix): ("Describe",)},
        )
    except KafkaException as error:
        log.critical("Kafka denies a permission", why=error.args[0].str(), fix=PERMISSIONS_FIX)
        return UNREACHABLE
    missing = [t for t in (topics.events, topics.alerts, topics.dead_letters) if t not in known]
    if missing:
        fix = f"driftline topics create --prefix {topics.prefix}"
        log.critical("topics are missing: declare them before the start", topics=missing, fix=fix)
        return UNREACHABLE
    return [partition_key(topics.events, p) for p in sorted(known[topics.events].partitions)]


async def _check_store(settings: Settings, keys: list[str]) -> str | None:
    store = RedisStateStore(settings.redis.url)
    try:
        return await store.check(keys)
    finally:
        await store.close()
