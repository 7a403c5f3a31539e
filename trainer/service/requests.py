"""Requests of a person: a retrain, a promotion, a rollback.

A request becomes a job.  The trainer of the data directory works on it; without a running trainer
the command that requested it does.
"""

from __future__ import annotations

import sqlite3
import uuid
from shlex import quote

from trainer.jobs.champions import aliases_of, champion_of, previous_champion
from trainer.jobs.job import Job, JobData
from trainer.jobs.job_store import active_job_of, latest_ms
from trainer.policy.naming import job_id_of
from trainer.registry.manifest import Manifest
from trainer.service.context import TrainerContext
from trainer.service.proposal import BY_A_PERSON
from trainer.service.step_result import StepEvent, add_reported_job


class RequestRejected(ValueError):  # noqa: N818 - expected, and it has a fix
    """A request cannot be met; ``fix`` is what to do about it."""

    def __init__(self, why: str, *, fix: str) -> None:
        super().__init__(why)
        self.fix = fix


def retrain_request(rows: sqlite3.Connection, context: TrainerContext, model: str) -> Job:
    """Build a job that trains ``model`` on the newest records, without recording it.

    Raises:
        RequestRejected: the model has no known factory or champion.
    """
    champion = champion_of(rows, model)
    known = None if champion is None else context.manifest(model, champion.version)
    factory = context.factories.get(model) or (known.factory if known is not None else "")
    if not factory:
        raise RequestRejected(
            f"no factory is known for {model!r}",
            fix="--factory MODULE:FUNCTION, or [trainer.factories] in driftline.toml",
        )
    if champion is None:
        raise RequestRejected(
            f"no champion of {model!r} is recorded in {context.data_dir}",
            fix="driftline models register ARTIFACT --profile PROFILE, or the --data-dir that has "
            "it",
        )
    caused_by = f"person:{uuid.uuid4()}"
    return Job(
        job_id=job_id_of(caused_by),
        caused_by=caused_by,
        model=model,
        champion=champion.version,
        state="asked",
        asked_ms=latest_ms(rows, model),
        work=JobData(factory=factory),
    )


def promote_request(
    rows: sqlite3.Connection, context: TrainerContext, model: str, version: str
) -> Job:
    """Build a job that promotes a stored version or an alias, without recording it.

    Raises:
        RequestRejected: the version is not stored, or is already in service.
    """
    version = aliases_of(rows, model).get(version, version)
    manifest = context.manifest(model, version)
    if manifest is None:
        stored = ", ".join(m.version for m in context.registry.versions(model)) or "none"
        raise RequestRejected(
            f"{model}@{version} is not in the registry; stored versions: {stored}",
            fix="one of these; driftline models list shows all models, driftline models register "
            "stores a version",
        )
    reason = f"A person puts {model}@{version} into service."
    return _promotion_job(rows, manifest, reason, rolls_back=False)


def rollback_request(rows: sqlite3.Connection, context: TrainerContext, model: str) -> Job:
    """Build a job that promotes the previous champion, without recording it.

    Raises:
        RequestRejected: there is no previous champion, or it is not stored.
    """
    previous = previous_champion(rows, model)
    if previous is None:
        raise RequestRejected(
            f"{model!r} has no champion before the current one",
            fix=f"driftline models promote {quote(model)} VERSION, with a version of driftline "
            "models list",
        )
    manifest = context.manifest(model, previous.version)
    if manifest is None:
        raise RequestRejected(
            f"{model}@{previous.version} was the champion before, but is not in the registry",
            fix="driftline models register ARTIFACT --profile PROFILE stores it again; driftline "
            f"models promote {quote(model)} VERSION puts another version into service",
        )
    reason = f"A person puts {model}@{previous.version} back into service."
    return _promotion_job(rows, manifest, reason, rolls_back=True)


def add_request(rows: sqlite3.Connection, context: TrainerContext, job: Job) -> None:
    """Record a request, inside the caller's transaction.

    Raises:
        RequestRejected: another job of the model runs.
    """
    running = active_job_of(rows, job.model)
    if running is not None:
        raise RequestRejected(
            f"a job of {job.model} is {running.state} ({running.job_id})",
            fix="repeat the request when it is done; a running trainer ends it (driftline train)",
        )
    reason = job.work.reason or f"A person requests a retrain of {job.model}."
    step_event = StepEvent("requested", BY_A_PERSON, reason, {})
    add_reported_job(rows, job, step_event, context.topics.retrain)


def _promotion_job(
    rows: sqlite3.Connection, manifest: Manifest, reason: str, *, rolls_back: bool
) -> Job:
    champion = champion_of(rows, manifest.model)
    if champion is not None and champion.version == manifest.version:
        raise RequestRejected(
            f"{manifest.model}@{manifest.version} is already in service",
            fix="another version, one of driftline models list",
        )
    caused_by = f"person:{uuid.uuid4()}"
    return Job(
        job_id=job_id_of(caused_by),
        caused_by=caused_by,
        model=manifest.model,
        champion=manifest.version if champion is None else champion.version,
        challenger=manifest.version,
        state="promoting",
        asked_ms=max(manifest.time_ms, latest_ms(rows, manifest.model)),
        work=JobData(
            artifact_sha256=manifest.artifact_sha256,
            promote=True,
            rolls_back=rolls_back,
            rule=BY_A_PERSON,
            reason=reason,
        ),
    )
