"""Leaves producers whose events alone show a change out of a job's training set."""

from __future__ import annotations

from shlex import quote
from typing import NamedTuple

import structlog

from trainer.dataset.frame import ColumnRoles, Dataset
from trainer.dataset.source_exclusion import exclude_sources
from trainer.jobs.job import Job
from trainer.policy.excluded_sources import ExcludedSource
from trainer.service.context import StepInputs, TrainerContext, champions_profile, trained_rows
from trainer.service.step_result import StepEvent

log = structlog.get_logger(__name__)


class CheckedSources(NamedTuple):
    """The job with the sources that it left out, and its dataset without their new rows.

    ``declined`` ends the job: no other source shows the drift.
    """

    job: Job
    dataset: Dataset
    declined: StepEvent | None = None


def check_sources(
    job: Job, context: TrainerContext, dataset: Dataset, roles: ColumnRoles, inputs: StepInputs
) -> CheckedSources:
    """Leave out the new rows of deviating sources.

    Rows are new since the onset of the drift; without drift, since the champion's last row.
    """
    since_ms = _new_since_ms(job, context)
    if since_ms is None or not context.policy.max_excluded_source_share:
        return CheckedSources(job, dataset)
    profile = champions_profile(job, context)
    checked = exclude_sources(
        dataset,
        since_ms=since_ms,
        known=inputs.excluded_sources,
        task=roles.task,
        positive=roles.positive,
        threshold=0.5 if profile is None else profile.threshold,
        max_share=context.policy.max_excluded_source_share,
    )
    sentences = checked.sentences()
    if not sentences:
        return CheckedSources(job, dataset)
    log.warning("rows of single producers are left out", model=job.model, rows=sentences)
    excluded = [
        ExcludedSource(column=column, name=one.name, since_ms=since_ms)
        for column, found in checked.excluded.items()
        for one in found
    ]
    marked = job.to(job.state, excluded_sources=excluded)
    if job.work.onset_ms is None or not checked.is_without_drift:
        return CheckedSources(marked, checked.dataset)
    reason = (
        f"Only single producers show a rise of the error ({'; '.join(sentences)}). Check them; "
        f"to train on the others anyway: driftline retrain {quote(job.model)} --now"
    )
    declined = StepEvent("declined", "single_source", reason, checked.dataset.record.numbers())
    return CheckedSources(marked, checked.dataset, declined)


def _new_since_ms(job: Job, context: TrainerContext) -> int | None:
    if job.work.onset_ms is not None:
        return job.work.onset_ms
    manifest = context.manifest(job.model, job.champion)
    last_ms = None if manifest is None else trained_rows(manifest).get("last_ms")
    return None if last_ms is None else int(last_ms) + 1
