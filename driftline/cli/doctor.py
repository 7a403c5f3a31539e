"""``driftline doctor``: check Kafka, Redis, the workers and the data, and suggest fixes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer

from driftline.cli.command_error import EXIT_UNREACHABLE
from driftline.cli.connection import connect_redis, without_password
from driftline.cli.option_groups import option_groups, server_settings
from driftline.cli.options import Json
from driftline.cli.output import write_json, write_line
from driftline.cli.suggested_commands import complete_commands
from driftline.doctor import cluster_checks, health_checks
from driftline.doctor.health_checks import HealthCheckResult, ok, problem, warning

if TYPE_CHECKING:
    from redis import Redis

    from driftline.doctor.notifier_check import NotifierStatus
    from driftline.topics.topic_reader import Record
    from stream_monitor.settings import Settings

MAX_SAMPLED_RECORDS: Final = 2_000
IDLE_TIMEOUT_S: Final = 2.0


@option_groups(settings=server_settings)
def doctor(settings: Settings, *, as_json: Json = False) -> None:
    """Check Kafka, topics, Redis, MLflow, workers, trainer, notifier, coverage, dead letters.

    Each warning or problem is printed with a fix.

    Exit codes: 0 no problem, 1 a problem was found, 4 Kafka or Redis unreachable.
    """
    found, code = examine(settings)
    found = [msgspec.structs.replace(each, fix=complete_commands(each.fix)) for each in found]
    if as_json:
        write_json(health_checks.as_data(found))
    else:
        for line in health_checks.lines_of(found):
            write_line(line)
    if code == 0 and health_checks.worst(found) == "problem":
        code = 1
    raise typer.Exit(code)


def examine(settings: Settings) -> tuple[list[HealthCheckResult], int]:
    """The results of all checks, and `EXIT_UNREACHABLE` or 0.

    Checks that need a server that is down are left out.
    """
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports

    from driftline.topics.topic_reader import MissingTopicError  # noqa: PLC0415
    from producer.permission import is_denied  # noqa: PLC0415

    kafka, partitions = examine_kafka(settings)
    redis, client = examine_redis(settings)
    found = [*kafka, *redis, *examine_mlflow(settings)]
    if partitions is None or client is None:
        return found, EXIT_UNREACHABLE
    try:
        for part in examine_topics(settings, client, partitions):
            found += part
    except MissingTopicError as error:  # it was deleted after it had been listed
        found.append(cluster_checks.topic_deleted(str(error)))
    except KafkaException as error:
        cause = error.args[0]
        found.append(cluster_checks.kafka_failed(cause.str(), denied=is_denied(cause)))
        return found, EXIT_UNREACHABLE
    return found, 0


def examine_topics(
    settings: Settings, client: Redis, partitions: Mapping[str, int]
) -> Iterator[Sequence[HealthCheckResult]]:
    """Check the topics and the monitor's state, one group of results after the other.

    Raises:
        KafkaException: a broker no longer answers, or denies a permission.
        MissingTopicError: a topic was deleted meanwhile.
    """
    from driftline.cli.alerts import read_open_alerts  # noqa: PLC0415 - light imports

    events = settings.topics.events
    if events in partitions:
        yield [examine_workers(settings, client, partitions[events])]
        yield examine_partitions(settings, client)
        yield examine_coverage(settings, client, partitions[events])
        yield examine_transactions(settings, now_ms=round(time.time() * 1000))
        newest = newest_records(settings, partitions[events])
        yield examine_placement(settings, client, partitions[events], newest)
        yield examine_clocks(newest)
    if settings.topics.alerts in partitions:
        yield health_checks.check_episodes(read_open_alerts(settings))
        yield [examine_trainer(settings, now_ms=round(time.time() * 1000))]
        yield examine_notifier(settings, now_ms=round(time.time() * 1000))
    if settings.topics.names().retrain in partitions:
        yield examine_retrains(settings, now_ms=round(time.time() * 1000))
    if settings.topics.dead_letters in partitions:
        yield [examine_dead_letters(settings)]


def examine_kafka(settings: Settings) -> tuple[list[HealthCheckResult], dict[str, int] | None]:
    """Check the brokers and their topics; the partitions of each topic, ``None`` if unreachable."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports

    from driftline.topics import topic_registry as registry  # noqa: PLC0415

    client = settings.kafka.client()
    servers = settings.kafka.bootstrap_servers
    try:
        existing = registry.existing_topics(client)
    except KafkaException as error:
        why = error.args[0].str()
        fix = (
            "start Kafka, or set --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS; passwords and "
            "certificates belong in [kafka.librdkafka]"
        )
        text = f"{servers} does not answer, or rejected the connection ({why})"
        return [problem("kafka", text, fix)], None
    found = [ok("kafka", f"{servers} answers, {broker_text(client)}")]
    found += [cluster_checks.broker_unreachable(each) for each in registry.silent_brokers(client)]
    wanted = registry.load_registry(settings.topics.prefix)
    names = [topic.name for topic in wanted if topic.name in existing]
    configs = registry.topic_config(client, names) if names else {}
    copies, brokers = registry.replicas_of(client)
    hidden = registry.hidden_topics(client, [t.name for t in wanted if t.name not in existing])
    found += [
        cluster_checks.topic_hidden(topic.name, hidden[topic.name])
        if topic.name in hidden
        else cluster_checks.check_topic(
            topic,
            existing.get(topic.name),
            configs.get(topic.name),
            copies=copies.get(topic.name),
            brokers=brokers,
        )
        for topic in wanted
    ]
    events = settings.topics.events
    horizon_ms = settings.monitor_spec().labels.horizon_ms
    horizon = cluster_checks.check_label_horizon(events, configs.get(events), horizon_ms)
    return [*found, *([horizon] if horizon is not None else [])], existing


def broker_text(client: Mapping[str, Any]) -> str:
    """The number of brokers, and their version if they report it."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports
    from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]  # noqa: PLC0415

    from producer.kafka_client import admin_client  # noqa: PLC0415

    admin = admin_client(client)
    brokers = admin.list_topics(timeout=10).brokers
    asked = ConfigResource(ConfigResource.Type.BROKER, str(min(brokers)))
    version = ""
    try:
        settings = admin.describe_configs([asked], request_timeout=5)[asked].result(timeout=10)
        for name in ("metadata.version", "inter.broker.protocol.version"):
            if name in settings and settings[name].value:
                version = f", {name} {settings[name].value}"
                break
    except (KafkaException, TimeoutError):
        pass
    return f"{len(brokers)} broker{'s' if len(brokers) > 1 else ''}{version}"


def examine_redis(settings: Settings) -> tuple[list[HealthCheckResult], Redis | None]:
    """Check Redis; the client to read it with, ``None`` if it is unreachable."""
    from redis.exceptions import RedisError, ResponseError  # noqa: PLC0415 - light imports

    client = connect_redis(settings)
    try:
        info: Any = client.info()
    except (RedisError, OSError) as error:
        url = without_password(settings.redis.url)
        fix = (
            "start Redis or Valkey, or set --redis-url or REDIS_URL "
            "(redis://user:password@host:6379/0; rediss:// for TLS)"
        )
        text = f"{url} does not answer, or rejected the connection ({error})"
        return [problem("redis", text, fix)], None
    policy: str | None = None
    append_only: bool | None = None
    try:
        redis_config: Any = client.config_get("maxmemory-policy", "appendonly")
        policy = redis_config.get("maxmemory-policy", "noeviction")
        append_only = redis_config.get("appendonly", "yes") == "yes"
    except ResponseError:
        pass
    version = str(info.get("valkey_version") or info.get("redis_version", "unknown"))
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    return health_checks.check_redis(
        version, policy=policy, append_only=append_only, used=used, limit=limit
    ), client


def examine_mlflow(settings: Settings) -> list[HealthCheckResult]:
    """Check whether MLflow answers, if the trainer publishes to it."""
    from trainer.settings import RegistrySettings  # noqa: PLC0415 - light imports

    uri = RegistrySettings.model_validate(settings.trainer.get("registry") or {}).mlflow_uri
    if uri is None:
        return []
    from trainer.registry.errors import MlflowFailed  # noqa: PLC0415 - an extra

    try:
        from trainer.registry.mlflow_registry import MlflowRegistry  # noqa: PLC0415

        registry = MlflowRegistry(uri)
        registry.ping()
    except (MlflowFailed, ModuleNotFoundError) as error:
        return [health_checks.mlflow_failed(str(error))]
    found = f"{registry.location} answers"
    return [ok("mlflow", found)]


def examine_partitions(settings: Settings, client: Redis) -> list[HealthCheckResult]:
    """Check the lag of every partition of the event topic."""
    from driftline.monitor_state.partition_state import read_partition  # noqa: PLC0415 - light imports
    from driftline.topics.topic_reader import topic_ends  # noqa: PLC0415

    topic = settings.topics.events
    now_ms = round(time.time() * 1000)
    ends = sorted(topic_ends(settings.kafka.client(), topic).items())
    states = {partition: read_partition(client, topic, partition) for partition, _ in ends}
    silences = [state.since_last_write_ms(now_ms) for state in states.values()]
    runs = any(each is not None and each <= health_checks.SILENT_MS for each in silences)
    return [
        health_checks.check_partition(
            health_checks.PartitionStatus(
                partition=partition,
                next=states[partition].next,
                end=end,
                since_last_write_ms=states[partition].since_last_write_ms(now_ms),
                unpublished=states[partition].unpublished,
                stopped=states[partition].stopped,
                worker_runs=runs,
                behind_ms=states[partition].behind_ms(now_ms),
            )
        )
        for partition, end in ends
    ]


def examine_coverage(
    settings: Settings, client: Redis, n_partitions: int
) -> list[HealthCheckResult]:
    """Check the share of each model's events that was watched in the last hour."""
    from driftline.monitor_state.coverage_report import read_coverage  # noqa: PLC0415 - light imports

    report = read_coverage(client, settings.topics.events, range(n_partitions))
    return health_checks.check_coverage(report.models)


def examine_workers(settings: Settings, client: Redis, n_partitions: int) -> HealthCheckResult:
    """Check the running workers, and whether each owns a partition."""
    from driftline.monitor_state.partition_state import read_workers  # noqa: PLC0415 - light imports

    now_ms = round(time.time() * 1000)
    heartbeats = read_workers(client, settings.topics.events, now_ms)
    return health_checks.check_workers(heartbeats, n_partitions, now_ms)


def examine_transactions(settings: Settings, *, now_ms: int) -> list[HealthCheckResult]:
    """Check for partitions whose records are blocked by a transaction that was not ended."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports

    from driftline.topics.topic_reader import timestamp_at, topic_ends  # noqa: PLC0415
    from stream_monitor.runtime.open_transactions import fix_of, partition_ends  # noqa: PLC0415

    client, topic = settings.kafka.client(), settings.topics.events
    try:
        ends = partition_ends(client, topic, topic_ends(client, topic))
    except (KafkaException, TimeoutError):
        return []  # this broker does not support the request
    found = []
    for partition, both in sorted(ends.items()):
        if not both.n_blocked:
            continue
        since_ms = timestamp_at(client, topic, partition, both.stable)
        result = health_checks.check_transaction(
            partition,
            stable=both.stable,
            n_blocked=both.n_blocked,
            open_ms=0 if since_ms is None else now_ms - since_ms,
            fix=fix_of(topic, partition, both.stable),
        )
        found += [result] if result is not None else []
    return found


def read_trainer_status(
    settings: Settings, *, now_ms: int
) -> tuple[health_checks.TrainerStatus, str] | None:
    """The state of the trainer of this prefix, and the address of its pages.

    ``None``: no trainer has run.
    """
    from driftline.topics.topic_reader import topic_ends  # noqa: PLC0415 - light imports
    from stream_monitor.trainer_heartbeat import last_heartbeat  # noqa: PLC0415

    client, topic = settings.kafka.client(), settings.topics.alerts
    ends = topic_ends(client, topic)
    seen = last_heartbeat(client, settings.topics.prefix, topic, len(ends))
    if seen is None:
        return None
    status = health_checks.TrainerStatus(
        since_last_write_ms=now_ms - seen.heartbeat.time_ms,
        lag=sum(max(0, end - seen.positions.get(p, 0)) for p, end in ends.items()),
        jobs=seen.heartbeat.jobs,
    )
    return status, seen.heartbeat.web


def examine_trainer(settings: Settings, *, now_ms: int) -> HealthCheckResult:
    """Check whether a trainer receives the alerts."""
    seen = read_trainer_status(settings, now_ms=now_ms)
    return health_checks.check_trainer(None if seen is None else seen[0])


def read_notifier_status(settings: Settings, *, now_ms: int) -> NotifierStatus | None:
    """The state of the notifier of this prefix; ``None``: none has run.

    Raises:
        KafkaException: no broker answers, or one denies access.
    """
    from driftline.doctor.notifier_check import NotifierStatus  # noqa: PLC0415 - light imports
    from driftline.notify.heartbeat import last_notifier_heartbeat  # noqa: PLC0415
    from driftline.topics.topic_reader import topic_ends  # noqa: PLC0415

    client, topic = settings.kafka.client(), settings.topics.alerts
    ends = topic_ends(client, topic)
    seen = last_notifier_heartbeat(client, settings.topics.prefix, topic, len(ends))
    if seen is None:
        return None
    beat = seen.heartbeat
    return NotifierStatus(
        since_last_write_ms=now_ms - beat.time_ms,
        lag=sum(max(0, end - seen.positions.get(p, 0)) for p, end in ends.items()),
        n_targets=beat.n_targets,
        since_last_message_ms=None if beat.succeeded_ms is None else now_ms - beat.succeeded_ms,
        n_failing=beat.n_failing,
        failing=beat.failing,
        web=beat.web,
    )


def examine_notifier(settings: Settings, *, now_ms: int) -> list[HealthCheckResult]:
    """Check whether a notifier receives the alerts, and whether its targets accept messages."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports

    from driftline.doctor.notifier_check import check_notifier, notifier_denied  # noqa: PLC0415
    from producer.permission import is_denied  # noqa: PLC0415

    try:
        seen = read_notifier_status(settings, now_ms=now_ms)
    except KafkaException as error:
        if is_denied(error.args[0]):
            return [notifier_denied(error.args[0].str())]
        raise
    configured = sorted(settings.notify.get("targets") or {})
    return check_notifier(seen, configured=configured, now_ms=now_ms)


def examine_retrains(settings: Settings, *, now_ms: int) -> list[HealthCheckResult]:
    """Check whether the latest fit of each model failed."""
    from driftline.doctor.model_checks import check_retrains  # noqa: PLC0415 - light imports
    from driftline.topics.topic_reader import TopicDecoder, TopicReader, tail  # noqa: PLC0415
    from trainer.contracts import RetrainEvent  # noqa: PLC0415

    topic = settings.topics.names().retrain
    with TopicReader(settings.kafka.client(), topic, start=tail(MAX_SAMPLED_RECORDS)) as reader:
        is_empty = not any(reader.ends().values())
        read = reader.read_until(lambda: is_empty, idle_timeout_s=IDLE_TIMEOUT_S)
        events = list(TopicDecoder(topic, RetrainEvent).values(read))
    return check_retrains(events, now_ms)


def newest_records(settings: Settings, n_partitions: int) -> list[Record]:
    """The newest records of each partition of the event topic, at most `MAX_SAMPLED_RECORDS`."""
    from driftline.topics.topic_reader import TopicReader, tail  # noqa: PLC0415 - light imports

    found: list[Record] = []
    start = tail(max(1, MAX_SAMPLED_RECORDS // n_partitions))
    with TopicReader(settings.kafka.client(), settings.topics.events, start=start) as reader:
        for record in reader.read_until(lambda: False, idle_timeout_s=IDLE_TIMEOUT_S):
            found.append(record)
            if len(found) >= MAX_SAMPLED_RECORDS:
                break
    return found


def examine_clocks(newest: Sequence[Record]) -> list[HealthCheckResult]:
    """Check whether the clocks of producers, brokers and this machine agree."""
    from driftline.doctor.clock_skew import TimestampedEvent, check_clocks  # noqa: PLC0415 - light imports
    from producer.codec import RejectedRecord  # noqa: PLC0415
    from producer.events import InferenceEvent  # noqa: PLC0415
    from stream_monitor.ingest.event_columns import events_in  # noqa: PLC0415

    stamped = []
    for record in newest:
        try:
            events = events_in(record.value or b"", record.kind)
        except RejectedRecord:
            continue
        stamped += [
            TimestampedEvent(record.source, event.time_ms, record.timestamp_ms)
            for event in events
            if isinstance(event, InferenceEvent)
        ]
    return check_clocks(stamped, round(time.time() * 1000))


def examine_placement(
    settings: Settings, client: Redis, n_partitions: int, newest: Sequence[Record]
) -> list[HealthCheckResult]:
    """Check names, versions, labels, the partitions of models, and those of the newest records."""
    from driftline.doctor.model_checks import (  # noqa: PLC0415
        check_label_joins,
        check_served_versions,
        newest_labels,
    )
    from driftline.monitor_state.confusable_names import confusable_names  # noqa: PLC0415
    from driftline.monitor_state.partition_state import read_monitors  # noqa: PLC0415 - light imports
    from driftline.monitor_state.placement_report import (  # noqa: PLC0415
        check_placement,
        placement_effective_ms,
        placement_problems,
    )
    from stream_monitor.state_parts import CorruptState  # noqa: PLC0415

    try:
        monitors = read_monitors(client, settings, list(range(n_partitions)))
    except CorruptState as error:
        fix = "use the settings of the monitor: --config, or its DRIFTLINE_... variables"
        unread = warning("placement", str(error), fix)
        return [unread, examine_routing(newest, n_partitions, {})]
    return [
        *health_checks.check_names(confusable_names(monitors)),
        *check_served_versions(monitors),
        *check_label_joins(monitors, newest_labels(newest)),
        check_placement(placement_problems(monitors, n_partitions)),
        examine_routing(newest, n_partitions, placement_effective_ms(monitors)),
    ]


def examine_routing(
    newest: Sequence[Record], n_partitions: int, placement_effective_ms: Mapping[int, int]
) -> HealthCheckResult:
    """Check whether the newest records lie in the partition of their key.

    ``placement_effective_ms`` is the time, by partition, from which records are in their new
    partition; older records are ignored.
    """
    from producer.routing import murmur2  # noqa: PLC0415 - light imports

    sampled = [
        record
        for record in newest
        if record.key is not None  # a tick has none
        and record.timestamp_ms >= placement_effective_ms.get(record.partition, 0)
    ]
    misplaced = [
        f"{record.partition}:{record.offset}"
        for record in sampled
        if (murmur2(record.key or b"") & 0x7FFFFFFF) % n_partitions != record.partition
    ]
    return health_checks.check_routing(len(sampled), misplaced)


def examine_dead_letters(settings: Settings) -> HealthCheckResult:
    """Check the dead letters, by model, reason and producer."""
    from driftline.topics.dead_letter_queue import group_dead_letters, read_dead_letters  # noqa: PLC0415 - light imports

    dead_letters, _ = read_dead_letters(settings.kafka.client(), settings.topics.dead_letters)
    return health_checks.check_dead_letters(group_dead_letters(dead_letters))
