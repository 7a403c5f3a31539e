"""``driftline models register``: a model that was trained elsewhere joins the registry."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.commands.connection import wait_for_kafka
from driftline.commands.failure import USAGE, Failure
from driftline.commands.options import Bootstrap, Config, Prefix
from driftline.commands.output import note
from driftline.commands.profile import read_profile
from driftline.commands.train import REACH_S, refuse_wrong_factories
from driftline.commands.training import Factory, Home, load_bench
from producer.names import reference_of

if TYPE_CHECKING:
    from trainer.jobs import Champion


def register(
    artifact: Annotated[
        Path, typer.Argument(help="The fitted model, as skops.io.dump(model, FILE) writes it.")
    ],
    profile: Annotated[
        Path, typer.Option(help="Its reference, as `driftline profile build` writes it.")
    ],
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    home: Home = None,
    factory: Factory = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Of a hot model, as its servers have.")
    ] = None,
) -> None:
    """Store a model that was trained elsewhere; the first version of a model is put into service.

    Model and version are those of the profile.  Where another version serves, this one is stored
    only: `driftline models promote` puts it into service.  Doing it again changes nothing.
    """
    factories = None
    made = read_profile(profile)
    if factory is not None:
        factories = {made.model: factory}
        refuse_wrong_factories(factories)
    bench = load_bench(
        config, bootstrap_servers=bootstrap_servers, prefix=prefix, home=home,
        factories=factories, shards=shards,
    )  # fmt: skip
    from trainer.registry.errors import RegistryError  # noqa: PLC0415 - light imports
    from trainer.runtime.enlist import enlist  # noqa: PLC0415

    now_ms = time.time_ns() // 1_000_000
    name = reference_of(made.model, made.version)
    champion = _champion(bench.home, made.model)
    try:
        if champion is not None and champion.version != made.version:
            bench.registry.store(
                artifact, model=made.model, version=made.version, profile=made, training={},
                metrics={}, factory=factory or "", caused_by="register", time_ms=now_ms,
            )  # fmt: skip
            note(
                f"{name} is stored; {reference_of(made.model, champion.version)} goes on serving",
                f"to put it into service: driftline models promote {made.model} {made.version}",
            )
            return
        wait_for_kafka(bench.kafka.client(), REACH_S)
        enlist(
            artifact, made, home=bench.home, bootstrap_servers=bench.kafka.bootstrap_servers,
            time_ms=now_ms, prefix=bench.prefix, shards=bench.shards,
            librdkafka=bench.kafka.librdkafka, factory=factory or "",
        )  # fmt: skip
    except RegistryError as error:
        raise Failure(
            "the model cannot be registered",
            where=str(artifact),
            why=str(error),
            fix='write it with skops.io.dump(model, "model.skops"); nothing is unpickled',
            code=USAGE,
        ) from error
    note(f"{name} is stored and serves")
    if not factory:
        note("no --factory: `driftline train` needs one to retrain it")


def _champion(home: Path, model: str) -> Champion | None:
    from trainer.jobs import Database, champion_of  # noqa: PLC0415 - light imports

    with contextlib.closing(Database(home)) as database:
        return champion_of(database.rows, model)
