"""What the commands around the trainer share: its settings, and a job that is followed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from driftline.commands.failure import USAGE, Failure
from driftline.commands.output import note

if TYPE_CHECKING:
    import sqlite3

    from trainer.jobs import Job
    from trainer.runtime.bench import Bench

Home: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="DRIFTLINE_TRAINER_HOME",
        help="Folder of the registry and the trainer's database \\[default: .driftline].",
    ),
]
Factory: TypeAlias = Annotated[
    str | None,
    typer.Option("--factory", help="module:function that returns an unfitted estimator."),
]
Wait: TypeAlias = Annotated[
    float, typer.Option("--wait", min=1, help="Seconds to wait for a trainer that runs.")
]


def load_bench(
    config: Path | None,
    *,
    bootstrap_servers: str | None,
    prefix: str | None,
    home: Path | None,
    factories: dict[str, str] | None = None,
    shards: int | None = None,
    web_port: int | None = None,
) -> Bench:
    """The trainer's settings, flags before environment before file, ready to use.

    Raises:
        Failure: the file is not there, or a setting does not fit.
    """
    from pydantic_settings import SettingsConfigDict  # noqa: PLC0415 - light imports

    from trainer.runtime.bench import bench_of  # noqa: PLC0415
    from trainer.settings import Settings  # noqa: PLC0415

    chosen: type[Settings] = Settings
    if config is not None:
        if not config.is_file():
            raise Failure("there is no such settings file", where=str(config), code=USAGE)

        class FromFile(Settings):
            model_config = SettingsConfigDict(toml_file=config)

        chosen = FromFile
    flags: dict[str, Any] = {}
    for section, name, value in (
        ("kafka", "bootstrap_servers", bootstrap_servers),
        ("topics", "prefix", prefix),
        ("trainer", "home", home),
        ("trainer", "factories", factories or None),
        ("trainer", "shards", shards),
        ("trainer", "web", None if web_port is None else {"port": web_port}),
    ):
        if value is not None:
            flags.setdefault(section, {})[name] = value
    try:
        return bench_of(chosen(**flags))
    except ValueError as error:
        raise Failure("a setting of the trainer is wrong", why=str(error), code=USAGE) from error


def carry_out(bench: Bench, make: Callable[[sqlite3.Connection], Job], wait_s: float) -> Job:
    """Record a person's request and see it done: by the trainer that runs, or else here.

    Raises:
        Failure: it was refused, or is not done within ``wait_s``; it stays recorded then.
    """
    from stream_monitor.runtime.logs import configure  # noqa: PLC0415 - light imports
    from trainer.jobs import Database  # noqa: PLC0415
    from trainer.runtime.lock import TrainerRuns, only_trainer  # noqa: PLC0415
    from trainer.runtime.requests import Refused, enter  # noqa: PLC0415
    from trainer.runtime.trainer import Trainer  # noqa: PLC0415

    configure()
    with contextlib.closing(Database(bench.home)) as database:
        try:
            with database.transaction() as rows:
                job = make(rows)
                enter(rows, bench, job)
        except Refused as error:
            raise Failure("that cannot be done", why=str(error), fix=error.fix) from error
        try:
            with only_trainer(bench.home), Trainer(bench) as trainer:
                return trainer.run_job(job.job_id, threading.Event())
        except TrainerRuns:
            note("a trainer runs here; it has the job now")
            return _follow(database, job, wait_s)


def _follow(database: Any, job: Job, wait_s: float) -> Job:
    import time  # noqa: PLC0415

    from trainer.jobs import find_job  # noqa: PLC0415

    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        found = find_job(database.rows, job.job_id)
        if found is not None and found.state == "done":
            return found
        time.sleep(0.1)
    raise Failure(
        f"the job is not done after {wait_s:g} s",
        where=job.job_id,
        fix="the trainer goes on with it; its events tell how it ends",
    )
