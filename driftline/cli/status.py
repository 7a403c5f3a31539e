"""``driftline status``: show the state of the monitor, from Kafka and Redis."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from driftline.cli.connection import connect_redis
from driftline.cli.option_groups import option_groups, server_settings
from driftline.cli.options import Json
from driftline.cli.output import note, write_json, write_lines

if TYPE_CHECKING:
    from redis import Redis

    from driftline.monitor_state.partition_state import PartitionState
    from stream_monitor.core.partition import PartitionMonitor
    from stream_monitor.detectors.calibration import Budget
    from stream_monitor.settings import Settings
    from stream_monitor.windows.closed_window import ClosedWindow
    from stream_monitor.windows.performance import WindowPerformance

T = TypeVar("T")
_WINDOW_KEY: Final = re.compile(r"(.+)/(-?[0-9]+)/([0-9]+)", re.DOTALL)
SUSPECTED, OPEN = 1, 2
_MAX_REJECTED = 10
LAST_WINDOWS = 24
"""Number of closed windows of each version that are read."""
Levels = Mapping[tuple[str, str], int]


@option_groups(settings=server_settings)
def status(settings: Settings, *, as_json: Json = False) -> None:
    """Show partitions, lag, models, open episodes, coverage, workers and closed windows."""
    from driftline.monitor_state.coverage_report import lines_of, read_coverage, report_heading  # noqa: PLC0415
    from driftline.monitor_state.error_rate_estimates import error_rate_estimates  # noqa: PLC0415 - light imports
    from driftline.monitor_state.open_episodes import open_episode_rows  # noqa: PLC0415
    from driftline.monitor_state.partition_state import read_monitors, read_partition  # noqa: PLC0415
    from driftline.topics.topic_reader import topic_ends  # noqa: PLC0415

    topic = settings.topics.events
    ends = topic_ends(settings.kafka.client(), topic)
    redis = connect_redis(settings)
    monitors = read_monitors(redis, settings, sorted(ends))
    states = [read_partition(redis, topic, partition) for partition in sorted(ends)]
    report = read_coverage(redis, topic, sorted(ends))
    data = {
        "topic": topic,
        "as_of_ms": round(time.time() * 1000),
        "partitions": [partition_row(state, ends[state.partition]) for state in states],
        "models": with_budget_unit(
            model_rows(monitor.levels() for monitor in monitors),
            versions_without_rate(monitors, settings.monitor_spec().budget),
        ),
        "episodes": [msgspec.to_builtins(row) for row in open_episode_rows(monitors)],
        "coverage": report.models,
        "estimates": [msgspec.to_builtins(row) for row in error_rate_estimates(monitors)],
        "windows": _windows(redis, settings),
        "workers": worker_rows(redis, topic),
        "trainer": trainer_row(settings),
        "notifier": notifier_row(settings),
        "rejected": rejected_rows(monitors),
        "placement": placement_row(monitors, len(ends)),
    }
    if as_json:
        write_json(data)
    else:
        write_lines(status_lines(data, [report_heading(report), *lines_of(report)]))


def rejected_rows(monitors: Iterable[PartitionMonitor]) -> list[dict[str, Any]]:
    """Rejected records by partition, model and reason, the most frequent first."""
    rows = [
        {
            "partition": monitor.partition,
            "model": row.model,
            "reason": row.reason,
            "records": row.total,
            "producers": row.sources,
            "open": row.episode is not None,
            "last_offset": row.last.offset,
            "example": row.example,
        }
        for monitor in monitors
        for row in monitor.rejected.rows()
    ]
    return sorted(rows, key=lambda row: -row["records"])


def rejected_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rejected records as text; empty if there are none."""
    lines = [
        f"  {row['model']}: {row['records']:,} ({row['reason']}) from "
        f"{', '.join(name or 'no ce_source' for name in row['producers']) or 'no ce_source'}"
        f"{'' if row['open'] else ', none recently'}; "
        f"for example {row['partition']}:{row['last_offset']}: {row['example']}"
        for row in rows[:_MAX_REJECTED]
    ]
    if len(rows) > _MAX_REJECTED:
        lines.append(f"  and {len(rows) - _MAX_REJECTED} more: driftline dead-letters show")
    return ["rejected records", *lines] if lines else []


def placement_row(monitors: Sequence[PartitionMonitor], n_partitions: int) -> dict[str, Any]:
    """The placement of models: partitions, shards, moved models, and problems."""
    from driftline.monitor_state.placement_report import (  # noqa: PLC0415 - light imports
        moved_models,
        placement_problems,
        sentence_of,
        topology_of,
    )

    topology = topology_of(monitors)
    return {
        "partitions": n_partitions,
        "generation": 0 if topology is None else topology.generation,
        "before": None if topology is None or topology.before is None else topology.before[0],
        "shards": {} if topology is None else topology.shards,
        "moved": {} if topology is None else moved_models(monitors, topology),
        "split": [sentence_of(each) for each in placement_problems(monitors, n_partitions)],
    }


def placement_lines(placement: Mapping[str, Any]) -> list[str]:
    """The placement as text; empty if it has not changed and has no problem."""
    lines = [f"  {sentence}" for sentence in placement["split"]]
    lines += [
        f"  {model}: moved from partition {', '.join(map(str, was))} to {', '.join(map(str, now))}"
        for model, (was, now) in placement["moved"].items()
    ]
    if placement["before"] is not None or lines:
        unchanged = placement["before"] in (None, placement["partitions"])
        was = "" if unchanged else f", {placement['before']} before"
        lines.insert(0, f"placement: {placement['partitions']} partitions{was}")
    return lines


def describe_owner(
    row: Mapping[str, Any], workers: Iterable[Mapping[str, Any]], now_ms: int
) -> str:
    """The owner of a partition, or why it has none.

    >>> describe_owner({"owner": "ab12", "owner_wrote_ms": 60_000, "stopped": ""}, [], 240_000)
    'none: the last owner was seen 3 min ago'
    >>> describe_owner({"owner": "ab12", "owner_wrote_ms": None, "stopped": ""}, [], 240_000)
    'none: the last owner released it'
    """
    from driftline.doctor.health_checks import SILENT_MS, format_duration  # noqa: PLC0415 - light imports

    member = row["owner"]
    if member is None:
        return "none yet"
    if row["stopped"]:
        return f"stopped: {row['stopped']}"
    if row["owner_wrote_ms"] is None:
        return "none: the last owner released it"
    if now_ms - row["owner_wrote_ms"] > SILENT_MS:
        return (
            f"none: the last owner was seen {format_duration(now_ms - row['owner_wrote_ms'])} ago"
        )
    known = [f"{each['host']} pid {each['pid']}" for each in workers if each["member"] == member]
    return known[0] if known else str(member)


def worker_rows(redis: Redis, topic: str) -> list[dict[str, Any]]:
    """The running workers: host, partitions, time since the last write, address of the pages."""
    from driftline.monitor_state.partition_state import read_workers  # noqa: PLC0415 - light imports

    now_ms = round(time.time() * 1000)
    return [
        {**msgspec.structs.asdict(note), "since_last_write_ms": max(0, now_ms - note.time_ms)}
        for note in read_workers(redis, topic, now_ms)
    ]


def trainer_row(settings: Settings) -> dict[str, Any] | None:
    """The trainer's last heartbeat; ``None`` if no trainer has run."""
    from driftline.cli.doctor import read_trainer_status  # noqa: PLC0415 - light imports

    seen = read_trainer_status(settings, now_ms=round(time.time() * 1000))
    if seen is None:
        return None
    trainer, web = seen
    return {**msgspec.structs.asdict(trainer), "web": web}


def notifier_row(settings: Settings) -> dict[str, Any] | None:
    """The notifier's last heartbeat; ``None`` if no notifier has run, or access is denied."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - light imports

    from driftline.cli.doctor import read_notifier_status  # noqa: PLC0415
    from producer.permission import is_denied  # noqa: PLC0415

    try:
        seen = read_notifier_status(settings, now_ms=round(time.time() * 1000))
    except KafkaException as error:
        if not is_denied(error.args[0]):
            raise
        note(f"the notifier is not shown: {error.args[0].str()}")
        return None
    return None if seen is None else msgspec.to_builtins(seen)


def partition_row(state: PartitionState, end: int) -> dict[str, Any]:
    """One partition: positions, lag, owner and counters."""
    return {
        "partition": state.partition,
        "next": state.next,
        "end": end,
        "lag": max(0, end - (state.next or 0)),
        "waiting_to_be_published": state.unpublished,
        "owner": state.member,
        "owner_wrote_ms": state.owner_wrote_ms,
        "stopped": state.stopped,
        "counters": msgspec.structs.asdict(state.counters),
    }


def model_rows(levels: Iterable[Levels]) -> list[dict[str, Any]]:
    """Models by name, with their suspected and drifting series, over all partitions."""
    worst: dict[str, dict[str, int]] = {}
    for partition in levels:
        for (model, series), level in partition.items():
            of_model = worst.setdefault(model, {})
            of_model[series] = max(level, of_model.get(series, 0))
    return [
        {
            "model": model,
            "series": len(series),
            "suspected": sorted(name for name, level in series.items() if level == SUSPECTED),
            "open": sorted(name for name, level in series.items() if level == OPEN),
        }
        for model, series in sorted(worst.items())
    ]


def versions_without_rate(monitors: Iterable[PartitionMonitor], budget: Budget) -> set[str] | None:
    """The versions whose reference has no event rate; ``None`` without a budget per week."""
    if budget.per_weeks is None:
        return None
    from producer.names import version_key  # noqa: PLC0415 - light imports

    return {
        version_key(name, version)
        for monitor in monitors
        for name, model in monitor.models.items()
        for version, watched in model.versions.items()
        if watched.profile.events_per_week is None
    }


def with_budget_unit(
    rows: list[dict[str, Any]], per_events: set[str] | None
) -> list[dict[str, Any]]:
    """The rows with the unit of the effective budget, if the budget is per week.

    >>> with_budget_unit([{"model": "m@1"}], {"m@1"}), with_budget_unit([{"model": "m@1"}], None)
    ([{'model': 'm@1', 'budget_unit': 'events'}], [{'model': 'm@1'}])
    """
    if per_events is None:
        return rows
    return [
        {**row, "budget_unit": "events" if row["model"] in per_events else "weeks"} for row in rows
    ]


def window_rows(prefix: str, keys: Iterable[str]) -> list[dict[str, Any]]:
    """Closed windows by model version: their number, and the start of the last one.

    >>> window_rows("d", ["d:window:m@1/0/0", "d:window:m@1/3600000/0"])
    [{'model': 'm@1', 'windows': 2, 'last_start_ms': 3600000}]
    >>> window_rows("d", ["d:window:of_another_program"])
    []
    """
    return [
        {"model": model, "windows": len(found), "last_start_ms": max(start for start, _ in found)}
        for model, found in sorted(_by_model(prefix, keys).items())
    ]


def _by_model(prefix: str, keys: Iterable[str]) -> dict[str, list[tuple[int, str]]]:
    found: dict[str, list[tuple[int, str]]] = {}
    for key in keys:
        match = _WINDOW_KEY.fullmatch(key.removeprefix(f"{prefix}:window:"))
        if match is not None:
            found.setdefault(match[1], []).append((int(match[2]), key))
    return found


def decode_values(
    blobs: Mapping[str, bytes | str | None], kind: type[T]
) -> tuple[list[T], list[str]]:
    """The decoded values of some keys, and the keys whose value driftline did not write.

    >>> decode_values({"a": b"3", "b": b"garbage", "c": None}, int)
    ([3], ['b'])
    """
    found: list[T] = []
    foreign: list[str] = []
    for key, blob in blobs.items():
        try:
            found += [msgspec.json.decode(blob, type=kind)] if blob else []
        except (msgspec.DecodeError, UnicodeDecodeError):
            foreign.append(key)
    return found, foreign


def differing(windows: Iterable[ClosedWindow]) -> dict[str, int]:
    """The number of ``windows`` in which each feature differs from the reference, sorted by it.

    The parts of one window in several partitions count once.
    """
    starts: dict[str, set[int]] = {}
    for window in windows:
        for name in window.drifted:
            starts.setdefault(name, set()).add(window.start_ms)
    counts = {name: len(found) for name, found in starts.items()}
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))


def realised_error(figures: Iterable[WindowPerformance]) -> tuple[int, float | None]:
    """The number of labelled predictions in some windows, and their mean error."""
    known = list(figures)
    n_labelled = sum(each.n_labelled for each in known)
    total = sum(each.n_labelled * each.loss for each in known)
    return n_labelled, total / n_labelled if n_labelled else None


def _windows(redis: Redis, settings: Settings) -> list[dict[str, Any]]:
    """`window_rows`, with the drifting features and the mean error of the last windows."""
    from stream_monitor.windows.closed_window import ClosedWindow  # noqa: PLC0415
    from stream_monitor.windows.performance import WindowPerformance, performance_key  # noqa: PLC0415

    prefix = settings.topics.prefix
    scanned = redis.scan_iter(match=f"{prefix}:window:*", count=1_000)
    keys = [k.decode(errors="replace") for k in scanned]
    by_model = _by_model(prefix, keys)
    rows = window_rows(prefix, keys)
    ours = {key for found in by_model.values() for _, key in found}
    foreign = [key for key in keys if key not in ours]
    for row in rows:
        found = by_model[row["model"]]
        last = set(sorted({start for start, _ in found})[-LAST_WINDOWS:])
        shown = [key for start, key in found if start in last]
        windows, bad = decode_values(dict(zip(shown, redis.mget(shown), strict=True)), ClosedWindow)
        row["last"] = len(last)
        row["differing"] = differing(windows)
        costs = [performance_key(prefix, key) for key in shown]
        figures, worse = decode_values(
            dict(zip(costs, redis.mget(costs), strict=True)), WindowPerformance
        )
        row["labelled"], row["loss"] = realised_error(figures)
        foreign += bad + worse
    if foreign:
        note(
            f"{len(foreign):,} Redis keys with the prefix of windows are not from driftline, for "
            f"example {foreign[0]}: give driftline a Redis database of its own"
        )
    return rows


def status_lines(data: Mapping[str, Any], coverage: Sequence[str] = ()) -> list[str]:
    """The status as text; ``coverage`` holds the lines about coverage."""
    from driftline.monitor_state.error_rate_estimates import line_of as estimate_line  # noqa: PLC0415 - light imports
    from driftline.monitor_state.open_episodes import lines_of as episode_lines  # noqa: PLC0415

    lines = [f"{data['topic']}", "  partition      next       end       lag  owner"]
    lines += [
        f"  {row['partition']:>9}  {_position(row['next']):>8}  {row['end']:>8}  {row['lag']:>8}  "
        f"{describe_owner(row, data.get('workers', ()), data.get('as_of_ms', 0))}"
        for row in data["partitions"]
    ]
    lines += placement_lines(data["placement"]) if "placement" in data else []
    lines.append("models")
    for row in data["models"]:
        drift = ", ".join(row["open"]) or "none"
        lines.append(f"  {row['model']}: {row['series']} series; drifting: {drift}")
        if row["suspected"]:
            lines.append(f"    suspected: {', '.join(row['suspected'])}")
        if row.get("budget_unit") == "events":
            lines.append(
                "    the budget holds per events: the reference has no number of events a week"
            )
    if not data["models"]:
        lines.append("  none seen yet")
    lines += episode_lines(data.get("episodes", ()))
    lines += coverage
    if estimates := data.get("estimates"):
        lines.append("error without labels")
        lines += [f"  {estimate_line(row)}" for row in estimates]
    lines += worker_lines(data.get("workers", ()), data["partitions"])
    lines += rejected_lines(data.get("rejected", ()))
    lines += trainer_lines(data)
    lines += notifier_lines(data)
    lines.append("closed windows")
    for row in data["windows"]:
        lines.append(f"  {row['model']}: {row['windows']}")
        if row.get("differing"):
            feature_counts = ", ".join(f"{name} in {n}" for name, n in row["differing"].items())
            lines.append(f"    drift in the last {row['last']}: {feature_counts}")
        if row.get("labelled"):
            n_labelled, loss = row["labelled"], row["loss"]
            lines.append(
                f"    mean error in the last {row['last']}: {loss:.3f} of {n_labelled:,} labels"
            )
    if not data["windows"]:
        lines.append("  none yet")
    return lines


def worker_lines(
    rows: Sequence[Mapping[str, Any]], partitions: Sequence[Mapping[str, Any]] = ()
) -> list[str]:
    """The workers as text.

    The partitions of a worker are taken from the owners in ``partitions``, which are more recent
    than its heartbeat.

    >>> row = {"host": "a", "pid": 7, "member": "m", "since_last_write_ms": 3_000, "web": ""}
    >>> owned = [{"partition": p, "owner": owner} for p, owner in enumerate(["m", "x", "m"])]
    >>> worker_lines([row, row | {"member": "n", "web": "127.0.0.1:8766"}], owned)
    ['workers', '  a pid 7: partitions 0, 2; seen 3 s ago', \
'  a pid 7: owns no partition; seen 3 s ago; pages at 127.0.0.1:8766']
    >>> worker_lines([])
    ['workers', '  none is running: nothing is watched']
    """
    from driftline.doctor.health_checks import format_duration  # noqa: PLC0415 - light imports

    lines = ["workers"]
    for row in rows:
        numbers = ", ".join(
            str(each["partition"]) for each in partitions if each["owner"] == row["member"]
        )
        owns = f"partitions {numbers}" if numbers else "owns no partition"
        web = f"; pages at {row['web']}" if row["web"] else ""
        seen = format_duration(row["since_last_write_ms"])
        lines.append(f"  {row['host']} pid {row['pid']}: {owns}; seen {seen} ago{web}")
    return lines if rows else [*lines, "  none is running: nothing is watched"]


def trainer_lines(data: Mapping[str, Any]) -> list[str]:
    """The trainer as text.

    >>> row = {"since_last_write_ms": 2_000, "lag": 0, "jobs": 1, "web": "127.0.0.1:8785"}
    >>> trainer_lines({"trainer": row})
    ['trainer', '  seen 2 s ago, 0 alerts behind, 1 unfinished job; pages at 127.0.0.1:8785']
    """
    from driftline.doctor.health_checks import format_duration  # noqa: PLC0415 - light imports

    row = data.get("trainer")
    if row is None:
        return ["trainer", "  no trainer has run: no alert leads to a retrain"]
    jobs = f", {row['jobs']} unfinished job{'' if row['jobs'] == 1 else 's'}" if row["jobs"] else ""
    web = f"; pages at {row['web']}" if row["web"] else ""
    seen = format_duration(max(0, row["since_last_write_ms"]))
    return ["trainer", f"  seen {seen} ago, {row['lag']} alerts behind{jobs}{web}"]


def notifier_lines(data: Mapping[str, Any]) -> list[str]:
    """The notifier as text, with the targets that accept no messages.

    >>> one = {"target": "chat", "why": "HTTP 500", "fix": "see its log"}
    >>> row = {"since_last_write_ms": 2_000, "lag": 0, "n_targets": 2, "n_failing": 2}
    >>> row |= {"since_last_message_ms": 600_000, "failing": [one], "web": ""}
    >>> notifier_lines({"notifier": row})
    ['notifier', '  seen 2 s ago, 0 alerts behind, 2 targets, last message 10 min ago', \
'  target chat fails: HTTP 500. Fix: see its log', '  1 more targets fail']
    >>> notifier_lines({})
    ['notifier', '  none has run: no message is sent about incidents']
    """
    from driftline.doctor.health_checks import format_duration  # noqa: PLC0415 - light imports

    row = data.get("notifier")
    if row is None:
        return ["notifier", "  none has run: no message is sent about incidents"]
    web = f"; pages at {row['web']}" if row["web"] else ""
    last_ms = row["since_last_message_ms"]
    last = "no message sent yet"
    if last_ms is not None:
        last = f"last message {format_duration(max(0, last_ms))} ago"
    targets = f"{row['n_targets']} target{'' if row['n_targets'] == 1 else 's'}"
    seen = format_duration(max(0, row["since_last_write_ms"]))
    lines = ["notifier", f"  seen {seen} ago, {row['lag']} alerts behind, {targets}, {last}{web}"]
    lines += [f"  target {t['target']} fails: {t['why']}. Fix: {t['fix']}" for t in row["failing"]]
    if hidden := row["n_failing"] - len(row["failing"]):
        lines.append(f"  {hidden} more targets fail")
    return lines


def _position(offset: int | None) -> str:
    return "-" if offset is None else str(offset)
