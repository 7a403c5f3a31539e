"""``driftline models promote`` and ``rollback``: a person says which version serves."""

from __future__ import annotations

from typing import Annotated

import typer

from driftline.commands.failure import RUNTIME
from driftline.commands.options import Bootstrap, Config, Json, Prefix
from driftline.commands.retrain import tell
from driftline.commands.training import Home, Wait, carry_out, load_bench


def promote(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="A version of the registry.")],
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    home: Home = None,
    wait_s: Wait = 60.0,
    *,
    json: Json = False,
) -> None:
    """Put a version into service: announce it to the monitor first, then to the model servers."""
    bench = load_bench(config, bootstrap_servers=bootstrap_servers, prefix=prefix, home=home)
    from trainer.runtime.requests import promote_request  # noqa: PLC0415 - light imports

    job = carry_out(bench, lambda rows: promote_request(rows, bench, model, version), wait_s)
    tell(job, json=json)
    if job.outcome != "promoted":
        raise typer.Exit(RUNTIME)


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    home: Home = None,
    wait_s: Wait = 60.0,
    *,
    json: Json = False,
) -> None:
    """Bring the champion before the current one back."""
    bench = load_bench(config, bootstrap_servers=bootstrap_servers, prefix=prefix, home=home)
    from trainer.runtime.requests import rollback_request  # noqa: PLC0415 - light imports

    job = carry_out(bench, lambda rows: rollback_request(rows, bench, model), wait_s)
    tell(job, json=json)
    if job.outcome != "rolled_back":
        raise typer.Exit(RUNTIME)
