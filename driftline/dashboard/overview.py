"""Data of the first screen: the worst problem, key figures and coverage.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from driftline.dashboard.model_state import ModelState
from driftline.dashboard.observation import Observation, open_health
from driftline.doctor.health_checks import TRAINER_SILENT_MS, format_duration
from stream_monitor.contracts import SEVERITY_RANK
from stream_monitor.episodes.formatting import format_count, format_percent, format_time
from stream_monitor.episodes.incidents import Incident
from stream_monitor.worker_heartbeat import LATE_MS

Level: TypeAlias = Literal["ok", "warning", "problem", "unknown"]
MANY: Final = 3
NO_VALUE: Final = "\N{EN DASH}"


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """One key figure: its name, value, a detail, and whether it is good."""

    name: str
    value: str
    detail: str = ""
    level: Level = "ok"


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to "is anything wrong?" as a sentence, and the sentence that follows it."""

    level: Level
    text: str
    detail: str = ""


def tiles_of(seen: Observation) -> list[Tile]:
    """Return the key figures: events, lag, oldest unprocessed event, servers, workers, coverage."""
    return [
        _events(seen),
        _lag(seen),
        _oldest(seen),
        *_servers(seen),
        _workers(seen),
        _trainer(seen),
        _coverage(seen),
    ]


def _events(seen: Observation) -> Tile:
    total = sum(row.events for row in seen.partitions)
    detail = f"{total:,} in all"
    if seen.events_per_s is None:
        return Tile(name="Events / s", value=NO_VALUE, detail=detail, level="unknown")
    rate = seen.events_per_s
    value = f"{rate:,.0f}" if rate >= 10 or rate == 0 else f"{rate:.1f}"
    return Tile(name="Events / s", value=value, detail=detail)


def _lag(seen: Observation) -> Tile:
    if any(row.end is None for row in seen.partitions) or not seen.partitions:
        return Tile(name="Lag", value=NO_VALUE, detail="unknown without Kafka", level="unknown")
    lag = sum(row.lag for row in seen.partitions)
    stopped = [row.partition for row in seen.partitions if row.stopped]
    if stopped:
        many = ", ".join(map(str, stopped))
        return Tile(
            name="Lag", value=f"{lag:,}", detail=f"partition {many} stopped", level="problem"
        )
    return Tile(name="Lag", value=f"{lag:,}", detail=f"{len(seen.partitions)} partitions")


def _oldest(seen: Observation) -> Tile:
    name = "Oldest unprocessed"
    if any(row.end is None for row in seen.partitions) or not seen.partitions:
        return Tile(name=name, value=NO_VALUE, level="unknown")
    waits = [seen.now_ms - row.clock_ms for row in seen.partitions if row.lag and row.clock_ms]
    if not any(row.lag for row in seen.partitions):
        return Tile(name=name, value="none", detail="all processed")
    if not waits:
        return Tile(name=name, value=NO_VALUE, detail="nothing processed yet", level="warning")
    worst = max(0, *waits) if len(waits) > 1 else max(0, waits[0])
    level: Level = "problem" if worst > 60_000 else "warning" if worst > 10_000 else "ok"
    return Tile(name=name, value=f"≤ {format_duration(worst)}", detail="append time", level=level)


def _servers(seen: Observation) -> list[Tile]:
    tiles = []
    for server in seen.servers:
        since = format_duration(max(0, seen.now_ms - server.since_ms))
        if server.reachable:
            tiles.append(Tile(name=server.name, value="up", detail="answers"))
        else:
            tiles.append(
                Tile(
                    name=server.name, value="away", detail=f"for {since} or longer", level="problem"
                )
            )
    return tiles


def _workers(seen: Observation) -> Tile:
    late = [w for w in seen.workers if seen.now_ms - w.time_ms > LATE_MS]
    if not seen.workers:
        return Tile(name="Workers", value="0", detail="nothing is watched", level="problem")
    if late:
        return Tile(
            name="Workers",
            value=f"{len(seen.workers)}",
            detail=f"{len(late)} late",
            level="warning",
        )
    owned = sum(len(worker.partitions) for worker in seen.workers)
    return Tile(
        name="Workers",
        value=f"{len(seen.workers)}",
        detail=format_count(owned, "partition") if owned else "alive",
    )


def _trainer(seen: Observation) -> Tile:
    trainer = seen.trainer
    if trainer is None:
        return Tile(name="Trainer", value="none", detail="no retrains", level="unknown")
    silence = seen.now_ms - trainer.time_ms
    if silence > TRAINER_SILENT_MS:
        return Tile(
            name="Trainer",
            value="silent",
            detail=f"for {format_duration(silence)}",
            level="problem",
        )
    jobs = f"{format_count(trainer.jobs, 'job')}, " if trainer.jobs else ""
    return Tile(name="Trainer", value="up", detail=f"{jobs}{trainer.lag} alerts behind")


def _coverage(seen: Observation) -> Tile:
    events = sum(one.events for one in seen.coverage)
    watched = sum(one.watched for one in seen.coverage)
    if not events:
        return Tile(name="Watched", value=NO_VALUE, detail="no event in the hour", level="unknown")
    share = watched / events
    level: Level = "ok" if watched == events else "warning"
    return Tile(
        name="Watched", value=format_percent(share), detail=f"of {events:,} last hour", level=level
    )


def headline_of(
    seen: Observation, states: Sequence[ModelState], incidents: Iterable[Incident]
) -> Headline:
    """Return the worst problem: of servers and workers, then of models, then of doctor's checks."""
    away = seen.away()
    if away:
        names = " and ".join(server.name for server in away)
        verb = "do" if len(away) > 1 else "does"
        since = format_time(min(server.since_ms for server in away))
        return Headline(
            level="problem",
            text=f"{names} {verb} not answer since {since}",
            detail="This page shows the last known state and recovers by itself. "
            + "; ".join(f"{server.name}: {server.error}" for server in away),
        )
    if not seen.workers:
        return Headline(
            level="problem",
            text="No worker runs: nothing is watched",
            detail="Start one: driftline monitor",
        )
    problems = open_health(seen.health)
    if problems:
        return Headline(
            level="problem", text=problems[0].explanation, detail=f"Fix: {problems[0].fix}"
        )
    if not states:
        return Headline(
            level="unknown",
            text="No model has sent events yet",
            detail="Connect a model server with InferenceLogger, or: driftline publish FILE",
        )
    headline = _of_models(states, [one for one in incidents if one.closed_ms is None])
    return headline if headline.level != "ok" else _of_findings(seen, headline)


def _of_findings(seen: Observation, fine: Headline) -> Headline:
    """The findings of doctor, where all models are fine."""
    problems = [one for one in seen.doctor.results if one.level == "problem"]
    warnings = [one for one in seen.doctor.results if one.level == "warning"]
    if not problems:
        if not warnings:
            return fine
        count = format_count(len(warnings), "warning")
        detail = f"{fine.detail} driftline doctor has {count}, below."
        return msgspec.structs.replace(fine, detail=detail)
    first = problems[0]
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    return Headline(
        level="problem",
        text=f"driftline doctor found a problem: {first.check}{more}",
        detail=f"{first.found}. Fix: {first.fix}",
    )


def _of_models(states: Sequence[ModelState], incidents: Sequence[Incident]) -> Headline:
    bad = [state for state in states if state.rank]
    models = format_count(len(states), "model")
    if not bad:
        warming = sum(state.state == "warming_up" for state in states)
        if warming == len(states):
            return Headline(
                level="unknown",
                text=f"Nothing is watched yet: {models} warming up",
                detail="The first events of a version become its reference. "
                "`driftline profile send` announces one before.",
            )
        more = f" {warming} still warming up." if warming else ""
        watched = format_count(len(states) - warming, "model")
        return Headline(
            level="ok", text="Nothing is wrong", detail=f"{watched} watched, no open episode.{more}"
        )
    names = ", ".join(state.model for state in bad[:MANY])
    names += f" and {len(bad) - MANY} more" if len(bad) > MANY else ""
    verb = "needs" if len(bad) == 1 else "need"
    level: Level = "problem" if bad[0].rank >= SEVERITY_RANK["high"] else "warning"
    since = min((state.since_ms for state in bad if state.since_ms is not None), default=None)
    begun = "" if since is None else f" since {format_time(since)}"
    unanswered = sum(not one.acknowledged for one in incidents)
    count = format_count(len(incidents), "open incident") if incidents else "No open incident"
    waiting = f", {unanswered} not acknowledged" if unanswered else ""
    fine = len(states) - len(bad)
    others = f" {fine} of {models} need none." if fine else ""
    return Headline(
        level=level, text=f"{names} {verb} attention{begun}", detail=f"{count}{waiting}.{others}"
    )


def counts_by_state(states: Iterable[ModelState]) -> Mapping[str, int]:
    """The number of models by the label of their state, in the order given."""
    counts: dict[str, int] = {}
    for state in states:
        counts[state.label] = counts.get(state.label, 0) + 1
    return counts
