"""``driftline retrain``: retrain a model now, or show the data a retrain would use."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.cli.command_error import EXIT_FAILED, CommandError, UsageError
from driftline.cli.option_groups import option_groups
from driftline.cli.options import Json
from driftline.cli.output import note, write_json
from driftline.cli.trainer_jobs import (
    Factory,
    TrainerOptions,
    WaitSeconds,
    run_job_request,
    trainer_options,
)

if TYPE_CHECKING:
    from trainer.jobs.job import Job
    from trainer.service.context import TrainerContext


@option_groups(options=trainer_options)
def retrain(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    options: TrainerOptions,
    factory: Factory = None,
    wait_s: WaitSeconds = 3600.0,
    *,
    now: Annotated[
        bool, typer.Option("--now", help="Retrain now, without cooldown or limit on retrains.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the data that a retrain would use.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a challenger on the newest labelled events; the gate decides about it.

    Exit codes: 0 promoted, proposed or rejected, 1 no challenger was evaluated, 2 wrong usage,
    4 Kafka unreachable.
    """
    if now == dry_run:
        raise UsageError(
            "give either --now or --dry-run", fix=f"driftline retrain {model} --dry-run"
        )
    context = options.context(factories={model: factory} if factory is not None else None)
    from trainer.service.requests import retrain_request  # noqa: PLC0415 - light imports

    if dry_run:
        found = preview_retrain(context, model)
        if json:
            write_json(found)
        else:
            for name, value in found.items():
                note(f"{name.replace('_', ' '):<22} {value}")
        return
    job = run_job_request(context, lambda rows: retrain_request(rows, context, model), wait_s)
    report_job(job, json=json)
    if job.outcome not in ("promoted", "proposed", "rejected"):
        raise typer.Exit(EXIT_FAILED)


def preview_retrain(context: TrainerContext, model: str) -> dict[str, Any]:
    """The champion, the factory and the labelled events that a retrain would use.

    Raises:
        CommandError: the trainer would reject the request.
    """
    from trainer.jobs.database import Database  # noqa: PLC0415 - light imports
    from trainer.jobs.job_store import active_jobs, excluded_ranges_of, excluded_sources_of  # noqa: PLC0415
    from trainer.service.context import StepInputs  # noqa: PLC0415
    from trainer.service.pipeline import build_training_set, plan_ranges, wait_for_labels  # noqa: PLC0415
    from trainer.service.requests import RequestRejected, retrain_request  # noqa: PLC0415

    with contextlib.closing(Database(context.data_dir)) as database:
        try:
            job = retrain_request(database.rows, context, model)
        except RequestRejected as error:
            raise CommandError(
                f"{model} cannot be retrained", why=str(error), fix=error.fix
            ) from error
        running = [j.state for j in active_jobs(database.rows) if j.model == model]
        inputs = StepInputs(
            excluded_ranges_of(database.rows, model, partial(context.features_of, model)),
            [],
            excluded_sources_of(database.rows, model),
        )
    workspace = context.workspace(job.job_id)
    try:
        planned = plan_ranges(job, context, workspace, inputs).after
        waited = None
        while waited is None:
            waited = wait_for_labels(planned, context, workspace, inputs)
        ended = (
            waited
            if waited.after.state == "done"
            else build_training_set(waited.after, context, workspace, inputs)
        )
    finally:
        workspace.clear()
    step_event = ended.step_events[0]
    return {
        "model": model,
        "champion": job.champion,
        "factory": job.work.factory or context.factories[model],
        "job_under_way": running[0] if running else None,
        "would_train": step_event.step == "started",
        "reason": step_event.reason,
        **step_event.numbers,
    }


def report_job(job: Job, *, json: bool) -> None:
    """Print the outcome of a job."""
    if json:
        write_json(
            {
                "job_id": job.job_id,
                "model": job.model,
                "champion": job.champion,
                "challenger": job.challenger,
                "outcome": job.outcome,
                "rule": job.work.rule,
                "reason": job.work.reason,
                "numbers": job.work.numbers,
            }
        )
        return
    name = job.model if job.challenger is None else f"{job.model}@{job.challenger}"
    note(f"{name}: {job.outcome}.  {job.work.reason}".rstrip())
