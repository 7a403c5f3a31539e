"""What the doctor concludes from what it measured: pure judgement, each finding with its fix."""

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
"""A partition with lag whose owner wrote nothing for so long is not being watched."""


class HealthCheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.  ``fix`` is empty where all is well."""

    check: str
    level: Level
    found: str
    fix: str = ""


OPEN_TRANSACTION_MS: Final = 60_000
"""A transaction that is open for so long was left by its producer."""


def check_redis(
    version: str, *, policy: str | None, append_only: bool | None, used: int, limit: int
) -> list[HealthCheckResult]:
    """Whether Redis is fit to hold state.  ``None``: ``CONFIG`` is forbidden there."""
    findings = [HealthCheckResult(check="redis", level="ok", found=f"answers, version {version}")]
    if policy is None:
        findings.append(
            HealthCheckResult(
                check="redis eviction",
                level="warning",
                found="cannot read maxmemory-policy",
                fix="allow CONFIG GET, or see to it that it is noeviction",
            )
        )
    elif policy != "noeviction":
        findings.append(
            HealthCheckResult(
                check="redis eviction",
                level="problem",
                found=f"maxmemory-policy is {policy}: Redis may delete state",
                fix="CONFIG SET maxmemory-policy noeviction, and in redis.conf",
            )
        )
    else:
        findings.append(HealthCheckResult(check="redis eviction", level="ok", found=policy))
    if append_only is False:
        findings.append(
            HealthCheckResult(
                check="redis persistence",
                level="warning",
                found="appendonly is off: after a crash state is rebuilt from the log",
                fix="CONFIG SET appendonly yes, and in redis.conf",
            )
        )
    if limit and used > 0.8 * limit:
        findings.append(
            HealthCheckResult(
                check="redis memory",
                level="warning",
                found=f"{used / limit:.0%} of maxmemory is used",
                fix="raise maxmemory",
            )
        )
    return findings


TRAINER_SILENT_MS: Final = 60_000
"""A trainer writes every 5 s that it lives."""
MAX_CLOCK_DIFFERENCE_MS: Final = 60_000
"""Clocks of two machines that differ by more are wrong."""


class TrainerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen of a trainer: how long ago it wrote, alerts not received, unfinished jobs."""

    since_last_write_ms: int
    lag: int
    jobs: int


def format_duration(ms: int) -> str:
    """A span of time as people say it.

    >>> format_duration(45_000), format_duration(600_000), format_duration(7_200_000), format_duration(400_000_000)
    ('45 s', '10 min', '2 h', '5 days')
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
    """Where a partition of the event topic stands.

    ``since_last_write_ms``: since the owner wrote last, by this machine's clock; ``None`` where no
    worker has
    ever taken it or the last one gave it up.  ``stopped`` is why the owner reads it no further.
    ``worker_runs``: one was seen lately, in this partition or another.
    """

    partition: int
    next: int | None
    end: int
    since_last_write_ms: int | None
    unpublished: int
    stopped: str = ""
    worker_runs: bool = False


def check_partition(standing: PartitionStatus) -> HealthCheckResult:
    """Whether a partition is being watched.

    The owner of an idle partition appends a tick every few seconds, so one that is silent is
    watched by nobody, whether events come or not.
    """
    at = standing
    level: Level = "problem"
    lag = max(0, at.end - (at.next or 0))
    behind = f"{lag} records behind"
    fix = "start a worker: driftline monitor"
    if at.stopped:
        found = f"stopped at {at.next or 0}, {behind}: {at.stopped}"
        fix = "correct what writes these records, or raise the limit in [dead_letters], and restart"
    elif at.next is not None and at.next > at.end:
        level = "warning"
        found = f"the state is at {at.next}, the broker says the log ends at {at.end}"
        fix = (
            "if the topic was made anew, restart the worker; an embedded broker may just give a "
            "wrong end"
        )
    elif at.since_last_write_ms is None and not (at.end or at.worker_runs):
        level, found = "warning", "no worker has ever run, and no record has come"
    elif at.since_last_write_ms is None:
        found = f"no worker owns it, {behind}"
        if at.worker_runs:
            level = "warning"
            fix = "look again in 15 s, a rebalance may be under way; if it stays so, " + fix
    elif at.since_last_write_ms < -MAX_CLOCK_DIFFERENCE_MS:
        level = "warning"
        found = f"its owner's clock is {format_duration(-at.since_last_write_ms)} ahead of this machine's"
        fix = "set both clocks (NTP): a recovery may be stamped before its start"
    elif at.since_last_write_ms > SILENT_MS:
        found = f"its owner was last seen {format_duration(at.since_last_write_ms)} ago, {behind}"
    else:
        level, found, fix = "ok", f"at {at.next or 0}, {lag} behind", ""
        if at.unpublished:
            found += f", {at.unpublished} alerts or windows about to be published"
    return HealthCheckResult(check=f"partition {at.partition}", level=level, found=found, fix=fix)


def check_workers(
    notes: Sequence[WorkerHeartbeat], n_partitions: int, now_ms: int
) -> HealthCheckResult:
    """Whether each worker of the last minute still writes, and has something to do."""
    check = "workers"
    if not notes:
        return HealthCheckResult(
            check=check,
            level="warning",
            found="none is running: nothing is watched",
            fix="start one: driftline monitor",
        )
    if late := [note for note in notes if now_ms - note.time_ms > LATE_MS]:
        heard = ", ".join(
            f"{note.host} (pid {note.pid}) {format_duration(now_ms - note.time_ms)} ago"
            for note in late
        )
        return HealthCheckResult(
            check=check,
            level="warning",
            found=f"{len(late)} of {len(notes)} may hang, last heard: {heard}",
            fix="look at these processes (stopped, frozen, cut off from Redis?), or end them; "
            "another worker takes their partitions",
        )
    idle = [note for note in notes if not note.partitions]
    if not idle:
        return HealthCheckResult(check=check, level="ok", found=f"{len(notes)} running")
    named = ", ".join(f"{note.host} (pid {note.pid})" for note in idle)
    return HealthCheckResult(
        check=check,
        level="warning",
        found=f"{len(idle)} of {len(notes)} own no partition of {n_partitions}: {named}",
        fix="keep them as standbys, stop them, or `driftline topics grow`; one that was just "
        "started takes its share within 15 s",
    )


def check_transaction(
    partition: int, *, stable: int, n_blocked: int, open_ms: int, fix: str
) -> HealthCheckResult | None:
    """Whether a transaction that is open for ``open_ms`` keeps a partition from its readers."""
    if not n_blocked or open_ms < OPEN_TRANSACTION_MS:
        return None
    return HealthCheckResult(
        check=f"partition {partition}",
        level="problem",
        found=f"{n_blocked} records lie behind a transaction that is open since offset {stable}, for "
        f"{open_ms // 1000} s: nothing behind it is watched",
        fix=fix,
    )


def check_trainer(seen: TrainerStatus | None) -> HealthCheckResult:
    """Whether a trainer receives the alerts.  ``None``: none has ever run with this prefix."""
    check = "trainer"
    start = "start it: driftline train --model MODEL --factory module:function"
    if seen is None:
        return HealthCheckResult(
            check=check, level="ok", found="none has ever run: no alert leads to a retrain", fix=""
        )
    if seen.since_last_write_ms > TRAINER_SILENT_MS:
        return HealthCheckResult(
            check=check,
            level="problem",
            found=f"last seen {format_duration(seen.since_last_write_ms)} ago, {seen.lag} alerts behind: no alert "
            "leads to a retrain",
            fix=start,
        )
    if seen.since_last_write_ms < -MAX_CLOCK_DIFFERENCE_MS:
        return HealthCheckResult(
            check=check,
            level="warning",
            found=f"its clock is {format_duration(-seen.since_last_write_ms)} ahead of this machine's",
            fix="set both clocks (NTP): times in manifests and events are those of the trainer",
        )
    jobs = f", {seen.jobs} unfinished jobs" if seen.jobs else ""
    return HealthCheckResult(check=check, level="ok", found=f"runs, {seen.lag} alerts behind{jobs}")


def check_coverage(models: Sequence[ModelCoverage]) -> list[HealthCheckResult]:
    """Whether the last hour's events were watched; a model without events then is left out.

    What warms up passes by itself; what else keeps a tenth of the traffic from being watched is a
    problem.
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
            found.append(HealthCheckResult(check=check, level="ok", found=text))
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
                fix=f"`driftline coverage{name}` has all reasons, `driftline alerts list` fixes",
            )
        )
    return found


MAX_EPISODES: Final = 10
"""Open episodes that are findings of their own; the others are counted."""
_FIX_BY_KIND: Final[dict[str, str]] = {
    "quality": "correct what sends these values; if they are right: `driftline alerts resolve {}`",
    "labels": "check that the job that writes labels runs, and `driftline forward` if you use it",
    "volume": "check that the model servers run and reach Kafka",
}
"""What is done about episodes of data that break or stay away, by kind."""


def check_episodes(alerts: Iterable[DriftAlert]) -> list[HealthCheckResult]:
    """Open episodes of data that break, or stay away, and that nobody has acknowledged.

    Drift of a world that changed is no fault of the installation, and not among them.
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
            HealthCheckResult(
                check="open episodes",
                level="warning",
                found=f"{len(shown) - MAX_EPISODES} more episodes of broken or missing data",
                fix="driftline alerts list",
            )
        )
    return found


def _fix_of(alert: DriftAlert) -> str:
    """What is done about an open episode: with the id, or the model, that the command takes."""
    if alert.cause == REJECTED:
        name = shlex.quote(alert.model)
        return f"correct what writes them: `driftline dead-letters show --model {name}`"
    return _FIX_BY_KIND[alert.kind].format(alert.episode_id[:12])


def check_names(groups: Sequence[str]) -> list[HealthCheckResult]:
    """Names that look alike: one thing that is watched as two, each on a part of its events."""
    if not groups:
        return []
    return [
        HealthCheckResult(
            check="names",
            level="warning",
            found=f"names that look alike and are not the same: {'; '.join(groups)}",
            fix="send one of them; names are never normalised, so each is watched by itself",
        )
    ]


def check_dead_letters(groups: Sequence[DeadLetterGroup]) -> HealthCheckResult:
    """What was rejected, by model, reason and producer, the most frequent first."""
    if not groups:
        return HealthCheckResult(check="dead letters", level="ok", found="none")
    count = sum(group.n for group in groups)
    common = "; ".join(
        f"{group.n:,} of {group.model} ({group.reason}) from "
        f"{group.source or 'producers without ce_source'}"
        for group in groups[:3]
    )
    more = f"; and {len(groups) - 3} more kinds" if len(groups) > 3 else ""
    example = groups[0].example
    were = "record was" if count == 1 else "records were"
    return HealthCheckResult(
        check="dead letters",
        level="warning",
        found=f"{count:,} {were} rejected: {common}{more}; for example {example.letter_id}: "
        f"{example.detail}",
        fix="correct what writes them; `driftline dead-letters show` shows them, and "
        "`driftline dead-letters requeue` writes them again",
    )


def check_routing(sampled: int, misplaced: Sequence[str]) -> HealthCheckResult:
    """Whether records lie where their key says; ``misplaced`` are positions that do not."""
    if not sampled:
        return HealthCheckResult(
            check="routing", level="ok", found="no record with a key to look at"
        )
    if not misplaced:
        return HealthCheckResult(
            check="routing", level="ok", found=f"{sampled} sampled records lie right"
        )
    return HealthCheckResult(
        check="routing",
        level="problem",
        found=f"{len(misplaced)} of {sampled} sampled records lie in a wrong partition, "
        f"like {misplaced[0]}",
        fix="write with InferenceLogger, or set librdkafka's partitioner=murmur2_random: "
        "a model spread over partitions is watched in pieces",
    )


def worst(findings: Sequence[HealthCheckResult]) -> Level:
    """The worst level among them.

    >>> worst([HealthCheckResult(check="a", level="ok", found=""), HealthCheckResult(check="b", level="warning",
    ... found="")])
    'warning'
    """
    order: list[Level] = ["ok", "warning", "problem"]
    return max((finding.level for finding in findings), key=order.index, default="ok")


def lines_of(findings: Sequence[HealthCheckResult]) -> list[str]:
    """For people: a line a finding, the fix below it."""
    lines = []
    for finding in findings:
        lines.append(f"{_LEVEL_LABELS[finding.level]}  {finding.check}: {finding.found}")
        if finding.fix:
            lines.append(f"         fix: {finding.fix}")
    return lines


def as_data(findings: Sequence[HealthCheckResult]) -> dict[str, Any]:
    """For programs."""
    return {"worst": worst(findings), "findings": list(findings)}
