"""``driftline doctor``: looks at everything driftline stands on, and says what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer

from driftline.cli.alert_actions import open_episodes, read_alerts
from driftline.cli.command_error import EXIT_UNREACHABLE
from driftline.cli.connection import connect_redis, load_settings, without_password
from driftline.cli.options import Bootstrap, Config, Json, Prefix, RedisUrl
from driftline.cli.output import write_json, write_line
from driftline.cli.suggested_commands import complete_commands
from driftline.doctor import cluster_checks
from driftline.doctor import health_checks as findings
from driftline.doctor.health_checks import HealthCheckResult

if TYPE_CHECKING:
    from redis import Redis

    from driftline.topics.topic_reader import Record
    from stream_monitor.settings import Settings

MAX_SAMPLED_RECORDS: Final = 2_000
IDLE_TIMEOUT_S: Final = 2.0
REASONS: Final = 100


def doctor(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    *,
    as_json: Json = False,
) -> None:
    """Look at broker, topics, Redis, lag, dead letters and routing; each finding with its fix.

    Exit codes: 0 nothing serious, 1 there is a problem, 4 Kafka or Redis cannot be reached.
    """
    settings = load_settings(
        config, bootstrap_servers=bootstrap_servers, redis_url=redis_url, prefix=prefix
    )
    found, code = examine(settings)
    found = [msgspec.structs.replace(each, fix=complete_commands(each.fix)) for each in found]
    if as_json:
        write_json(findings.as_data(found))
    else:
        for line in findings.lines_of(found):
            write_line(line)
    if code == 0 and findings.worst(found) == "problem":
        code = 1
    raise typer.Exit(code)


def examine(settings: Settings) -> tuple[list[HealthCheckResult], int]:
    """All findings, and `EXIT_UNREACHABLE` or 0.  What depends on what is down is left out."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports

    from producer.permission import is_denied  # noqa: PLC0415

    kafka, partitions = examine_kafka(settings)
    redis, client = examine_redis(settings)
    found = [*kafka, *redis]
    if partitions is None or client is None:
        return found, EXIT_UNREACHABLE
    try:
        for part in examine_topics(settings, client, partitions):
            found += part
    except LookupError as error:  # it was deleted after it had been listed
        found.append(cluster_checks.judge_gone(str(error)))
    except KafkaException as error:
        cause = error.args[0]
        found.append(cluster_checks.judge_failure(cause.str(), denied=is_denied(cause)))
        return found, EXIT_UNREACHABLE
    return found, 0


def examine_topics(
    settings: Settings, client: Redis, partitions: Mapping[str, int]
) -> Iterator[Sequence[HealthCheckResult]]:
    """What the topics and the state say, one thing after the other.

    Raises:
        KafkaException: a broker that answered before does so no more, or denies a permission.
    """
    log = settings.topics.events
    if log in partitions:
        yield [examine_workers(settings, client, partitions[log])]
        yield examine_log(settings, client)
        yield examine_coverage(settings, client, partitions[log])
        yield examine_transactions(settings, now_ms=round(time.time() * 1000))
        newest = newest_records(settings, partitions[log])
        yield examine_placement(settings, client, partitions[log], newest)
        yield examine_clocks(newest)
    if settings.topics.alerts in partitions:
        yield findings.check_episodes(open_episodes(read_alerts(settings)))
        yield [examine_trainer(settings, now_ms=round(time.time() * 1000))]
    if settings.topics.dead_letters in partitions:
        yield [examine_dead_letters(settings)]


def examine_kafka(settings: Settings) -> tuple[list[HealthCheckResult], dict[str, int] | None]:
    """The broker and its topics."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports

    from driftline.topics import topic_registry as registry  # noqa: PLC0415

    client = settings.kafka.client()
    place = settings.kafka.bootstrap_servers
    try:
        existing = registry.existing_topics(client)
    except KafkaException as error:
        why = error.args[0].str()
        fix = (
            "start Kafka, or set --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS; passwords and "
            "certificates belong in [kafka.librdkafka]"
        )
        text = f"{place} does not answer, or rejected the connection ({why})"
        return [HealthCheckResult(check="kafka", level="problem", found=text, fix=fix)], None
    found = [
        HealthCheckResult(
            check="kafka", level="ok", found=f"{place} answers, {broker_text(client)}"
        )
    ]
    found += [cluster_checks.judge_silent_broker(each) for each in registry.silent_brokers(client)]
    wanted = registry.load_registry(settings.topics.prefix)
    names = [topic.name for topic in wanted if topic.name in existing]
    configs = registry.topic_config(client, names) if names else {}
    copies, brokers = registry.replicas_of(client)
    hidden = registry.hidden_topics(client, [t.name for t in wanted if t.name not in existing])
    found += [
        cluster_checks.judge_hidden(topic.name, hidden[topic.name])
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
    return found, existing


def broker_text(client: Mapping[str, Any]) -> str:
    """How many brokers, and their version where they tell it."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports
    from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]  # noqa: PLC0415

    from producer.kafka_client import admin_client  # noqa: PLC0415

    admin = admin_client(client)
    brokers = admin.list_topics(timeout=10).brokers
    asked = ConfigResource(ConfigResource.Type.BROKER, str(min(brokers)))
    version = ""
    try:
        settings = admin.describe_configs([asked])[asked].result(timeout=5)
        for name in ("metadata.version", "inter.broker.protocol.version"):
            if name in settings and settings[name].value:
                version = f", {name} {settings[name].value}"
                break
    except KafkaException:
        pass
    return f"{len(brokers)} broker{'s' if len(brokers) > 1 else ''}{version}"


def examine_redis(settings: Settings) -> tuple[list[HealthCheckResult], Redis | None]:
    """The store."""
    from redis.exceptions import RedisError, ResponseError  # noqa: PLC0415 - light imports

    client = connect_redis(settings)
    try:
        info: Any = client.info()
    except (RedisError, OSError) as error:
        place = without_password(settings.redis.url)
        fix = (
            "start Redis or Valkey, or set --redis-url or REDIS_URL "
            "(redis://user:password@host:6379/0; rediss:// for TLS)"
        )
        text = f"{place} does not answer, or rejected the connection ({error})"
        return [HealthCheckResult(check="redis", level="problem", found=text, fix=fix)], None
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
    return findings.check_redis(
        version, policy=policy, append_only=append_only, used=used, limit=limit
    ), client


def examine_log(settings: Settings, client: Redis) -> list[HealthCheckResult]:
    """Lag of every partition of the log."""
    from driftline.monitor_state.partition_state import read_partition  # noqa: PLC0415 - light imports
    from driftline.topics.topic_reader import topic_ends  # noqa: PLC0415

    topic = settings.topics.events
    now_ms = round(time.time() * 1000)
    ends = sorted(topic_ends(settings.kafka.client(), topic).items())
    states = {partition: read_partition(client, topic, partition) for partition, _ in ends}
    silences = [state.since_last_write_ms(now_ms) for state in states.values()]
    runs = any(each is not None and each <= findings.SILENT_MS for each in silences)
    return [
        findings.check_partition(
            findings.PartitionStatus(
                partition=partition,
                next=states[partition].next,
                end=end,
                since_last_write_ms=states[partition].since_last_write_ms(now_ms),
                unpublished=states[partition].unpublished,
                stopped=states[partition].stopped,
                worker_runs=runs,
            )
        )
        for partition, end in ends
    ]


def examine_coverage(
    settings: Settings, client: Redis, n_partitions: int
) -> list[HealthCheckResult]:
    """What share of each model's events was watched in the last hour."""
    from driftline.monitor_state.coverage_report import read_coverage  # noqa: PLC0415 - light imports

    report = read_coverage(client, settings.topics.events, range(n_partitions))
    return findings.check_coverage(report.models)


def examine_workers(settings: Settings, client: Redis, n_partitions: int) -> HealthCheckResult:
    """The workers that live, and those of them that own nothing."""
    from driftline.monitor_state.partition_state import read_workers  # noqa: PLC0415 - light imports

    now_ms = round(time.time() * 1000)
    notes = read_workers(client, settings.topics.events, now_ms)
    return findings.check_workers(notes, n_partitions, now_ms)


def examine_transactions(settings: Settings, *, now_ms: int) -> list[HealthCheckResult]:
    """Partitions of the log that a transaction holds which nobody ends."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports

    from driftline.topics.topic_reader import timestamp_at, topic_ends  # noqa: PLC0415
    from stream_monitor.runtime.open_transactions import fix_of, partition_ends  # noqa: PLC0415

    client, topic = settings.kafka.client(), settings.topics.events
    try:
        ends = partition_ends(client, topic, topic_ends(client, topic))
    except (KafkaException, TimeoutError):
        return []  # a broker that does not know the question
    found = []
    for partition, both in sorted(ends.items()):
        if not both.n_blocked:
            continue
        since_ms = timestamp_at(client, topic, partition, both.stable)
        judged = findings.check_transaction(
            partition,
            stable=both.stable,
            n_blocked=both.n_blocked,
            open_ms=0 if since_ms is None else now_ms - since_ms,
            fix=fix_of(topic, partition, both.stable),
        )
        found += [judged] if judged is not None else []
    return found


def read_trainer_status(
    settings: Settings, *, now_ms: int
) -> tuple[findings.TrainerStatus, str] | None:
    """What is seen of the trainer of this prefix, and where its pages are."""
    from driftline.topics.topic_reader import topic_ends  # noqa: PLC0415 - light imports
    from stream_monitor.trainer_heartbeat import last_heartbeat  # noqa: PLC0415

    client, topic = settings.kafka.client(), settings.topics.alerts
    ends = topic_ends(client, topic)
    seen = last_heartbeat(client, settings.topics.prefix, topic, len(ends))
    if seen is None:
        return None
    behind = findings.TrainerStatus(
        since_last_write_ms=now_ms - seen.heartbeat.time_ms,
        lag=sum(max(0, end - seen.positions.get(p, 0)) for p, end in ends.items()),
        jobs=seen.heartbeat.jobs,
    )
    return behind, seen.heartbeat.web


def examine_trainer(settings: Settings, *, now_ms: int) -> HealthCheckResult:
    """Whether a trainer receives the alerts."""
    seen = read_trainer_status(settings, now_ms=now_ms)
    return findings.check_trainer(None if seen is None else seen[0])


def newest_records(settings: Settings, n_partitions: int) -> list[Record]:
    """The newest records of each partition of the event topic, `MAX_SAMPLED_RECORDS` of them at most."""
    from driftline.topics.topic_reader import TopicReader, tail  # noqa: PLC0415 - light imports

    found: list[Record] = []
    start = tail(max(1, MAX_SAMPLED_RECORDS // n_partitions))
    with TopicReader(settings.kafka.client(), settings.topics.events, start=start) as reader:
        for record in reader.until(lambda: False, idle_timeout_s=IDLE_TIMEOUT_S):
            found.append(record)
            if len(found) >= MAX_SAMPLED_RECORDS:
                break
    return found


def examine_clocks(newest: Sequence[Record]) -> list[HealthCheckResult]:
    """Whether the clocks of producers, broker and this machine agree."""
    from driftline.doctor.clock_skew import TimestampedEvent, check_clocks  # noqa: PLC0415 - light imports
    from producer.codec import RejectedRecord, decode  # noqa: PLC0415
    from producer.events import InferenceEvent  # noqa: PLC0415

    stamped = []
    for record in newest:
        try:
            event = decode(record.value or b"", record.kind)
        except RejectedRecord:
            continue
        if isinstance(event, InferenceEvent):
            stamped.append(TimestampedEvent(record.source, event.time_ms, record.timestamp_ms))
    return check_clocks(stamped, round(time.time() * 1000))


def examine_placement(
    settings: Settings, client: Redis, n_partitions: int, newest: Sequence[Record]
) -> list[HealthCheckResult]:
    """Whether models are watched where their events belong, and the newest records lie there."""
    from driftline.cli.status import read_monitors  # noqa: PLC0415 - light imports
    from driftline.monitor_state.confusable_names import confusable_names  # noqa: PLC0415 - light imports
    from driftline.monitor_state.placement_report import (  # noqa: PLC0415
        check_placement,
        placement_effective_ms,
        placement_problems,
    )
    from stream_monitor.errors import CorruptState  # noqa: PLC0415

    try:
        monitors = read_monitors(client, settings, list(range(n_partitions)))
    except CorruptState as error:
        fix = "ask with the settings that the monitor runs with: --config, DRIFTLINE_..."
        unread = HealthCheckResult(check="placement", level="warning", found=str(error), fix=fix)
        return [unread, examine_routing(newest, n_partitions, {})]
    return [
        *findings.check_names(confusable_names(monitors)),
        check_placement(placement_problems(monitors, n_partitions)),
        examine_routing(newest, n_partitions, placement_effective_ms(monitors)),
    ]


def examine_routing(
    newest: Sequence[Record], n_partitions: int, placement_effective_ms: Mapping[int, int]
) -> HealthCheckResult:
    """Whether the newest records lie in the partition of their key.

    Records of before the last change of placement had settled, by partition, lie where they were.
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
    return findings.check_routing(len(sampled), misplaced)


def examine_dead_letters(settings: Settings) -> HealthCheckResult:
    """How many records were rejected, whose, by whom, and why."""
    from driftline.topics.dead_letter_queue import group_dead_letters, read_dead_letters  # noqa: PLC0415 - light imports

    letters, _notes = read_dead_letters(settings.kafka.client(), settings.topics.dead_letters)
    return findings.check_dead_letters(group_dead_letters(letters))
