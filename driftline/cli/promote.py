"""``driftline models promote`` and ``rollback``: choose the version that is in service."""

from __future__ import annotations

from typing import Annotated

import typer

from driftline.cli.command_error import EXIT_FAILED
from driftline.cli.option_groups import option_groups
from driftline.cli.options import Json
from driftline.cli.retrain import report_job
from driftline.cli.trainer_jobs import TrainerOptions, WaitSeconds, run_job_request, trainer_options


@option_groups(options=trainer_options)
def promote(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="A version of the registry.")],
    options: TrainerOptions,
    wait_s: WaitSeconds = 60.0,
    *,
    json: Json = False,
) -> None:
    """Put a version into service: announce it to the monitor, then to the model servers."""
    context = options.context()
    from trainer.service.requests import promote_request  # noqa: PLC0415 - light imports

    job = run_job_request(
        context, lambda rows: promote_request(rows, context, model, version), wait_s
    )
    report_job(job, json=json)
    if job.outcome != "promoted":
        raise typer.Exit(EXIT_FAILED)


@option_groups(options=trainer_options)
def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    options: TrainerOptions,
    wait_s: WaitSeconds = 60.0,
    *,
    json: Json = False,
) -> None:
    """Put the previous champion back into service."""
    context = options.context()
    from trainer.service.requests import rollback_request  # noqa: PLC0415 - light imports

    job = run_job_request(context, lambda rows: rollback_request(rows, context, model), wait_s)
    report_job(job, json=json)
    if job.outcome != "rolled_back":
        raise typer.Exit(EXIT_FAILED)
