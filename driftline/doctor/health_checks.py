"""Health checks of Redis, workers, partitions, trainer, coverage, episodes and dead letters.  Pure.

Each check takes what was measured and returns a result with a level, a description and a fix.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from stream_monitor.contracts import REJECTED
from stream_monitor.worker_heartbeat import LATE_MS

if TYPE_CHECKING:
    from driftline.monitor_state.coverage_report import ModelCoverage
    from driftline.topics.dead_letter_queue import DeadLetterGroup
    from stream_monitor.contracts import DriftAlert
    from stream_monitor.worker_heartbeat import WorkerHeartbeat

Level: TypeAlias = Literal["ok", "warning", "problem"]

_REASONS: Final = 3
_LEVEL_LABELS: Final[dict[Level, str]] = {
    "ok": "ok     ",
    "warning": "WARNING",
    "problem": "PROBLEM",
}
SILENT_MS: Final = 30_000
"""A partition whose owner wrote nothing for longer is not being watched."""
MAX_BEHIND_MS: Final = 60_000
"""Alerts that are later than this are worth a finding: a worker reads, but too slowly."""


class HealthCheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check: what was found, and how to fix it (empty if nothing is wrong)."""

    check: str
    level: Level
    found: str
    fix: str = ""


def ok(check: str, found: str) -> HealthCheckResult:
    """Return the result of a check that found nothing wrong."""
    return HealthCheckResult(check=check, level="ok", found=found)


def warning(check: str, found: str, fix: str) -> HealthCheckResult:
    """Return the result of a check that found something that may go wrong."""
    return HealthCheckResult(check=check, level="warning", found=found, fix=fix)


def problem(check: str, found: str, fix: str) -> HealthCheckResult:
    """Return the result of a check that found something that is wrong."""
    return HealthCheckResult(check=check, level="problem", found=found, fix=fix)


OPEN_TRANSACTION_MS: Final = 60_000
"""A transaction that is open for longer was abandoned by its producer."""


def mlflow_failed(why: str) -> HealthCheckResult:
    """The result where the trainer is to publish to MLflow, and cannot."""
    fix = (
        "start MLflow, or correct [trainer.registry] mlflow_uri; credentials belong in "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    )
    if "pip install" in why:
        fix = "install it where the trainer runs, or remove [trainer.registry] mlflow_uri"
    return problem("mlflow", why, fix)


def check_redis(
    version: str, *, policy: str | None, append_only: bool | None, used: int, limit: int
) -> list[HealthCheckResult]:
    """Check whether Redis is configured to hold state.

    ``policy`` and ``append_only`` are ``None`` where ``CONFIG`` is forbidden; ``used`` and
    ``limit`` are bytes.
    """
    findings = [ok("redis", f"answers, version {version}")]
    if policy is None:
        findings.append(
            warning(
                "redis eviction",
                "cannot read maxmemory-policy",
                "allow CONFIG GET, or make sure that maxmemory-policy is noeviction",
            )
        )
    elif policy != "noeviction":
        findings.append(
            problem(
                "redis eviction",
                f"maxmemory-policy is {policy}: Redis may delete state",
                "run CONFIG SET maxmemory-policy noeviction, and set it in redis.conf",
            )
        )
    else:
        findings.append(ok("redis eviction", policy))
    if append_only is False:
        findings.append(
            warning(
                "redis persistence",
                "appendonly is off: after a crash the state is rebuilt from the event topic",
                "run CONFIG SET appendonly yes, and set it in redis.conf",
            )
        )
    if limit and used > 0.8 * limit:
        findings.append(
            warning("redis memory", f"{used / limit:.0%} of maxmemory is used", "raise maxmemory")
        )
    return findings


TRAINER_SILENT_MS: Final = 60_000
"""A running trainer writes every 5 s."""
MAX_CLOCK_DIFFERENCE_MS: Final = 60_000
"""If the clocks of two machines differ by more, one of them is wrong."""


class TrainerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a trainer: time since its last heartbeat, unread alerts, unfinished jobs."""

    since_last_write_ms: int
    lag: int
    jobs: int


def format_duration(ms: int) -> str:
    """A duration in one unit, rounded.

    >>> format_duration(45_000), format_duration(600_000)
    ('45 s', '10 min')
    >>> format_duration(7_200_000), format_duration(400_000_000)
    ('2 h', '5 days')
    """
    for unit_ms, name, least in (
        (86_400_000, " days", 2),
        (3_600_000, " h", 2),
        (60_000, " min", 2),
    ):
        if ms >= least * unit_ms:
            return f"{round(ms / unit_ms)}{name}"
    return f"{round(ms / 1000)} s"


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a partition of the event topic.

    ``since_last_write_ms`` is the time since its owner wrote, ``None`` if it has no owner.
    ``stopped`` is the reason why the owner no longer reads it.  ``worker_runs``: a worker wrote
    recently, in this partition or another.  ``behind_ms`` is the time since the append of the last
    processed record; ``None`` before the first.
    """

    partition: int
    next: int | None
    end: int
    since_last_write_ms: int | None
    unpublished: int
    stopped: str = ""
    worker_runs: bool = False
    behind_ms: int | None = None


def check_partition(at: PartitionStatus) -> HealthCheckResult:
    """Check whether a worker reads a partition.

    The owner of an idle partition appends a tick every few seconds.  So a silent partition has no
    running owner, whether events arrive or not.
    """
    level: Level = "problem"
    lag = max(0, at.end - (at.next or 0))
    behind = f"{lag} records behind"
    fix = "start a worker: driftline monitor"
    if at.stopped:
        found = f"stopped at {at.next or 0}, {behind}: {at.stopped}"
        fix = "correct the producer of these records, or raise the limit in [dead_letters]; restart"
    elif at.next is not None and at.next > at.end:
        level = "warning"
        found = f"the state is at {at.next}, but the broker reports {at.end} as the end"
        fix = (
            "restart the worker if the topic was deleted and created again; an embedded broker may "
            "report a wrong end"
        )
    elif at.since_last_write_ms is None and not (at.end or at.worker_runs):
        level, found = "warning", "no worker has run, and no record has arrived"
    elif at.since_last_write_ms is None:
        found = f"no worker owns it, {behind}"
        if at.worker_runs:
            level = "warning"
            fix = "check again in 15 s, in case of a rebalance; if no worker owns it then, " + fix
    elif at.since_last_write_ms < -MAX_CLOCK_DIFFERENCE_MS:
        level = "warning"
        ahead = format_duration(-at.since_last_write_ms)
        found = f"its owner's clock is {ahead} ahead of this machine's"
        fix = "set both clocks (NTP): an episode may seem to end before its start"
    elif at.since_last_write_ms > SILENT_MS:
        found = f"its owner was last seen {format_duration(at.since_last_write_ms)} ago, {behind}"
    elif lag and at.behind_ms is not None and at.behind_ms > MAX_BEHIND_MS:
        level = "warning"
        found = f"{behind}, the oldest {format_duration(at.behind_ms)} old or less"
        fix = (
            "wait if a worker recovers or reads old events; else start more workers, up to the "
            "number of partitions, then add partitions with `driftline topics grow`"
        )
    else:
        level, found, fix = "ok", f"at {at.next or 0}, {lag} behind", ""
        if at.unpublished:
            found += f", {at.unpublished} alerts or windows not published yet"
    return HealthCheckResult(check=f"partition {at.partition}", level=level, found=found, fix=fix)


def check_workers(
    heartbeats: Sequence[WorkerHeartbeat], n_partitions: int, now_ms: int
) -> HealthCheckResult:
    """Check whether each worker of the last minute still writes, and owns a partition."""
    check = "workers"
    if not heartbeats:
        return warning(check, "none is running: nothing is watched", "start one: driftline monitor")
    if late := [each for each in heartbeats if now_ms - each.time_ms > LATE_MS]:
        last_seen = ", ".join(
            f"{each.host} (pid {each.pid}) {format_duration(now_ms - each.time_ms)} ago"
            for each in late
        )
        return warning(
            check,
            f"{len(late)} of {len(heartbeats)} may hang, last seen: {last_seen}",
            "check whether these processes are stopped, frozen or cut off from Redis, or end "
            "them; another worker takes their partitions",
        )
    idle = [each for each in heartbeats if not each.partitions]
    if not idle:
        return ok(check, f"{len(heartbeats)} running")
    named = ", ".join(f"{each.host} (pid {each.pid})" for each in idle)
    return warning(
        check,
        f"{len(idle)} of {len(heartbeats)} own none of the {n_partitions} partitions: {named}",
        "keep them as standbys, stop them, or add partitions with `driftline topics grow`; a "
        "worker that has just started takes its share within 15 s",
    )


def check_transaction(
    partition: int, *, stable: int, n_blocked: int, open_ms: int, fix: str
) -> HealthCheckResult | None:
    """Check whether a transaction that is open for ``open_ms`` blocks the readers of a partition.

    ``stable`` is the offset of the transaction's first record, ``n_blocked`` the number of records
    from there on.
    """
    if not n_blocked or open_ms < OPEN_TRANSACTION_MS:
        return None
    return problem(
        f"partition {partition}",
        f"a transaction open since offset {stable}, for {open_ms // 1000} s, blocks "
        f"{n_blocked} records: they are not watched",
        fix,
    )


def check_trainer(seen: TrainerStatus | None) -> HealthCheckResult:
    """Check whether a trainer receives the alerts; ``None``: none has run with this prefix."""
    check = "trainer"
    start = "start it: driftline train --model MODEL --factory module:function"
    if seen is None:
        return ok(check, "no trainer has run: no alert leads to a retrain")
    if seen.since_last_write_ms > TRAINER_SILENT_MS:
        return problem(
            check,
            f"last seen {format_duration(seen.since_last_write_ms)} ago, {seen.lag} alerts "
            "behind: no alert leads to a retrain",
            start,
        )
    if seen.since_last_write_ms < -MAX_CLOCK_DIFFERENCE_MS:
        return warning(
            check,
            f"its clock is {format_duration(-seen.since_last_write_ms)} ahead of this machine's",
            "set both clocks (NTP): manifests and retrain events use the trainer's clock",
        )
    jobs = f", {seen.jobs} unfinished jobs" if seen.jobs else ""
    return ok(check, f"runs, {seen.lag} alerts behind{jobs}")


_SEND_REFERENCE: Final = (
    "; a version that warms up is watched from `driftline profile send FILE` on, or when it has "
    "its reference by itself"
)


def check_coverage(models: Sequence[ModelCoverage]) -> list[HealthCheckResult]:
    """Check the share of the last hour's events that was watched, for each model with events.

    It is a problem if a tenth of the events is not watched for another reason than warm-up, which
    ends by itself.
    """
    from driftline.monitor_state.coverage_report import reasons_of  # noqa: PLC0415 - light imports

    found = []
    for one in models:
        if one.share is None:
            continue
        check = f"coverage {one.model or 'of other models'}"
        missed = [row for row in one.rows if row.reason != "watched" and row.last_hour]
        if not missed:
            text = f"all of {one.events:,} events in the last hour were watched"
            found.append(ok(check, text))
            continue
        lasting = sum(
            row.last_hour for row in missed if row.unit == "event" and row.reason != "warming_up"
        )
        name = f" {shlex.quote(one.model)}" if one.model else ""
        found.append(
            HealthCheckResult(
                check=check,
                level="problem" if 10 * lasting >= one.events else "warning",
                found=f"{100 * one.share:.3g} % of {one.events:,} events in the last hour were "
                f"watched; {'; '.join(reasons_of(one)[:_REASONS])}",
                fix=f"`driftline coverage{name}` lists all reasons, `driftline alerts list` the "
                f"fixes{_SEND_REFERENCE if any(r.reason == 'warming_up' for r in missed) else ''}",
            )
        )
    return found


MAX_EPISODES: Final = 10
"""Number of open episodes with a result of their own; further ones are counted."""
_FIX_BY_KIND: Final[dict[str, str]] = {
    "quality": "correct the source of these values; if they are right, run `driftline alerts "
    "resolve {}`",
    "labels": "check that the job that writes labels runs, and `driftline forward` if you use it",
    "volume": "check that the model servers run and reach Kafka",
}
"""The fix for episodes of broken or missing data, by kind; ``{}`` is the episode id."""


def check_episodes(alerts: Iterable[DriftAlert]) -> list[HealthCheckResult]:
    """Check for open episodes of broken or missing data that are not acknowledged.

    Drift of valid data is no fault of the installation, and is not reported here.
    """
    worst = {"high": 0, "medium": 1, "low": 2}
    shown = [a for a in alerts if a.kind in _FIX_BY_KIND and a.acknowledged_by is None]
    shown.sort(key=lambda a: (worst[a.severity], a.model, a.series))
    found = [
        HealthCheckResult(
            check=f"{alert.kind} of {alert.model}",
            level="problem" if alert.severity == "high" else "warning",
            found=alert.explanation,
            fix=_fix_of(alert),
        )
        for alert in shown[:MAX_EPISODES]
    ]
    if len(shown) > MAX_EPISODES:
        found.append(
            warning(
                "open episodes",
                f"{len(shown) - MAX_EPISODES} more episodes of broken or missing data",
                "driftline alerts list",
            )
        )
    return found


def _fix_of(alert: DriftAlert) -> str:
    """The fix for an open episode, with its id or model filled in."""
    if alert.cause == REJECTED:
        name = shlex.quote(alert.model)
        return f"correct their producer: `driftline dead-letters show --model {name}`"
    return _FIX_BY_KIND[alert.kind].format(alert.episode_id[:12])


def check_names(groups: Sequence[str]) -> list[HealthCheckResult]:
    """Check for different names that look the same, whose events are then watched separately."""
    if not groups:
        return []
    return [
        warning(
            "names",
            f"different names that look the same: {'; '.join(groups)}",
            "use one of them in all producers; names are not normalised, so each is watched "
            "separately",
        )
    ]


def check_dead_letters(groups: Sequence[DeadLetterGroup]) -> HealthCheckResult:
    """Check for rejected records; ``groups`` are sorted by size, the largest first."""
    if not groups:
        return ok("dead letters", "none")
    count = sum(group.n for group in groups)
    common = "; ".join(
        f"{group.n:,} of {group.model} ({group.reason}) from "
        f"{group.source or 'producers without ce_source'}"
        for group in groups[:3]
    )
    more = f"; and {len(groups) - 3} more kinds" if len(groups) > 3 else ""
    example = groups[0].example
    were = "record was" if count == 1 else "records were"
    return warning(
        "dead letters",
        f"{count:,} {were} rejected: {common}{more}; for example {example.dead_letter_id}: "
        f"{example.detail}",
        "correct their producer; `driftline dead-letters show` shows the records, and "
        "`driftline dead-letters requeue` writes them again",
    )


def check_routing(sampled: int, misplaced: Sequence[str]) -> HealthCheckResult:
    """Check whether records are in the partition of their key; ``misplaced`` are positions."""
    if not sampled:
        return ok("routing", "no record with a key in the sample")
    if not misplaced:
        return ok("routing", f"{sampled} sampled records are in the partition of their key")
    return problem(
        "routing",
        f"{len(misplaced)} of {sampled} sampled records are in a wrong partition, "
        f"for example {misplaced[0]}",
        "write with InferenceLogger, or set librdkafka's partitioner=murmur2_random: "
        "each partition watches only the events of a model that it holds",
    )


def worst(findings: Sequence[HealthCheckResult]) -> Level:
    """The worst level among the results.

    >>> fine = HealthCheckResult(check="a", level="ok", found="")
    >>> worst([fine, HealthCheckResult(check="b", level="warning", found="")])
    'warning'
    """
    order: list[Level] = ["ok", "warning", "problem"]
    return max((finding.level for finding in findings), key=order.index, default="ok")


def lines_of(findings: Sequence[HealthCheckResult]) -> list[str]:
    """The results as text: one line each, the fix below it."""
    lines = []
    for finding in findings:
        lines.append(f"{_LEVEL_LABELS[finding.level]}  {finding.check}: {finding.found}")
        if finding.fix:
            lines.append(f"         fix: {finding.fix}")
    return lines


def as_data(findings: Sequence[HealthCheckResult]) -> dict[str, Any]:
    """The results as data for JSON."""
    return {"worst": worst(findings), "findings": list(findings)}
