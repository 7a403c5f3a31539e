"""``driftline explain``: what the budget became, and what it can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec
import typer

from driftline.cli.command_error import EXIT_USAGE, CommandError
from driftline.cli.connection import connect_redis, load_settings
from driftline.cli.input_files import file_errors_explained, note_unwatched_columns, read_rows
from driftline.cli.options import (
    Categorical,
    Config,
    DecimalMark,
    Encoding,
    Ignore,
    Json,
    Numeric,
    Prefix,
    RedisUrl,
    Separator,
    TimeColumn,
    TimeFormat,
    read_options_of,
)
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

app = typer.Typer(no_args_is_help=True, help="Explain thresholds, and what they can show.")

_FILE_SUFFIXES: Final = frozenset(
    {".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".pq", ".gz"}
)
"""What ends like these is meant as a file, there or not; a model's name may hold a point, too."""

SourceArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="A profile (driftline profile build), a file of traffic, or a model that is watched."
    ),
]


@app.command()
def calibration(
    source: SourceArgument,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    ignore: Ignore = None,
    numeric: Numeric = None,
    categorical: Categorical = None,
    separator: Separator = None,
    decimal: DecimalMark = None,
    encoding: Encoding = None,
    config: Config = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    *,
    as_json: Json = False,
) -> None:
    """How the false-alarm budget became the thresholds of every channel.

    Of a model that is watched: those of the version that serves, read from Redis.  A budget per
    week is made one per events at the rate of the reference, which is said.
    """
    from driftline.offline.explain.threshold_calibration import (  # noqa: PLC0415
        calibration_of,
        effective_budget,
        rate_fix,
    )

    read_options = read_options_of(
        ignore=ignore,
        numeric=numeric,
        categorical=categorical,
        separator=separator,
        decimal=decimal,
        encoding=encoding,
    )
    settings = load_settings(config, redis_url=redis_url, prefix=prefix)
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
        f"  {effective.false_alerts:g} false alerts in {effective.per_events:,} events of the model, "
        f"over {n_detectors} detectors: each one in {channels[0].arl0_events:,.0f} events"
    )
    write_line("")
    width = max(len(one.series) for one in channels)
    write_line(f"  {'series':<{width}}  channel   block    tau  Page-Hinkley  ADWIN's delta")
    for one in channels:
        adwin = "moved in the reference" if one.adwin_delta is None else f"{one.adwin_delta:.1e}"
        note = "   short reference: wider" if one.short else ""
        write_line(
            f"  {one.series:<{width}}  {one.channel:<8} {one.block:>6} {one.tau:>6.1f}"
            f"  {one.page_hinkley:>9.2f} sd  {adwin}{note}"
        )
    _write_scope(profile)


@app.command()
def power(
    source: SourceArgument,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Events an hour \\[default: the file's or the model's, or 1,000]."
        ),
    ] = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    ignore: Ignore = None,
    numeric: Numeric = None,
    categorical: Categorical = None,
    separator: Separator = None,
    decimal: DecimalMark = None,
    encoding: Encoding = None,
    config: Config = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    *,
    as_json: Json = False,
) -> None:
    """The smallest change of each feature that is an alert within an hour, within a day.

    Half of the times or so; the others take longer.  Of a model that is watched the reference and
    the rate, that of its last closed windows, are read from Redis.
    """
    from driftline.offline.explain.minimum_detectable_effect import minimum_detectable_effects  # noqa: PLC0415 - light imports

    read_options = read_options_of(
        ignore=ignore,
        numeric=numeric,
        categorical=categorical,
        separator=separator,
        decimal=decimal,
        encoding=encoding,
    )
    settings = load_settings(config, redis_url=redis_url, prefix=prefix)
    profile, measured = _profile(source, settings, RowOptions(time, time_format, read_options))
    per_hour = rate or measured or _DEFAULT_RATE
    spec = settings.monitor_spec()
    if spec.budget.per_weeks is not None and profile.events_per_week is None:
        note(
            "the reference knows no events a week: the budget holds per events; "
            "driftline explain calibration says more"
        )
    features = minimum_detectable_effects(profile, spec.budget, spec.episodes, per_hour)
    if as_json:
        write_json({"events_per_hour": per_hour, "features": features, **_scope_data(profile)})
        return
    write_line(
        f"  {per_hour:,.4g} events an hour; of a boolean or a category: the share that moves"
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
    """What seasons were proved, and what of a feature is not watched."""
    from driftline.offline.explain.reference_limits import not_watched_by_feature, seasons_of  # noqa: PLC0415 - light imports

    return {"seasons": seasons_of(profile), "not_watched": not_watched_by_feature(profile)}


def _write_scope(profile: ReferenceProfile) -> None:
    from driftline.offline.explain.reference_limits import lines_of  # noqa: PLC0415 - light imports

    if lines := lines_of(profile):
        write_lines(["", *(f"  {line}" for line in lines)])


def _weekly_budget_text(effective: EffectiveBudget, per_hour_now: float | None, fix: str) -> str:
    """What a budget per week became.  Of a model that is watched its rate now stands beside it."""
    stated = (
        f"  {effective.false_alerts:g} false alerts in {effective.per_weeks:g} weeks of event time"
    )
    if effective.events_per_week is None:
        return (
            f"{stated}: does not hold, for the reference knows no events a week; per events instead"
            f"\n  ({fix})"
        )
    now = ""
    if per_hour_now is not None:
        now = f"; by its last windows it has {per_hour_now * _WEEK_HOURS:,.0f} now"
    return (
        f"{stated}, at the {effective.events_per_week:,.0f} events a week of the reference{now}"
        "\n  (twice the events are twice the false alerts a week)"
    )


def _change(smallest: DetectableEffect | None) -> str:
    if smallest is None:
        return "none would show"
    if smallest.sd is None:
        return _share(smallest.units)
    return f"{smallest.units:.3g} ({smallest.sd:.2g} sd)"


def _share(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.2g} %"


class RowOptions(NamedTuple):
    """What is said of the rows of a file."""

    time: str | None
    time_format: str | None
    read_options: ReadOptions

    def reject(self, source: str, why: str, fix: str = "") -> None:
        """Raises Failure where something is said, and there are no rows."""
        if self.time is not None or self.time_format is not None:
            raise CommandError(f"--time {why}", where=source, fix=fix, code=EXIT_USAGE)
        if self.read_options != type(self.read_options)():
            raise CommandError(
                "--ignore, --numeric, --categorical, --separator, --decimal and --encoding are of "
                "files of rows, and this is none",
                where=source,
                code=EXIT_USAGE,
            )


def _profile(
    source: str, settings: Settings, rows: RowOptions
) -> tuple[ReferenceProfile, float | None]:
    """The reference that is meant, and its events an hour where they are known."""
    if _is_file(source):
        return _profile_of_file(Path(source), rows)
    rows.reject(source, f"is a column of a file, and {source} is none")
    return _profile_of_model(source, settings)


def _is_file(source: str) -> bool:
    """Whether a file is meant, there or not."""
    file = Path(source)
    return file.is_file() or "/" in source or file.suffix.lower() in _FILE_SUFFIXES


def _is_profile(source: str | Path) -> bool:
    """Whether a file is a profile, not rows: one JSON object, not several, and not an array."""
    file = Path(source)
    if file.suffix.lower() != ".json" or not file.is_file():
        return file.suffix.lower() == ".json"
    content = file.read_bytes()
    try:
        return isinstance(msgspec.json.decode(content), dict)
    except msgspec.DecodeError:
        return b"\n{" not in content and not content.lstrip().startswith(b"[")


def _profile_of_model(model: str, settings: Settings) -> tuple[ReferenceProfile, float | None]:
    """The profile of the version that serves, as the monitor watches it."""
    from driftline.monitor_state.served_profile import NotWatchedError  # noqa: PLC0415 - light imports
    from driftline.monitor_state.watched_model import read_watched_model  # noqa: PLC0415

    topics = settings.topics
    try:
        found = read_watched_model(connect_redis(settings), topics.events, topics.prefix, model)
    except NotWatchedError as error:
        raise CommandError(
            str(error),
            where=topics.events,
            why=f"and there is no file {model!r}",
            fix=error.fix,
            code=EXIT_USAGE,
        ) from error
    known = "" if found.per_hour is not None else "; no window closed yet to tell its rate"
    note(f"{model}@{found.profile.version}, as the monitor watches it{known}")
    return found


def _profile_of_file(file: Path, rows: RowOptions) -> tuple[ReferenceProfile, float | None]:
    """A profile as it was built, or what a file of traffic would give; and its events an hour."""
    if _is_profile(file):
        rows.reject(
            str(file),
            "is of rows: a profile knows its own times",
            "driftline profile build with --time or --events-per-week",
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
    note_unwatched_columns(layout.ignored | profile.skipped)
    span_ms = max(times, default=0) - min(times, default=0)
    return profile, len(table.frame) * _HOUR_MS / span_ms if span_ms else None
