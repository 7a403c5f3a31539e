"""``driftline coverage``: the share of recent events that was watched, and why not the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.command_error import CommandError
from driftline.cli.connection import connect_redis
from driftline.cli.option_groups import option_groups, redis_settings
from driftline.cli.options import Json
from driftline.cli.output import write_json, write_lines

if TYPE_CHECKING:
    from stream_monitor.settings import Settings

ModelName = Annotated[str | None, typer.Argument(help="Name of the model \\[default: all models].")]


@option_groups(settings=redis_settings)
def coverage(*, model: ModelName = None, settings: Settings, as_json: Json = False) -> None:
    """Show the share of the last hour's events that was watched, and why the rest was not."""
    from driftline.monitor_state.coverage_report import (  # noqa: PLC0415
        coverage_of_model,
        lines_of,
        read_coverage,
        report_heading,
    )
    from driftline.monitor_state.partition_state import partitions_in  # noqa: PLC0415

    topic = settings.topics.events
    redis = connect_redis(settings)
    report = read_coverage(redis, topic, partitions_in(redis, topic))
    if model is not None:
        known = ", ".join(one.model for one in report.models if one.model)
        report = report._replace(models=list(coverage_of_model(report, model)))
        if not report.models:
            raise CommandError(
                f"{topic} has no accepted event of a model {model!r}",
                fix=f"choose one of {known}"
                if known
                else "start driftline monitor, and a model server that publishes events",
            )
    if as_json:
        write_json({"as_of_ms": report.as_of_ms, "models": report.models})
    else:
        write_lines([report_heading(report), *lines_of(report)])
