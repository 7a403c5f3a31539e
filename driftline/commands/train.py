"""``driftline train``: the trainer, until it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from typing import Annotated, Final

import typer

from driftline.commands.connection import wait_for_kafka
from driftline.commands.failure import USAGE, Failure
from driftline.commands.options import Bootstrap, Config, Prefix
from driftline.commands.training import Factory, Home, load_bench

REACH_S: Final = 15.0


def train(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    home: Home = None,
    model: Annotated[str | None, typer.Option(help="The model that --factory makes.")] = None,
    factory: Factory = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Of a hot model, as its servers have.")
    ] = None,
    web_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Health and metrics; 0 takes any free port."),
    ] = None,
) -> None:
    """Receive alerts, retrain, compare, promote or reject.  One process for each --home.

    Exit codes: 0 stopped as asked, 1 failed (start it again), 2 a setting is wrong, 4 Kafka cannot
    be reached.
    """
    if (model is None) != (factory is None):
        raise Failure("--model and --factory go together", code=USAGE)
    factories = {model: factory} if model is not None and factory is not None else None
    bench = load_bench(
        config,
        bootstrap_servers=bootstrap_servers,
        prefix=prefix,
        home=home,
        factories=factories,
        shards=shards,
        web_port=web_port,
    )
    if not bench.factories:
        raise Failure(
            "there is nothing to train",
            fix="give --model and --factory, or [trainer.factories] in driftline.toml",
            code=USAGE,
        )
    from producer.permission import refuse_missing  # noqa: PLC0415 - light imports
    from stream_monitor.presence import group_of, monitor_group  # noqa: PLC0415
    from stream_monitor.runtime.logs import configure  # noqa: PLC0415
    from trainer.runtime.lock import TrainerRuns, only_trainer  # noqa: PLC0415
    from trainer.runtime.trainer import Trainer  # noqa: PLC0415
    from trainer.runtime.web import PortInUse  # noqa: PLC0415

    refuse_wrong_factories(bench.factories)
    wait_for_kafka(bench.kafka.client(), REACH_S)
    topics = bench.topics
    refuse_missing(
        bench.kafka.client(),
        topics={
            topics.events: ("Read", "Write"),
            topics.alerts: ("Read", "Write"),
            topics.retrain: ("Write",),
            topics.models: ("Read", "Write"),
        },
        groups={group_of(bench.prefix): ("Read",), monitor_group(bench.prefix): ("Describe",)},
    )
    configure()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with only_trainer(bench.home), Trainer(bench) as trainer:
            trainer.serve()
            trainer.run(stop)
    except PortInUse as error:
        why, _, fix = str(error).partition(" Fix: ")
        raise Failure("the trainer's pages have no port", why=why, fix=fix, code=USAGE) from error
    except TrainerRuns as error:
        raise Failure("there is one already", why=str(error), code=USAGE) from error


def refuse_wrong_factories(factories: Mapping[str, str]) -> None:
    """Raise Failure where a factory makes no estimator: no retrain would ever succeed."""
    from trainer.fit.probe import why_not  # noqa: PLC0415 - light imports

    for model, factory in sorted(factories.items()):
        why = why_not(factory)
        if why is not None:
            raise Failure(
                "a factory makes no estimator",
                where=f"{factory}, for {model}",
                why=why,
                fix="name a function that returns an unfitted scikit-learn estimator, as "
                "module:function; run from the folder that holds the module, or install it",
                code=USAGE,
            )
