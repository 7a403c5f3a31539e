"""Mode ``manual``: a version that passed the gate is proposed, and a person promotes it.

The trainer retrains, evaluates and stores as in ``auto``.  Instead of the promotion it publishes
the step ``proposed`` with the numbers and the one command that promotes the version.
"""

from __future__ import annotations

from shlex import quote
from typing import Final

from trainer.jobs.job import Job
from trainer.service.context import TrainerContext
from trainer.service.step_result import StepEvent, StepResult
from trainer.settings import TrainerSettings

BY_A_PERSON: Final = "person"
"""The rule of a promotion or a rollback that a person requested."""


def needs_person(job: Job, context: TrainerContext) -> bool:
    """Whether the version is only proposed: mode ``manual``, and no person decided yet."""
    return context.mode_of(job.model) == "manual" and job.work.rule != BY_A_PERSON


def proposed(job: Job, context: TrainerContext, version: str) -> StepResult:
    """End the job with a proposal to promote ``version``."""
    command = promotion_command(job.model, version, context)
    reason = f"{job.work.reason}  To promote it: {command}"
    numbers = {**job.work.numbers, "command": command}
    step_event = StepEvent("proposed", job.work.rule, reason, numbers)
    return StepResult(job.ended("proposed"), (step_event,))


def promotion_command(model: str, version: str, context: TrainerContext) -> str:
    """Return the command that promotes a stored version of this trainer."""
    words = ["driftline", "models", "promote", quote(model), quote(version)]
    if context.data_dir != TrainerSettings().data_dir:
        words += ["--data-dir", quote(str(context.data_dir))]
    if context.prefix != "driftline":
        words += ["--prefix", quote(context.prefix)]
    return " ".join(words)
