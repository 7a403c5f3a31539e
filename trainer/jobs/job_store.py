"""Jobs, excluded time ranges and positions in the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from stream_monitor.contracts import DriftAlert
from stream_monitor.reference.feature_reference import FeatureReference
from trainer.jobs.champions import champion_of
from trainer.jobs.job import REREAD_AFTER_RESTART, Job, JobData, State, may_follow
from trainer.policy.decide import DEFERRABLE, History
from trainer.policy.excluded_ranges import (
    ODD_VALUES,
    PARTIAL_CAUSES,
    ExcludedRange,
    excluded_range_of,
    valid_values,
)
from trainer.policy.excluded_sources import ExcludedSource, first_exclusions
from trainer.policy.retrain_policy import DAY_MS

_COLUMNS = (
    "job_id, caused_by, model, episode_id, champion, challenger, state, outcome, asked_ms, "
    "finished_ms, work"
)
_NO_TRAINING_OUTCOMES = "('declined', 'cancelled', 'gave_up')"
SWAP_CAUSE: Final = "swap:"
"""``caused_by`` of a swap begins with it.  A swap needs no fit, so it counts as no retrain."""


def add_job(rows: sqlite3.Connection, job: Job) -> bool:
    """Record a job; return False if its alert or request has one already.

    Raises:
        sqlite3.IntegrityError: another job of the model runs.
    """
    if has_job(rows, job.caused_by):
        return False
    rows.execute(
        f"INSERT INTO jobs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _values(job)
    )
    return True


def has_job(rows: sqlite3.Connection, caused_by: str) -> bool:
    """Whether an alert or a request has a job, a declined one included."""
    found = rows.execute("SELECT 1 FROM jobs WHERE caused_by = ?", (caused_by,)).fetchone()
    return found is not None


def has_active_job(rows: sqlite3.Connection, episode_id: str) -> bool:
    """Whether a job of the episode is not done."""
    return _first(rows, "state != 'done' AND episode_id = ?", episode_id) is not None


def transition(rows: sqlite3.Connection, before: Job, after: Job) -> None:
    """Take a job to its next state.

    Raises:
        ValueError: the state machine has no such transition.
        LookupError: the job is not in the state ``before`` any more.
    """
    if not may_follow(after.state, before.state):
        raise ValueError(f"a job cannot go from {before.state} to {after.state}")
    _replace(rows, before, after)


def reset_interrupted_jobs(rows: sqlite3.Connection) -> int:
    """Return jobs whose working data were lost to the state ``reading``; return their number."""
    jobs = [job for job in active_jobs(rows) if job.state in REREAD_AFTER_RESTART]
    for job in jobs:
        _replace(rows, job, msgspec.structs.replace(job, state="reading"))
    return len(jobs)


def record_attempts(rows: sqlite3.Connection, job_id: str, state: State, count: int) -> Job | None:
    """Record how many processes began the step of ``state``; return the job if it exists."""
    job = find_job(rows, job_id)
    if job is None or job.state != state:
        return None
    noted = job.to(state, attempts={**job.work.attempts, state: count})
    _replace(rows, job, noted)
    return noted


def _replace(rows: sqlite3.Connection, before: Job, after: Job) -> None:
    done = rows.execute(
        "UPDATE jobs SET challenger = ?, state = ?, outcome = ?, finished_ms = ?, work = ?"
        " WHERE job_id = ? AND state = ?",
        (
            after.challenger,
            after.state,
            after.outcome,
            after.finished_ms,
            msgspec.json.encode(after.work),
            before.job_id,
            before.state,
        ),
    )
    if done.rowcount != 1:
        raise LookupError(f"job {before.job_id} is not {before.state} any more")


def find_job(rows: sqlite3.Connection, job_id: str) -> Job | None:
    """Return a job by its id."""
    return _first(rows, "job_id = ?", job_id)


def active_jobs(rows: sqlite3.Connection) -> list[Job]:
    """Return jobs that are not done, oldest first."""
    return _jobs(rows, "state != 'done'")


def active_job_of(rows: sqlite3.Connection, model: str) -> Job | None:
    """Return the job of a model that is not done; there is at most one."""
    return _first(rows, "state != 'done' AND model = ?", model)


def swaps_since(rows: sqlite3.Connection, model: str, since_ms: int) -> int:
    """Return the number of swaps of a model after an event time, proposed ones included."""
    found = rows.execute(
        "SELECT count(*) FROM jobs WHERE model = ? AND caused_by LIKE ? AND asked_ms > ?",
        (model, f"{SWAP_CAUSE}%", since_ms),
    ).fetchone()
    return int(found[0])


def jobs_of(rows: sqlite3.Connection, model: str) -> list[Job]:
    """Return all jobs of a model, oldest first, declined ones included."""
    return _jobs(rows, "model = ?", model)


def history_of(
    rows: sqlite3.Connection, model: str, *, episode_id: str | None, now_ms: int, has_factory: bool
) -> History:
    """Return the history of a model at event time ``now_ms``, without quality episodes."""
    champion = champion_of(rows, model)
    running = active_job_of(rows, model)
    ran = (
        f"model = ? AND (outcome IS NULL OR outcome NOT IN {_NO_TRAINING_OUTCOMES})"
        f" AND caused_by NOT LIKE '{SWAP_CAUSE}%'"
    )
    finished = rows.execute(
        f"SELECT max(finished_ms) FROM jobs WHERE state = 'done' AND {ran}", (model,)
    ).fetchone()[0]
    asked = rows.execute(
        f"SELECT asked_ms FROM jobs WHERE {ran} AND asked_ms > ?", (model, now_ms - DAY_MS)
    ).fetchall()
    waits = running is not None and running.state in ("asked", "waiting")
    of_episode = _jobs(rows, "episode_id = ?", episode_id)
    rejected = [job.finished_ms for job in of_episode if job.outcome == "rejected"]
    return History(
        champion=None if champion is None else champion.version,
        champion_ms=0 if champion is None else champion.time_ms,
        has_factory=has_factory,
        running_job_id=None if running is None else running.job_id,
        waiting_episode_id=running.episode_id if running is not None and waits else None,
        episode_decided=any(
            job.outcome != "rejected"
            and (job.outcome not in ("declined", "cancelled") or job.work.rule not in DEFERRABLE)
            for job in of_episode
        ),
        rejected_ms=max((ms for ms in rejected if ms is not None), default=None),
        finished_ms=finished,
        asked_ms=tuple(row[0] for row in asked),
    )


def excluded_sources_of(rows: sqlite3.Connection, model: str) -> list[ExcludedSource]:
    """Return the producers that jobs of a model left out, each since its first exclusion."""
    found = [one for job in jobs_of(rows, model) for one in job.work.excluded_sources]
    return first_exclusions(found)


def used_version_names(rows: sqlite3.Connection, model: str) -> list[str]:
    """Return the version names of all challengers and champions of a model."""
    found = rows.execute(
        "SELECT challenger FROM jobs WHERE model = ?1 AND challenger IS NOT NULL"
        " UNION SELECT version FROM champions WHERE model = ?1",
        (model,),
    ).fetchall()
    return [row[0] for row in found]


def latest_ms(rows: sqlite3.Connection, model: str) -> int:
    """Return the latest event time known of a model; 0 without any."""
    found = rows.execute(
        "SELECT max(time_ms) FROM (SELECT time_ms FROM champions WHERE model = ?1 UNION ALL"
        " SELECT max(asked_ms, coalesce(finished_ms, 0)) FROM jobs WHERE model = ?1)",
        (model,),
    ).fetchone()[0]
    return found or 0


def record_excluded_range(rows: sqlite3.Connection, alert: DriftAlert) -> None:
    """Record the excluded time range of an alert; a recorded end stays."""
    excluded_range = excluded_range_of(alert)
    rows.execute(
        "INSERT INTO spans (episode_id, model, start_ms, end_ms, repeated_value)"
        " VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (episode_id) DO UPDATE SET end_ms = coalesce(end_ms, excluded.end_ms)",
        (
            excluded_range.episode_id,
            alert.model,
            excluded_range.start_ms,
            excluded_range.end_ms,
            alert.after if alert.cause == ODD_VALUES else None,
        ),
    )


def has_excluded_range(rows: sqlite3.Connection, episode_id: str) -> bool:
    """Whether an excluded time range of the episode is recorded."""
    found = rows.execute("SELECT 1 FROM spans WHERE episode_id = ?", (episode_id,)).fetchone()
    return found is not None


def excluded_ranges_of(
    rows: sqlite3.Connection,
    model: str,
    features_of: Callable[[str], Mapping[str, FeatureReference]] = lambda _version: {},
) -> list[ExcludedRange]:
    """Return the excluded time ranges of a model, with the version of the quality episode.

    ``features_of`` returns the references of the features of a version; it is called once for each.
    Where the reference is known, an episode of missing or unknown values (it has no cause) or of
    odd values excludes only events without a valid value.
    """
    found = rows.execute(
        "SELECT spans.episode_id, spans.start_ms, spans.end_ms, spans.repeated_value,"
        " quality.version, quality.feature, quality.cause FROM spans"
        " LEFT JOIN quality USING (episode_id) WHERE spans.model = ? ORDER BY spans.start_ms",
        (model,),
    ).fetchall()
    references: dict[str, Mapping[str, FeatureReference]] = {}
    ranges: list[ExcludedRange] = []
    for episode_id, start_ms, end_ms, repeated_value, version, feature, cause in found:
        one = ExcludedRange(episode_id, start_ms, end_ms, version)
        if cause in PARTIAL_CAUSES:
            if version not in references:
                references[version] = features_of(version)
            reference = references[version].get(feature)
            valid = None if reference is None else valid_values(reference, cause, repeated_value)
            one = one._replace(feature=feature, valid=valid)
        ranges.append(one)
    return ranges


def positions(rows: sqlite3.Connection, topic: str) -> dict[int, int]:
    """Return the next offset to read of each partition of a topic."""
    found = rows.execute("SELECT partition, next_offset FROM positions WHERE topic = ?", (topic,))
    return {partition: offset for partition, offset in found.fetchall()}  # noqa: C416 - rows


def set_positions(rows: sqlite3.Connection, topic: str, next_offsets: Mapping[int, int]) -> None:
    """Record the next offset to read of some partitions."""
    rows.executemany(
        "INSERT INTO positions VALUES (?, ?, ?)"
        " ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
        [(topic, partition, offset) for partition, offset in next_offsets.items()],
    )


def _first(rows: sqlite3.Connection, condition: str, *values: Any) -> Job | None:
    found = _jobs(rows, condition, *values)
    return found[0] if found else None


def _jobs(rows: sqlite3.Connection, condition: str, *values: Any) -> list[Job]:
    found = rows.execute(
        f"SELECT {_COLUMNS} FROM jobs WHERE {condition} ORDER BY rowid", values
    ).fetchall()
    return [_job(row) for row in found]


def _job(row: sqlite3.Row) -> Job:
    data = dict(row)
    data["work"] = msgspec.json.decode(data["work"], type=JobData)
    return msgspec.convert(data, Job)


def _values(job: Job) -> tuple[Any, ...]:
    plain = {name: getattr(job, name) for name in job.__struct_fields__}
    return (*[plain[name] for name in _COLUMNS.split(", ")[:-1]], msgspec.json.encode(job.work))
