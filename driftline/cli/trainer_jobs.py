"""Load the trainer's settings, and run a job that a person requested."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from driftline.cli.command_error import EXIT_USAGE, CommandError
from driftline.cli.connection import load_file_settings
from driftline.cli.output import note

if TYPE_CHECKING:
    import sqlite3

    from trainer.jobs.job import Job
    from trainer.service.context import TrainerContext

DataDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="DRIFTLINE_TRAINER_DATA_DIR",
        help="Folder with the trainer's database and the registry \\[default: .driftline].",
    ),
]
Factory: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--factory", help="Function that returns an unfitted estimator, as module:function."
    ),
]
WaitSeconds: TypeAlias = Annotated[
    float, typer.Option("--wait", min=1, help="Seconds to wait for a running trainer.")
]


def load_trainer_context(
    config: Path | None,
    *,
    bootstrap_servers: str | None,
    prefix: str | None,
    data_dir: Path | None,
    factories: dict[str, str] | None = None,
    shards: int | None = None,
    web_port: int | None = None,
) -> TrainerContext:
    """Load the trainer's settings: flags, then environment, then file, then defaults.

    Raises:
        CommandError: the file does not exist, or a setting is invalid.
    """
    from trainer.service.context import context_from_settings  # noqa: PLC0415 - light imports
    from trainer.settings import Settings  # noqa: PLC0415

    flags: dict[str, Any] = {}
    for section, name, value in (
        ("kafka", "bootstrap_servers", bootstrap_servers),
        ("topics", "prefix", prefix),
        ("trainer", "data_dir", data_dir),
        ("trainer", "factories", factories or None),
        ("trainer", "shards", shards),
        ("trainer", "web", None if web_port is None else {"port": web_port}),
    ):
        if value is not None:
            flags.setdefault(section, {})[name] = value
    try:
        return context_from_settings(load_file_settings(Settings, config, flags))
    except ValueError as error:
        raise CommandError(
            "a setting of the trainer is invalid", why=str(error), code=EXIT_USAGE
        ) from error


def run_job_request(
    context: TrainerContext, make: Callable[[sqlite3.Connection], Job], wait_s: float
) -> Job:
    """Record a job, and wait until the running trainer has done it; without one, run it here.

    Raises:
        CommandError: the request was rejected, or the job is not done within ``wait_s`` seconds;
            then it stays recorded.
    """
    from stream_monitor.runtime.logs import configure  # noqa: PLC0415 - light imports
    from trainer.jobs.database import Database  # noqa: PLC0415
    from trainer.service.lock import TrainerAlreadyRunning, trainer_lock  # noqa: PLC0415
    from trainer.service.requests import RequestRejected, add_request  # noqa: PLC0415
    from trainer.service.trainer import Trainer  # noqa: PLC0415

    configure()
    with contextlib.closing(Database(context.data_dir)) as database:
        try:
            with database.transaction() as rows:
                job = make(rows)
                add_request(rows, context, job)
        except RequestRejected as error:
            raise CommandError("the request was rejected", why=str(error), fix=error.fix) from error
        try:
            with trainer_lock(context.data_dir), Trainer(context) as trainer:
                return trainer.run_job(job.job_id, threading.Event())
        except TrainerAlreadyRunning:
            note("a trainer is running; it takes the job")
            return _wait_for_job(database, job, wait_s)


def _wait_for_job(database: Any, job: Job, wait_s: float) -> Job:
    import time  # noqa: PLC0415

    from trainer.jobs.job_store import find_job  # noqa: PLC0415

    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        found = find_job(database.rows, job.job_id)
        if found is not None and found.state == "done":
            return found
        time.sleep(0.1)
    raise CommandError(
        f"the job is not done after {wait_s:g} s",
        where=job.job_id,
        fix="the trainer continues with it and publishes the outcome on the retrain topic",
    )
