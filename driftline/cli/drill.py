"""``driftline drill``: measure how soon the running monitor reports an injected change."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import msgspec
import typer

from driftline.cli.command_error import (
    EXIT_CHECK_FAILED,
    EXIT_UNREACHABLE,
    CommandError,
    UsageError,
)
from driftline.cli.connection import connect_redis
from driftline.cli.option_groups import option_groups, server_settings
from driftline.cli.options import Json, Shards, duration_ms
from driftline.cli.output import note, write_json, write_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from driftline.drill.drill_runner import DrillTarget
    from driftline.drill.measurement import DrillMeasurement
    from driftline.offline.injection import Injection
    from stream_monitor.reference.profile import ReferenceProfile
    from stream_monitor.settings import Settings

_MIN_CHANGED_EVENTS: Final = 2_000
_MAX_DELAY_FACTOR: Final = 10
"""The drill gives up after this many times the expected number of events."""


@option_groups(settings=server_settings)
def drill(
    model: Annotated[str, typer.Argument(help="A model that receives events now.")],
    *,
    inject: Annotated[
        str | None,
        typer.Option(
            help="The change: mean:temp:+1sd, missing:temp:0.3 or swap:carrier:UA=AA, for example."
        ),
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Events to copy before the change.")] = 100,
    timeout: Annotated[str, typer.Option(help="How long to wait: 90s, 5m, 2h.")] = "5m",
    shards: Shards = 1,
    settings: Settings,
    clean: Annotated[
        bool, typer.Option("--clean", help="Only remove what killed drills left behind.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Inject a change into a copy of the live events, and measure how soon it is reported.

    The copies go to the event topic as events of a synthetic model.  The trainer ignores them, and
    the monitor forgets the synthetic model at the end.

    Exit codes: 0 found, 2 wrong usage, 3 not found in time, 4 Kafka or Redis unreachable.
    """
    timeout_s = duration_ms(timeout, option="--timeout") / 1000
    if clean == (inject is not None):
        raise UsageError(
            "give either --inject or --clean",
            fix=f"driftline drill {model} --inject mean:temp:+1sd",
        )
    injection = _injection(inject, after) if inject is not None else None
    target, partitions = _drill_target(settings, shards)
    signal.signal(signal.SIGTERM, _interrupt)
    if injection is None:
        _forget_leftovers(target, partitions, model)
        return
    profile = _profile(target, partitions, model)
    measurement = _new_measurement(settings, profile, injection)
    _run(measurement, target, profile, timeout_s, as_json=as_json)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _injection(text: str, after: int) -> Injection:
    from driftline.drill.measurement import injection_of  # noqa: PLC0415 - light imports

    try:
        return injection_of(text, after)
    except ValueError as error:
        raise UsageError(f"--inject {text!r} is not valid", why=str(error)) from error


def _drill_target(settings: Settings, shards: int) -> tuple[DrillTarget, list[int]]:
    """The servers and topics of the drill, and the partitions of the event topic."""
    from driftline.drill.drill_runner import DrillTarget  # noqa: PLC0415
    from driftline.topics.topic_reader import topic_ends  # noqa: PLC0415

    client, topics = settings.kafka.client(), settings.topics
    partitions = sorted(topic_ends(client, topics.events))
    target = DrillTarget(
        client,
        settings.kafka.bootstrap_servers,
        topics.prefix,
        topics.events,
        topics.alerts,
        connect_redis(settings),
        shards,
    )
    return target, partitions


def _forget_leftovers(target: DrillTarget, partitions: Sequence[int], model: str) -> None:
    from driftline.drill.drill_runner import open_event_writer, write_forget_command  # noqa: PLC0415 - light imports
    from driftline.monitor_state.served_profile import leftover_synthetic_models  # noqa: PLC0415

    left = leftover_synthetic_models(target.redis, target.events, partitions, model)
    writer = open_event_writer(target, "/driftline/drill")
    for partition, synthetic_model in left:
        write_forget_command(writer, synthetic_model, [partition])
    n_models = len({synthetic_model for _, synthetic_model in left})
    note(f"{n_models} synthetic model{'' if n_models == 1 else 's'} of {model} removed")


def _profile(target: DrillTarget, partitions: Sequence[int], model: str) -> ReferenceProfile:
    from driftline.monitor_state.served_profile import NotWatchedError, served_profile  # noqa: PLC0415 - light imports

    try:
        return served_profile(target.redis, target.events, partitions, model)
    except NotWatchedError as error:
        raise UsageError(str(error), where=target.events, fix=error.fix) from error


def _new_measurement(
    settings: Settings, profile: ReferenceProfile, injection: Injection
) -> DrillMeasurement:
    """A measurement with the plan of the drill and the expected delay of the alert."""
    from driftline.drill.drill_runner import new_drill_id  # noqa: PLC0415
    from driftline.drill.measurement import DrillMeasurement, DrillPlan  # noqa: PLC0415
    from driftline.offline.explain.detection_delay import expected_delay  # noqa: PLC0415
    from driftline.offline.injection import inapplicable_reason  # noqa: PLC0415
    from producer.synthetic import synthetic_name  # noqa: PLC0415
    from stream_monitor.core.alert_budget import arl0_per_detector  # noqa: PLC0415

    reference = profile.features.get(injection.column)
    if reference is None:
        raise UsageError(
            f"--inject: {profile.model}@{profile.version} has no feature {injection.column!r}",
            fix=f"choose one of {', '.join(sorted(profile.features))}",
        )
    if why := inapplicable_reason(injection, reference.kind):
        raise UsageError("--inject would change nothing", why=why)
    plan = DrillPlan(
        model=profile.model,
        version=profile.version,
        injection=injection,
        synthetic_model=synthetic_name(profile.model, new_drill_id()),
        sd=reference.sd or 0.0,
    )
    spec = settings.monitor_spec()
    arl0 = arl0_per_detector(profile, spec.budget)
    return DrillMeasurement(plan, expected_delay(reference, injection, arl0, spec.episodes))


def _run(
    measurement: DrillMeasurement,
    target: DrillTarget,
    profile: ReferenceProfile,
    timeout_s: float,
    *,
    as_json: bool,
) -> None:
    from driftline.drill.drill_runner import Drill  # noqa: PLC0415 - light imports
    from driftline.drill.messages import found_lines, reason_not_found  # noqa: PLC0415
    from producer.writer import DeliveryError  # noqa: PLC0415

    plan, expected = measurement.plan, measurement.expected
    delay = (
        f"an alert is expected after {expected.low:,} to {expected.high:,} more events"
        if expected
        else "no alert is expected with these settings"
    )
    note(f"{plan.synthetic_model}: {plan.unchanged_events:,} unchanged events, then the change")
    note(delay)
    most = (
        max(_MIN_CHANGED_EVENTS, _MAX_DELAY_FACTOR * expected.high)
        if expected
        else _MIN_CHANGED_EVENTS
    )
    try:
        with Drill(measurement, target) as running:
            at_end = running.run(profile, timeout_s, most)
    except DeliveryError as error:
        raise CommandError(
            "Kafka did not acknowledge the copies",
            where=target.events,
            why=str(error),
            fix=f"when Kafka answers again, run driftline drill {plan.model} --clean",
            code=EXIT_UNREACHABLE,
        ) from error
    report = measurement.report()
    reason = None if report.found else reason_not_found(report, at_end)
    if as_json:
        why = None if reason is None else reason.why
        write_json(msgspec.to_builtins(report) | {"why": why}, indent=0)
    elif reason is None:
        write_lines(found_lines(report))
    if reason is not None:
        raise CommandError(
            "the change was not found",
            where=f"{plan.model}@{plan.version}",
            why=reason.why,
            fix=reason.fix,
            code=EXIT_CHECK_FAILED,
        )
