"""``driftline models promote`` and ``rollback``: choose the version that is in service."""

from __future__ import annotations

from typing import Annotated

import typer

from driftline.cli.command_error import EXIT_FAILED
from driftline.cli.options import Bootstrap, Config, Json, Prefix
from driftline.cli.retrain import report_job
from driftline.cli.trainer_jobs import DataDir, WaitSeconds, load_trainer_context, run_job_request


def promote(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="A version of the registry.")],
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    data_dir: DataDir = None,
    wait_s: WaitSeconds = 60.0,
    *,
    json: Json = False,
) -> None:
    """Put a version into service: announce it to the monitor, then to the model servers."""
    context = load_trainer_context(
        config, bootstrap_servers=bootstrap_servers, prefix=prefix, data_dir=data_dir
    )
    from trainer.service.requests import promote_request  # noqa: PLC0415 - light imports

    job = run_job_request(
        context, lambda rows: promote_request(rows, context, model, version), wait_s
    )
    report_job(job, json=json)
    if job.outcome != "promoted":
        raise typer.Exit(EXIT_FAILED)


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    data_dir: DataDir = None,
    wait_s: WaitSeconds = 60.0,
    *,
    json: Json = False,
) -> None:
    """Put the previous champion back into service."""
    context = load_trainer_context(
        config, bootstrap_servers=bootstrap_servers, prefix=prefix, data_dir=data_dir
    )
    from trainer.service.requests import rollback_request  # noqa: PLC0415 - light imports

    job = run_job_request(context, lambda rows: rollback_request(rows, context, model), wait_s)
    report_job(job, json=json)
    if job.outcome != "rolled_back":
        raise typer.Exit(EXIT_FAILED)
