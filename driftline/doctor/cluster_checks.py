"""Health checks of brokers and topics.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from driftline.doctor.health_checks import HealthCheckResult, format_duration, ok, problem, warning
from stream_monitor.episodes.formatting import format_count

_RETENTION: Final = "retention.ms"


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A topic of the registry: its full name, partitions and settings."""

    name: str
    partitions: int
    config: dict[str, str] = {}


def kafka_failed(why: str, *, denied: bool) -> HealthCheckResult:
    """Return the result if Kafka denied or failed a request after it had answered others."""
    from producer.permission import PERMISSIONS_FIX  # noqa: PLC0415 - light imports

    return problem(
        "kafka",
        f"{why}; the remaining checks were skipped",
        PERMISSIONS_FIX
        if denied
        else "start the brokers that are down, or see in their logs why they do not answer",
    )


def topic_deleted(why: str) -> HealthCheckResult:
    """Return the result if a topic was deleted during the checks."""
    return problem("kafka", why, "driftline topics create")


def broker_unreachable(address: str) -> HealthCheckResult:
    """Return the result for a broker that this machine cannot reach."""
    return problem(
        "kafka",
        f"broker {address} does not answer: its partitions are neither written nor watched",
        "start it, or set its advertised.listeners to an address that this machine reaches",
    )


def topic_hidden(topic: str, why: str) -> HealthCheckResult:
    """Return the result for a topic that this client has no permission to describe."""
    from producer.permission import PERMISSIONS_FIX  # noqa: PLC0415 - light imports

    return problem(f"topic {topic}", why, PERMISSIONS_FIX)


class Copies(msgspec.Struct, frozen=True, kw_only=True):
    """The replicas of a topic's partitions.

    ``replicas`` is the smallest number of a partition.  ``lacking`` are partitions with a replica
    that is not in sync, ``leaderless`` those that no broker serves, ``absent`` the brokers of these
    replicas.
    """

    replicas: int = 1
    lacking: tuple[int, ...] = ()
    leaderless: tuple[int, ...] = ()
    absent: tuple[int, ...] = ()


def check_topic(
    wanted: TopicSpec,
    partitions: int | None,
    config: Mapping[str, str] | None,
    *,
    copies: Copies | None = None,
    brokers: int = 1,
) -> HealthCheckResult:
    """Check a topic against the registry.

    ``partitions`` is ``None`` if the topic does not exist, ``config`` if the broker does not report
    it.  More partitions than in the registry are fine: the monitor follows models that move.
    """
    check = f"topic {wanted.name}"
    if partitions is None:
        return problem(check, "missing", "driftline topics create")
    out_of_sync = None if copies is None else _check_in_sync(check, copies)
    if out_of_sync is not None:
        return out_of_sync
    wrong = {
        name: (value, config[name])
        for name, value in wanted.config.items()
        if config is not None
        and name in config
        and config[name] != value
        and not (name == _RETENTION and _keeps_longer(config[name], value))
    }
    if wrong:
        text = ", ".join(f"{name} is {is_}, not {want}" for name, (want, is_) in wrong.items())
        changes = ",".join(f"{name}={want}" for name, (want, _) in wrong.items())
        return warning(
            check, text, f"kafka-configs --alter --topic {wanted.name} --add-config {changes}"
        )
    replicas = 1 if copies is None else copies.replicas
    unsafe = _check_replication(check, wanted.name, config, replicas=replicas, brokers=brokers)
    if unsafe is not None:
        return unsafe
    if partitions < wanted.partitions:
        return warning(
            check,
            f"{partitions} partitions, fewer than the {wanted.partitions} of the registry",
            "no action is needed if this is intended; `driftline topics grow --partitions N` "
            "adds partitions and copies the references of the models that move",
        )
    return ok(check, format_count(partitions, "partition"))


def check_label_horizon(
    topic: str, config: Mapping[str, str] | None, horizon_ms: int
) -> HealthCheckResult | None:
    """Check that the event topic keeps events until their labels arrive; ``None``: it does."""
    retention = (config or {}).get(_RETENTION)
    if retention is None or _keeps_longer(retention, str(horizon_ms)):
        return None
    return warning(
        "label horizon",
        f"{topic} keeps events for {format_duration(int(retention))}, but labels may arrive "
        f"{format_duration(horizon_ms)} after them: the trainer cannot read such events",
        f"kafka-configs --alter --topic {topic} --add-config {_RETENTION}={horizon_ms}, or "
        "lower [labels] horizon_ms",
    )


def _keeps_longer(retention: str, wanted: str) -> bool:
    """Whether a retention is at least the wanted one; -1 keeps everything."""
    return int(retention) < 0 or int(retention) >= int(wanted) >= 0


def _check_in_sync(check: str, copies: Copies) -> HealthCheckResult | None:
    """Check for replicas that are missing or behind; ``None``: all are in sync."""
    if not (copies.lacking or copies.leaderless):
        return None
    named = "broker " + ", ".join(map(str, copies.absent))
    fix = f"start {named}, or see in its log why it falls behind"
    if copies.leaderless:
        which = ", ".join(map(str, copies.leaderless))
        found = f"no broker serves partition {which}: nothing is written or watched there"
        return problem(check, found, fix)
    found = f"{len(copies.lacking)} partitions have a replica that is not in sync, on {named}"
    return warning(check, found, fix)


def _check_replication(
    check: str, topic: str, config: Mapping[str, str] | None, *, replicas: int, brokers: int
) -> HealthCheckResult | None:
    """Check the number of replicas and ``min.insync.replicas``; ``None``: nothing is unsafe."""
    if replicas == 1 and brokers > 1:
        return warning(
            check,
            f"1 replica on a cluster of {brokers} brokers: records are lost with a broker",
            "add replicas with kafka-reassign-partitions; new topics get three with "
            "`driftline topics create --replication-factor 3`",
        )
    least = int((config or {}).get("min.insync.replicas", "0"))
    if replicas > 2 and least == 1:
        wrong, better = "an acknowledged record may be on one broker only", 2
    elif 1 < replicas <= least:
        wrong, better = "Kafka rejects writes while one broker is down", replicas - 1
    else:
        return None
    return warning(
        check,
        f"{replicas} replicas and min.insync.replicas={least}: {wrong}",
        f"kafka-configs --alter --topic {topic} --add-config min.insync.replicas={better}",
    )
