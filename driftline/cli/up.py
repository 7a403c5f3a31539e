"""``driftline up``: a local Kafka and Redis with monitor, dashboard and trainer, for own events."""

from __future__ import annotations

import contextlib
import signal
from typing import Annotated

import typer

from driftline.cli.options import Config, Prefix
from driftline.cli.output import write_line
from driftline.cli.trainer_jobs import (
    DataDir,
    Factory,
    FactoryModel,
    TrainerOptions,
    factory_of_model,
)


def up(
    config: Config = None,
    prefix: Prefix = None,
    model: FactoryModel = None,
    factory: Factory = None,
    data_dir: DataDir = None,
    port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Port of the dashboard on 127.0.0.1.")
    ] = 8765,
) -> None:
    """Run driftline on this machine: Kafka, Redis, monitor, dashboard and trainer, until Ctrl-C.

    Kafka and Redis of the environment (KAFKA_BOOTSTRAP_SERVERS, REDIS_URL) are used where they are
    set.  What is started here forgets its events at the end; the trainer keeps its models in
    --data-dir.  What ends is started again.  The trainer is started for --factory, or for the
    factories of the settings file.

    Exit codes: 0 stopped by Ctrl-C, 1 a process cannot be started again, 2 invalid setting, 4
    Kafka or Redis did not start.
    """
    chosen = factory_of_model("up", model, factory)
    context = TrainerOptions(config, None, prefix, data_dir).context(factories=chosen)
    from driftline.stack.own_stack import OwnStack, StackOptions  # noqa: PLC0415 - light imports

    flags = ("--model", str(model), "--factory", str(factory)) if chosen else ()
    options = StackOptions(
        prefix=context.prefix,
        dashboard_port=port,
        factory=flags if context.factories else None,
        data_dir=data_dir,
        settings_file=config,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it stops in order, as on Ctrl-C
    with contextlib.suppress(KeyboardInterrupt), OwnStack.start(options) as stack:
        write_line(f"Dashboard {stack.dashboard_url}")
        for line in stack.servers.describe():
            write_line(line)
        names = ", ".join(sorted(context.factories))
        write_line(
            f"Trainer   retrains {names}"
            if names
            else "Trainer   not started: no model has a factory; give --model and --factory"
        )
        write_line("")
        write_line("In a second terminal:")
        for name, value in stack.exports.items():
            write_line(f"  export {name}={value}")
        write_line("")
        write_line("Ctrl-C stops all of it.")
        stack.wait_until_stopped()
