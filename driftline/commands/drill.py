"""``driftline drill``: how soon would a change be reported, end to end, here and now?"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import msgspec
import typer

from driftline.commands.connection import connect_redis, load_settings
from driftline.commands.failure import CHECK_FAILED, UNREACHABLE, USAGE, Failure
from driftline.commands.handling import duration_ms
from driftline.commands.options import Bootstrap, Config, Json, Prefix, RedisUrl
from driftline.commands.output import note, write_json, write_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from driftline.drill.run import Place
    from driftline.drill.watch import Watch
    from producer.injection import Injection
    from stream_monitor.reference.profile import ReferenceProfile
    from stream_monitor.settings import Settings

_LEAST_CHANGED: Final = 2_000
_PATIENCE: Final = 10
"""So many times what is expected may pass without an alert before the drill gives up."""


def drill(
    model: Annotated[str, typer.Argument(help="A model whose events come now.")],
    inject: Annotated[
        str | None,
        typer.Option(help="The change, like mean:temp:+1sd, missing:temp:0.3, swap:carrier:UA=AA."),
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Events that stay as they are.")] = 100,
    timeout: Annotated[str, typer.Option(help="How long to wait: 90s, 5m, 2h.")] = "5m",
    shards: Annotated[int, typer.Option(min=1, help="Of a hot model, as its servers have.")] = 1,
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    *,
    clean: Annotated[
        bool, typer.Option("--clean", help="Only forget what drills that were killed left.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a change into a shadow copy of the live events, and measure how soon it is reported.

    The copies go into the same log, under a name of their own that marks them; the trainer ignores
    them, and the monitor forgets the shadow at the end.

    Exit codes: 0 found, 2 wrong usage, 3 not found in time, 4 Kafka or Redis cannot be reached.
    """
    timeout_s = duration_ms(timeout, option="--timeout") / 1000
    settings = load_settings(
        config, bootstrap_servers=bootstrap_servers, redis_url=redis_url, prefix=prefix
    )
    if clean == (inject is not None):
        raise Failure("say either --inject or --clean", fix="--inject mean:temp:+1sd", code=USAGE)
    injection = _injection(inject, after) if inject is not None else None
    place, partitions = _place(settings, shards)
    signal.signal(signal.SIGTERM, _interrupt)
    if injection is None:
        _clean(place, partitions, model)
        return
    profile = _profile(place, partitions, model)
    watch = _watch(settings, profile, injection)
    _run(watch, place, profile, timeout_s, as_json=as_json)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _injection(text: str, after: int) -> Injection:
    from driftline.drill.plan import injection_of  # noqa: PLC0415 - light imports

    try:
        return injection_of(text, after)
    except ValueError as error:
        raise Failure("--inject is not understood", why=str(error), code=USAGE) from error


def _place(settings: Settings, shards: int) -> tuple[Place, list[int]]:
    """Where it takes place, and the partitions of the log."""
    from driftline.drill.run import Place  # noqa: PLC0415 - light imports
    from driftline.reading import topic_ends  # noqa: PLC0415

    client, topics = settings.kafka.client(), settings.topics
    try:
        partitions = sorted(topic_ends(client, topics.events))
    except LookupError as error:
        raise Failure(str(error), fix="driftline topics create") from error
    place = Place(
        client, settings.kafka.bootstrap_servers, topics.prefix, topics.events, topics.alerts,
        connect_redis(settings), shards,
    )  # fmt: skip
    return place, partitions


def _clean(place: Place, partitions: Sequence[int], model: str) -> None:
    from driftline.drill.live import shadows_left  # noqa: PLC0415 - light imports
    from driftline.drill.run import forget, writer  # noqa: PLC0415

    left = shadows_left(place.redis, place.events, partitions, model)
    log = writer(place, "/driftline/drill")
    for partition, shadow in left:
        forget(log, shadow, [partition])
    note(f"{len({shadow for _, shadow in left})} shadows of {model} are forgotten")


def _profile(place: Place, partitions: Sequence[int], model: str) -> ReferenceProfile:
    from driftline.drill.live import NotWatched, live_profile  # noqa: PLC0415 - light imports

    try:
        return live_profile(place.redis, place.events, partitions, model)
    except NotWatched as error:
        raise Failure(str(error), where=place.events, fix=error.fix, code=USAGE) from error


def _watch(settings: Settings, profile: ReferenceProfile, injection: Injection) -> Watch:
    """The plan of the drill, and when the alert is to be expected."""
    from driftline.drill.plan import Plan  # noqa: PLC0415 - light imports
    from driftline.drill.run import new_drill_id  # noqa: PLC0415
    from driftline.drill.watch import Watch  # noqa: PLC0415
    from driftline.explain.injected import expected_events  # noqa: PLC0415
    from producer.drill import shadow_of  # noqa: PLC0415
    from producer.injection import why_not  # noqa: PLC0415
    from stream_monitor.watched.allowance import arl0_of  # noqa: PLC0415

    reference = profile.features.get(injection.column)
    if reference is None:
        raise Failure(
            f"--inject: {injection.column!r} is no feature of {profile.model}@{profile.version}",
            fix=f"one of {', '.join(sorted(profile.features))}", code=USAGE,
        )  # fmt: skip
    if why := why_not(injection, reference.kind):
        raise Failure("--inject would change nothing", why=why, code=USAGE)
    plan = Plan(
        model=profile.model, version=profile.version, injection=injection,
        shadow=shadow_of(profile.model, new_drill_id()), sd=reference.sd or 0.0,
    )  # fmt: skip
    spec = settings.monitor_spec()
    arl0 = arl0_of(profile, spec.budget)
    return Watch(plan, expected_events(reference, injection, arl0, spec.episodes))


def _run(
    watch: Watch, place: Place, profile: ReferenceProfile, timeout_s: float, *, as_json: bool
) -> None:
    from driftline.drill.run import Drill  # noqa: PLC0415 - light imports
    from driftline.drill.verdict import found_lines, missed  # noqa: PLC0415
    from producer.writer import Undelivered  # noqa: PLC0415

    plan, expected = watch.plan, watch.expected
    band = f"{expected.low:,} to {expected.high:,} events" if expected else "none by the settings"
    note(f"{plan.shadow}: {plan.after:,} events as they are, then the change; expected: {band}")
    most = max(_LEAST_CHANGED, _PATIENCE * expected.high) if expected else _LEAST_CHANGED
    try:
        with Drill(watch, place) as running:
            at_end = running.run(profile, timeout_s, most)
    except LookupError as error:
        raise Failure(str(error), fix="driftline topics create") from error
    except Undelivered as error:
        raise Failure(
            "Kafka did not take the copies", where=place.events, why=str(error),
            fix=f"when it is back: driftline drill {plan.model} --clean", code=UNREACHABLE,
        ) from error  # fmt: skip
    report = watch.report()
    reason = None if report.found else missed(report, at_end)
    if as_json:
        why = None if reason is None else reason.why
        write_json(msgspec.to_builtins(report) | {"why": why}, indent=0)
    elif reason is None:
        write_lines(found_lines(report))
    if reason is not None:
        raise Failure(
            "the change was not found", where=f"{plan.model}@{plan.version}", why=reason.why,
            fix=reason.fix, code=CHECK_FAILED,
        )  # fmt: skip
