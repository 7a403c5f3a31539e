"""``driftline explain``: show the thresholds, and the smallest changes they can detect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec
import typer

from driftline.cli.command_error import UsageError
from driftline.cli.connection import connect_redis
from driftline.cli.input_files import file_errors_explained, note_columns_not_watched, read_rows
from driftline.cli.option_groups import file_options, option_groups, redis_settings
from driftline.cli.options import Json, TimeColumn, TimeFormat
from driftline.cli.output import note, write_json, write_line, write_lines
from driftline.cli.profile import read_profile

if TYPE_CHECKING:
    from driftline.offline.explain.minimum_detectable_effect import DetectableEffect
    from driftline.offline.explain.threshold_calibration import EffectiveBudget
    from driftline.offline.tables.read_options import ReadOptions
    from stream_monitor.reference.profile import ReferenceProfile
    from stream_monitor.settings import Settings

_DEFAULT_RATE: Final = 1_000.0
_HOUR_MS: Final = 3_600_000
_WEEK_HOURS: Final = 7 * 24

app = typer.Typer(
    no_args_is_help=True, help="Explain the thresholds, and which changes they can detect."
)

_FILE_SUFFIXES: Final = frozenset(
    {".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".pq", ".gz"}
)
"""A source with one of these suffixes is a file; other names with a dot may be models."""

SourceArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="A profile (driftline profile build), a file of rows, or the name of a watched model."
    ),
]


@app.command()
@option_groups(settings=redis_settings, read_options=file_options)
def calibration(
    source: SourceArgument,
    *,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    read_options: ReadOptions,
    settings: Settings,
    as_json: Json = False,
) -> None:
    """Show the thresholds of every signal, derived from the false-alarm budget.

    For a watched model they are those of the version in service, read from Redis.  A budget per
    week is converted with the number of events a week in the reference.
    """
    from driftline.offline.explain.threshold_calibration import (  # noqa: PLC0415
        calibration_of,
        effective_budget,
        rate_fix,
    )

    profile, per_hour = _profile(source, settings, RowOptions(time, time_format, read_options))
    budget = settings.monitor_spec().budget
    channels, effective = calibration_of(profile, budget), effective_budget(profile, budget)
    if as_json:
        write_json({**msgspec.to_builtins(effective), "channels": channels, **_scope_data(profile)})
        return
    if effective.per_weeks is not None:
        fix = rate_fix(
            from_rows=_is_file(source) and not _is_profile(source), timed=time is not None
        )
        write_lines(
            _weekly_budget_text(effective, None if time is not None else per_hour, fix).split("\n")
        )
    n_detectors = round(channels[0].arl0_events * effective.false_alerts / effective.per_events)
    write_line(
        f"  {effective.false_alerts:g} false alerts in {effective.per_events:,} events of the "
        f"model, over {n_detectors} detectors: one per detector in "
        f"{channels[0].arl0_events:,.0f} events"
    )
    write_line("")
    width = max(len(one.series) for one in channels)
    write_line(f"  {'series':<{width}}  channel   block    tau  Page-Hinkley  ADWIN's delta")
    for one in channels:
        adwin = "off: reference moves" if one.adwin_delta is None else f"{one.adwin_delta:.1e}"
        note = "   wider, because the reference is short" if one.short else ""
        write_line(
            f"  {one.series:<{width}}  {one.channel:<8} {one.block:>6} {one.tau:>6.1f}"
            f"  {one.page_hinkley:>9.2f} sd  {adwin}{note}"
        )
    _write_scope(profile)


@app.command()
@option_groups(settings=redis_settings, read_options=file_options)
def power(
    source: SourceArgument,
    *,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Events an hour \\[default: that of the file or the model, else 1,000]."
        ),
    ] = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    read_options: ReadOptions,
    settings: Settings,
    as_json: Json = False,
) -> None:
    """Show the smallest change of each feature that raises an alert within an hour or a day.

    About half of such changes raise an alert in that time, the others later.  For a watched model
    the reference, and the event rate of its last closed windows, are read from Redis.
    """
    from driftline.offline.explain.minimum_detectable_effect import minimum_detectable_effects  # noqa: PLC0415 - light imports

    profile, measured = _profile(source, settings, RowOptions(time, time_format, read_options))
    per_hour = rate or measured or _DEFAULT_RATE
    spec = settings.monitor_spec()
    if spec.budget.per_weeks is not None and profile.events_per_week is None:
        note(
            "the reference has no number of events a week, so the budget holds per events; "
            "see driftline explain calibration"
        )
    features = minimum_detectable_effects(profile, spec.budget, spec.episodes, per_hour)
    if as_json:
        write_json({"events_per_hour": per_hour, "features": features, **_scope_data(profile)})
        return
    write_line(
        f"  at {per_hour:,.4g} events an hour; for booleans and categories, the share that moves"
    )
    width = max(6, *(len(one.series) for one in features))
    write_line(
        f"  {'series':<{width}}      mean      within an hour        within a day"
        "    missing: hour    day"
    )
    for one in features:
        mean = "" if one.mean is None else f"{one.mean:.4g}"
        write_line(
            f"  {one.series:<{width}}  {mean:>8}  {_change(one.within_hour):>18}"
            f"  {_change(one.within_day):>18}"
            f"  {_share(one.missing_within_hour):>15}  {_share(one.missing_within_day):>5}"
        )
    _write_scope(profile)


def _scope_data(profile: ReferenceProfile) -> dict[str, Any]:
    """Seasons that the reference has, and the parts of features that are not watched."""
    from driftline.offline.explain.reference_limits import not_watched_by_feature, seasons_of  # noqa: PLC0415 - light imports

    return {"seasons": seasons_of(profile), "not_watched": not_watched_by_feature(profile)}


def _write_scope(profile: ReferenceProfile) -> None:
    from driftline.offline.explain.reference_limits import lines_of  # noqa: PLC0415 - light imports

    if lines := lines_of(profile):
        write_lines(["", *(f"  {line}" for line in lines)])


def _weekly_budget_text(effective: EffectiveBudget, per_hour_now: float | None, fix: str) -> str:
    """The conversion of a budget per week; ``per_hour_now`` is the present rate of the model."""
    stated = (
        f"  {effective.false_alerts:g} false alerts in {effective.per_weeks:g} weeks of event time"
    )
    if effective.events_per_week is None:
        return (
            f"{stated}: the reference has no number of events a week, so the budget holds per "
            f"events\n  ({fix})"
        )
    now = ""
    if per_hour_now is not None:
        now = f"; at present there are {per_hour_now * _WEEK_HOURS:,.0f}"
    return (
        f"{stated}, at the {effective.events_per_week:,.0f} events a week of the reference{now}"
        "\n  (with twice the events there are twice the false alerts a week)"
    )


def _change(smallest: DetectableEffect | None) -> str:
    if smallest is None:
        return "none is detected"
    if smallest.sd is None:
        return _share(smallest.units)
    return f"{smallest.units:.3g} ({smallest.sd:.2g} sd)"


def _share(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.2g} %"


class RowOptions(NamedTuple):
    """The options that describe the rows of a file."""

    time: str | None
    time_format: str | None
    read_options: ReadOptions

    def reject(self, source: str, why: str, fix: str = "") -> None:
        """Reject these options for a ``source`` without rows.

        Raises:
            CommandError: one of the options was given.
        """
        if self.time is not None or self.time_format is not None:
            raise UsageError(f"--time {why}", where=source, fix=fix)
        if self.read_options != type(self.read_options)():
            raise UsageError(
                "--ignore, --numeric, --categorical, --separator, --decimal and --encoding need a "
                "file of rows",
                where=source,
                fix="leave these options out, or name a file of rows",
            )


def _profile(
    source: str, settings: Settings, rows: RowOptions
) -> tuple[ReferenceProfile, float | None]:
    """The reference of ``source``, and its events an hour or ``None``."""
    if _is_file(source):
        return _profile_of_file(Path(source), rows)
    rows.reject(source, f"needs a file of rows, and {source} is a model", "leave --time out")
    return _profile_of_model(source, settings)


def _is_file(source: str) -> bool:
    """Whether the source is the path of a file, which may not exist."""
    file = Path(source)
    return file.is_file() or "/" in source or file.suffix.lower() in _FILE_SUFFIXES


def _is_profile(source: str | Path) -> bool:
    """Whether a file is a profile: a single JSON object.  Several, or an array, are rows."""
    file = Path(source)
    if file.suffix.lower() != ".json" or not file.is_file():
        return file.suffix.lower() == ".json"
    content = file.read_bytes()
    try:
        return isinstance(msgspec.json.decode(content), dict)
    except msgspec.DecodeError:
        return b"\n{" not in content and not content.lstrip().startswith(b"[")


def _profile_of_model(model: str, settings: Settings) -> tuple[ReferenceProfile, float | None]:
    """The profile of the version in service, from the monitor's state."""
    from driftline.monitor_state.served_profile import NotWatchedError, read_watched_model  # noqa: PLC0415 - light imports

    topics = settings.topics
    try:
        found = read_watched_model(connect_redis(settings), topics.events, topics.prefix, model)
    except NotWatchedError as error:
        raise UsageError(
            str(error), where=topics.events, why=f"there is no file {model!r} either", fix=error.fix
        ) from error
    rate = "" if found.per_hour is not None else "; its event rate is unknown, as no window closed"
    note(f"using the monitor's reference of {model}@{found.profile.version}{rate}")
    return found


def _profile_of_file(file: Path, rows: RowOptions) -> tuple[ReferenceProfile, float | None]:
    """The profile in a file, or the profile of a file of rows; and its events an hour."""
    if _is_profile(file):
        rows.reject(
            str(file),
            "needs a file of rows, and this is a profile",
            "give --time or --events-per-week to driftline profile build",
        )
        return read_profile(file), None
    with file_errors_explained():
        from driftline.offline.tables.event_times import times_ms, with_times  # noqa: PLC0415
        from driftline.offline.tables.layout import layout_of  # noqa: PLC0415 - light imports
        from driftline.offline.tables.reference_profile import profile_of  # noqa: PLC0415

        table = read_rows(file, rows.read_options)
        table.frame = with_times(table.frame, rows.time, rows.time_format)
        layout = layout_of(table, time=rows.time)
        profile = profile_of(table.frame, layout, model="file", version="1")
        times = [] if rows.time is None else times_ms(table.frame[rows.time])
    note_columns_not_watched(layout.ignored | profile.skipped)
    span_ms = max(times, default=0) - min(times, default=0)
    return profile, len(table.frame) * _HOUR_MS / span_ms if span_ms else None
