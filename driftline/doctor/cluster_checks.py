"""What the doctor concludes of brokers and topics: pure judgement, each finding with its fix."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from driftline.doctor.health_checks import HealthCheckResult


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as the registry wants it: full name, partitions, settings."""

    name: str
    partitions: int
    config: dict[str, str] = {}


def judge_failure(why: str, *, denied: bool) -> HealthCheckResult:
    """Kafka answered at first, and then denied or failed a request: the rest was not looked at."""
    from producer.permission import PERMISSIONS_FIX  # noqa: PLC0415 - light imports

    return HealthCheckResult(
        check="kafka",
        level="problem",
        found=f"{why}; what comes after it was not looked at",
        fix=PERMISSIONS_FIX
        if denied
        else "start the brokers that are gone, or see in their logs why they do not answer",
    )


def judge_gone(why: str) -> HealthCheckResult:
    """A topic was deleted while the doctor looked: the rest was not looked at."""
    return HealthCheckResult(
        check="kafka", level="problem", found=why, fix="driftline topics create"
    )


def judge_silent_broker(address: str) -> HealthCheckResult:
    """A broker that the cluster counts among its own, and that cannot be reached from here."""
    return HealthCheckResult(
        check="kafka",
        level="problem",
        found=f"broker {address} does not answer: what it serves is neither written nor watched",
        fix="start it, or set its advertised.listeners to an address that this machine reaches",
    )


def judge_hidden(topic: str, why: str) -> HealthCheckResult:
    """A topic that this client may not see: whether it exists is unknown."""
    from producer.permission import PERMISSIONS_FIX  # noqa: PLC0415 - light imports

    return HealthCheckResult(
        check=f"topic {topic}", level="problem", found=why, fix=PERMISSIONS_FIX
    )


class Copies(msgspec.Struct, frozen=True, kw_only=True):
    """The replicas of a topic's partitions: the fewest of one, and the partitions that lack some.

    ``lacking`` are partitions with a replica that is not in sync, ``leaderless`` those that no
    broker serves, ``absent`` the brokers whose replicas these are.
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
    """Whether a topic is as the registry says.  ``None`` partitions: there is none.

    More partitions are fine: the monitor follows models that move.  ``None`` config: the broker
    does not tell.
    """
    check = f"topic {wanted.name}"
    if partitions is None:
        return HealthCheckResult(
            check=check, level="problem", found="missing", fix="driftline topics create"
        )
    unwell = None if copies is None else _judge_replicas(check, copies)
    if unwell is not None:
        return unwell
    wrong = {
        name: (value, config[name])
        for name, value in wanted.config.items()
        if config is not None and name in config and config[name] != value
    }
    if wrong:
        text = ", ".join(f"{name} is {is_}, not {want}" for name, (want, is_) in wrong.items())
        changes = ",".join(f"{name}={want}" for name, (want, _) in wrong.items())
        return HealthCheckResult(
            check=check,
            level="warning",
            found=text,
            fix=f"kafka-configs --alter --topic {wanted.name} --add-config {changes}",
        )
    replicas = 1 if copies is None else copies.replicas
    unsafe = _judge_copies(check, wanted.name, config, replicas=replicas, brokers=brokers)
    if unsafe is not None:
        return unsafe
    if partitions < wanted.partitions:
        return HealthCheckResult(
            check=check,
            level="warning",
            found=f"{partitions} partitions, the registry says {wanted.partitions}",
            fix="nothing, if this is intended; `driftline topics grow --partitions N` adds "
            "partitions and copies the references of the models that move",
        )
    return HealthCheckResult(check=check, level="ok", found=f"{partitions} partitions")


def _judge_replicas(check: str, copies: Copies) -> HealthCheckResult | None:
    """Whether brokers that hold replicas are gone or behind; ``None``: all are in sync."""
    if not (copies.lacking or copies.leaderless):
        return None
    named = "broker " + ", ".join(map(str, copies.absent))
    fix = f"start {named}, or see in its log why it does not keep up"
    if copies.leaderless:
        which = ", ".join(map(str, copies.leaderless))
        found = f"no broker serves partition {which}: nothing is written or watched there"
        return HealthCheckResult(check=check, level="problem", found=found, fix=fix)
    found = f"{len(copies.lacking)} partitions lack a replica in sync, on {named}"
    return HealthCheckResult(check=check, level="warning", found=found, fix=fix)


def _judge_copies(
    check: str, topic: str, config: Mapping[str, str] | None, *, replicas: int, brokers: int
) -> HealthCheckResult | None:
    """What is unsafe about the replicas of a topic; ``None``: nothing, as far as it is known."""
    if replicas == 1 and brokers > 1:
        return HealthCheckResult(
            check=check,
            level="warning",
            found=f"1 replica on a cluster of {brokers} brokers: whoever loses a broker "
            "loses its records",
            fix="raise it to 3 replicas with kafka-reassign-partitions; new topics get them from "
            "`driftline topics create --replication-factor 3`",
        )
    least = int((config or {}).get("min.insync.replicas", "0"))
    if replicas > 2 and least == 1:
        wrong, better = "an acknowledged record may lie on one broker alone", 2
    elif 1 < replicas <= least:
        wrong, better = "Kafka rejects writes while one broker is down", replicas - 1
    else:
        return None
    return HealthCheckResult(
        check=check,
        level="warning",
        found=f"{replicas} replicas and min.insync.replicas={least}: {wrong}",
        fix=f"kafka-configs --alter --topic {topic} --add-config min.insync.replicas={better}",
    )
