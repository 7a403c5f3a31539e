"""The retrains of a model as jobs: the cause, each step, and the decision.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from trainer.contracts import RetrainEvent, Step

STEP_LABELS: Final[dict[Step, str]] = {
    "requested": "Requested",
    "declined": "Declined",
    "started": "Fitting",
    "succeeded": "Fitted",
    "failed": "Failed",
    "rejected": "Rejected",
    "proposed": "Proposed",
    "promoted": "Promoted",
    "rolled_back": "Rolled back",
}
RULE_LABELS: Final[dict[str, str]] = {
    "data_quality": "broken data",
    "immaterial": "too small to matter",
    "already_running": "a retrain runs",
    "cooldown": "too soon after the last",
}


class RetrainJob(msgspec.Struct, frozen=True, kw_only=True):
    """One request for a retrain, with its steps in order; the last one is its state."""

    job_id: str
    model: str
    state: Step
    label: str
    rule: str
    champion: str
    challenger: str | None
    episode_id: str | None
    began_ms: int
    time_ms: int
    reason: str
    steps: list[RetrainEvent]


def retrain_jobs(events: Iterable[RetrainEvent], model: str | None = None) -> list[RetrainJob]:
    """The jobs of a model, or of all, the newest first."""
    by_job: dict[str, list[RetrainEvent]] = {}
    for event in events:
        if model in (None, event.model):
            by_job.setdefault(event.job_id, []).append(event)
    jobs = [_job(steps) for steps in by_job.values()]
    return sorted(jobs, key=lambda job: (-job.time_ms, job.job_id))


def _job(steps: list[RetrainEvent]) -> RetrainJob:
    last = steps[-1]
    challenger = next((step.challenger for step in reversed(steps) if step.challenger), None)
    return RetrainJob(
        job_id=last.job_id,
        model=last.model,
        state=last.step,
        label=STEP_LABELS[last.step],
        rule=RULE_LABELS.get(last.rule, last.rule.replace("_", " ")),
        champion=last.champion,
        challenger=challenger,
        episode_id=next((step.episode_id for step in steps if step.episode_id), None),
        began_ms=steps[0].time_ms,
        time_ms=last.time_ms,
        reason=last.reason,
        steps=steps,
    )


def jobs_about(jobs: Iterable[RetrainJob], episode_ids: Iterable[str]) -> list[RetrainJob]:
    """The jobs that episodes caused, the newest first."""
    wanted = set(episode_ids)
    return [job for job in jobs if job.episode_id in wanted]
