"""``driftline doctor``: looks at everything driftline stands on, and says what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer

from driftline.commands import cluster_findings, findings
from driftline.commands.connection import connect_redis, load_settings, without_password
from driftline.commands.failure import UNREACHABLE
from driftline.commands.findings import Finding
from driftline.commands.given import runnable
from driftline.commands.handling import open_episodes, read_alerts
from driftline.commands.options import Bootstrap, Config, Json, Prefix, RedisUrl
from driftline.commands.output import write_json, write_line

if TYPE_CHECKING:
    from redis import Redis

    from driftline.reading import Record
    from stream_monitor.settings import Settings

SAMPLE: Final = 2_000
QUIET_S: Final = 2.0
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
    found = [msgspec.structs.replace(each, fix=runnable(each.fix)) for each in found]
    if as_json:
        write_json(findings.as_data(found))
    else:
        for line in findings.lines_of(found):
            write_line(line)
    if code == 0 and findings.worst(found) == "problem":
        code = 1
    raise typer.Exit(code)


def examine(settings: Settings) -> tuple[list[Finding], int]:
    """All findings, and `UNREACHABLE` or 0.  What depends on what is down is left out."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports

    from producer.permission import is_denied  # noqa: PLC0415

    kafka, partitions = examine_kafka(settings)
    redis, client = examine_redis(settings)
    found = [*kafka, *redis]
    if partitions is None or client is None:
        return found, UNREACHABLE
    try:
        for part in examine_topics(settings, client, partitions):
            found += part
    except LookupError as error:  # it was deleted after it had been listed
        found.append(cluster_findings.judge_gone(str(error)))
    except KafkaException as error:
        cause = error.args[0]
        found.append(cluster_findings.judge_failure(cause.str(), denied=is_denied(cause)))
        return found, UNREACHABLE
    return found, 0


def examine_topics(
    settings: Settings, client: Redis, partitions: Mapping[str, int]
) -> Iterator[Sequence[Finding]]:
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
        yield findings.judge_episodes(open_episodes(read_alerts(settings)))
        yield [examine_trainer(settings, now_ms=round(time.time() * 1000))]
    if settings.topics.dead_letters in partitions:
        yield [examine_dead_letters(settings)]


def examine_kafka(settings: Settings) -> tuple[list[Finding], dict[str, int] | None]:
    """The broker and its topics."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports

    from driftline import topic_registry as registry  # noqa: PLC0415

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
        return [Finding(check="kafka", level="problem", found=text, fix=fix)], None
    found = [Finding(check="kafka", level="ok", found=f"{place} answers, {broker_text(client)}")]
    found += [
        cluster_findings.judge_silent_broker(each) for each in registry.silent_brokers(client)
    ]
    wanted = registry.load_registry(settings.topics.prefix)
    names = [topic.name for topic in wanted if topic.name in existing]
    configs = registry.topic_config(client, names) if names else {}
    copies, brokers = registry.replicas_of(client)
    hidden = registry.hidden_topics(client, [t.name for t in wanted if t.name not in existing])
    found += [
        cluster_findings.judge_hidden(topic.name, hidden[topic.name])
        if topic.name in hidden
        else cluster_findings.judge_topic(
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
    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # noqa: PLC0415
        ConfigResource,
    )

    from producer.admin import admin_client  # noqa: PLC0415

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


def examine_redis(settings: Settings) -> tuple[list[Finding], Redis | None]:
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
        return [Finding(check="redis", level="problem", found=text, fix=fix)], None
    policy: str | None = None
    append_only: bool | None = None
    try:
        told: Any = client.config_get("maxmemory-policy", "appendonly")
        policy = told.get("maxmemory-policy", "noeviction")
        append_only = told.get("appendonly", "yes") == "yes"
    except ResponseError:
        pass
    version = str(info.get("valkey_version") or info.get("redis_version", "unknown"))
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    return findings.judge_redis(
        version, policy=policy, append_only=append_only, used=used, limit=limit
    ), client


def examine_log(settings: Settings, client: Redis) -> list[Finding]:
    """Lag of every partition of the log."""
    from driftline.partition_state import read_partition  # noqa: PLC0415 - light imports
    from driftline.reading import topic_ends  # noqa: PLC0415

    topic = settings.topics.events
    now_ms = round(time.time() * 1000)
    ends = sorted(topic_ends(settings.kafka.client(), topic).items())
    states = {partition: read_partition(client, topic, partition) for partition, _ in ends}
    silences = [state.silent_ms(now_ms) for state in states.values()]
    runs = any(each is not None and each <= findings.SILENT_MS for each in silences)
    return [
        findings.judge_partition(
            findings.Standing(
                partition=partition,
                next=states[partition].next,
                end=end,
                silent_ms=states[partition].silent_ms(now_ms),
                waiting=states[partition].waiting,
                stopped=states[partition].stopped,
                worker_runs=runs,
            )
        )
        for partition, end in ends
    ]


def examine_coverage(settings: Settings, client: Redis, n_partitions: int) -> list[Finding]:
    """What share of each model's events was watched in the last hour."""
    from driftline.coverage import read_coverage  # noqa: PLC0415 - light imports

    report = read_coverage(client, settings.topics.events, range(n_partitions))
    return findings.judge_coverage(report.models)


def examine_workers(settings: Settings, client: Redis, n_partitions: int) -> Finding:
    """The workers that live, and those of them that own nothing."""
    from driftline.partition_state import read_workers  # noqa: PLC0415 - light imports

    now_ms = round(time.time() * 1000)
    notes = read_workers(client, settings.topics.events, now_ms)
    return findings.judge_workers(notes, n_partitions, now_ms)


def examine_transactions(settings: Settings, *, now_ms: int) -> list[Finding]:
    """Partitions of the log that a transaction holds which nobody ends."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports

    from driftline.reading import timestamp_at, topic_ends  # noqa: PLC0415
    from stream_monitor.runtime.transactions import ends_of, fix_of  # noqa: PLC0415

    client, topic = settings.kafka.client(), settings.topics.events
    try:
        ends = ends_of(client, topic, topic_ends(client, topic))
    except (KafkaException, TimeoutError):
        return []  # a broker that does not know the question
    found = []
    for partition, both in sorted(ends.items()):
        if not both.n_held:
            continue
        since_ms = timestamp_at(client, topic, partition, both.stable)
        judged = findings.judge_transaction(
            partition, stable=both.stable, n_held=both.n_held,
            open_ms=0 if since_ms is None else now_ms - since_ms,
            fix=fix_of(topic, partition, both.stable),
        )  # fmt: skip
        found += [judged] if judged is not None else []
    return found


def see_trainer(settings: Settings, *, now_ms: int) -> tuple[findings.TrainerSeen, str] | None:
    """What is seen of the trainer of this prefix, and where its pages are."""
    from driftline.reading import topic_ends  # noqa: PLC0415 - light imports
    from stream_monitor.presence import last_seen  # noqa: PLC0415

    client, topic = settings.kafka.client(), settings.topics.alerts
    ends = topic_ends(client, topic)
    seen = last_seen(client, settings.topics.prefix, topic, len(ends))
    if seen is None:
        return None
    behind = findings.TrainerSeen(
        silent_ms=now_ms - seen.presence.time_ms,
        lag=sum(max(0, end - seen.positions.get(p, 0)) for p, end in ends.items()),
        jobs=seen.presence.jobs,
    )
    return behind, seen.presence.web


def examine_trainer(settings: Settings, *, now_ms: int) -> Finding:
    """Whether a trainer receives the alerts."""
    seen = see_trainer(settings, now_ms=now_ms)
    return findings.judge_trainer(None if seen is None else seen[0])


def newest_records(settings: Settings, n_partitions: int) -> list[Record]:
    """The newest records of each partition of the event topic, `SAMPLE` of them at most."""
    from driftline.reading import TopicReader, tail  # noqa: PLC0415 - light imports

    found: list[Record] = []
    start = tail(max(1, SAMPLE // n_partitions))
    with TopicReader(settings.kafka.client(), settings.topics.events, start=start) as reader:
        for record in reader.until(lambda: False, quiet_s=QUIET_S):
            found.append(record)
            if len(found) >= SAMPLE:
                break
    return found


def examine_clocks(newest: Sequence[Record]) -> list[Finding]:
    """Whether the clocks of producers, broker and this machine agree."""
    from driftline.commands.clocks import Stamped, judge_clocks  # noqa: PLC0415 - light imports
    from producer.codec import RefusedRecord, decode  # noqa: PLC0415
    from producer.events import InferenceEvent  # noqa: PLC0415

    stamped = []
    for record in newest:
        try:
            event = decode(record.value or b"", record.kind)
        except RefusedRecord:
            continue
        if isinstance(event, InferenceEvent):
            stamped.append(Stamped(record.source, event.time_ms, record.timestamp_ms))
    return judge_clocks(stamped, round(time.time() * 1000))


def examine_placement(
    settings: Settings, client: Redis, n_partitions: int, newest: Sequence[Record]
) -> list[Finding]:
    """Whether models are watched where their events belong, and the newest records lie there."""
    from driftline.commands.status import read_monitors  # noqa: PLC0415 - light imports
    from driftline.lookalikes import twins_of  # noqa: PLC0415 - light imports
    from driftline.placement_report import finding_of, settled_ms, splits_of  # noqa: PLC0415
    from stream_monitor.errors import CorruptState  # noqa: PLC0415

    try:
        monitors = read_monitors(client, settings, list(range(n_partitions)))
    except CorruptState as error:
        fix = "ask with the settings that the monitor runs with: --config, DRIFTLINE_..."
        unread = Finding(check="placement", level="warning", found=str(error), fix=fix)
        return [unread, examine_routing(newest, n_partitions, {})]
    return [
        *findings.judge_names(twins_of(monitors)),
        finding_of(splits_of(monitors, n_partitions)),
        examine_routing(newest, n_partitions, settled_ms(monitors)),
    ]


def examine_routing(
    newest: Sequence[Record], n_partitions: int, settled_ms: Mapping[int, int]
) -> Finding:
    """Whether the newest records lie in the partition of their key.

    Records of before the last change of placement had settled, by partition, lie where they were.
    """
    from producer.routing import murmur2  # noqa: PLC0415 - light imports

    sampled = [
        record
        for record in newest
        if record.key is not None  # a tick has none
        and record.timestamp_ms >= settled_ms.get(record.partition, 0)
    ]
    misplaced = [
        f"{record.partition}:{record.offset}"
        for record in sampled
        if (murmur2(record.key or b"") & 0x7FFFFFFF) % n_partitions != record.partition
    ]
    return findings.judge_routing(len(sampled), misplaced)


def examine_dead_letters(settings: Settings) -> Finding:
    """How many records were rejected, whose, by whom, and why."""
    from driftline.rejected_records import grouped, read_letters  # noqa: PLC0415 - light imports

    letters, _notes = read_letters(settings.kafka.client(), settings.topics.dead_letters)
    return findings.judge_dead_letters(grouped(letters))
