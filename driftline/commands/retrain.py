"""``driftline retrain``: a retrain that a person asks for, or what would come of one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.commands.failure import RUNTIME, USAGE, Failure
from driftline.commands.options import Bootstrap, Config, Json, Prefix
from driftline.commands.output import note, write_json
from driftline.commands.training import Factory, Home, Wait, carry_out, load_bench

if TYPE_CHECKING:
    from trainer.jobs import Job
    from trainer.runtime.bench import Bench


def retrain(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    home: Home = None,
    factory: Factory = None,
    wait_s: Wait = 3600.0,
    *,
    now: Annotated[
        bool, typer.Option("--now", help="Retrain now: no cooldown, no budget, the same gate.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the log and say what is there; change nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a challenger on the newest labelled events, and let the gate decide.

    Exit codes: 0 promoted or rejected by the gate, 1 it came to nothing, 2 wrong usage, 4 Kafka
    cannot be reached.
    """
    if now == dry_run:
        raise Failure("say either --now or --dry-run", code=USAGE)
    factories = {model: factory} if factory is not None else None
    bench = load_bench(
        config, bootstrap_servers=bootstrap_servers, prefix=prefix, home=home, factories=factories
    )
    from trainer.runtime.requests import retrain_request  # noqa: PLC0415 - light imports

    if dry_run:
        found = look(bench, model)
        if json:
            write_json(found)
        else:
            for name, value in found.items():
                note(f"{name.replace('_', ' '):<22} {value}")
        return
    job = carry_out(bench, lambda rows: retrain_request(rows, bench, model), wait_s)
    tell(job, json=json)
    if job.outcome not in ("promoted", "rejected"):
        raise typer.Exit(RUNTIME)


def look(bench: Bench, model: str) -> dict[str, Any]:
    """What a retrain would find: the champion, the factory, the labelled events."""
    from trainer.jobs import Database, active_jobs  # noqa: PLC0415 - light imports
    from trainer.jobs.ledger import spans_of  # noqa: PLC0415
    from trainer.runtime.bench import Facts  # noqa: PLC0415
    from trainer.runtime.gather import plan, read, wait  # noqa: PLC0415
    from trainer.runtime.requests import Refused, retrain_request  # noqa: PLC0415

    with contextlib.closing(Database(bench.home)) as database:
        try:
            job = retrain_request(database.rows, bench, model)
        except Refused as error:
            raise Failure("that cannot be done", why=str(error), fix=error.fix) from error
        running = [j.state for j in active_jobs(database.rows) if j.model == model]
        facts = Facts(spans_of(database.rows, model), [])
    desk = bench.desk(job.job_id)
    try:
        planned = plan(job, bench, desk, facts).after
        waited = None
        while waited is None:
            waited = wait(planned, bench, desk, facts)
        ended = waited if waited.after.state == "done" else read(waited.after, bench, desk, facts)
    finally:
        desk.clear()
    told = ended.told[0]
    return {
        "model": model,
        "champion": job.champion,
        "factory": job.work.factory or bench.factories[model],
        "job_under_way": running[0] if running else None,
        "would_train": told.step == "started",
        "reason": told.reason,
        **told.numbers,
    }


def tell(job: Job, *, json: bool) -> None:
    """How a job ended."""
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
