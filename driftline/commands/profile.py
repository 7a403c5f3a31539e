"""``driftline profile``: the reference of a model version, made from a file and put in the log."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from driftline.commands.connection import load_settings
from driftline.commands.failure import USAGE, Failure
from driftline.commands.options import (
    Bootstrap,
    Categorical,
    Config,
    Positive,
    Prefix,
    Time,
    TimeFormat,
)
from driftline.commands.output import note, write_json
from producer.names import reference_of

if TYPE_CHECKING:
    import pandas as pd

    from stream_monitor.reference.profile import ReferenceProfile

app = typer.Typer(no_args_is_help=True, help="Reference profiles: what a model was trained on.")


def _importances(given: list[str], features: list[str]) -> dict[str, float]:
    """Numbers by feature.  Raises Failure where one is none, or of what is no feature."""
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = math.nan
        if name not in features or not 0 <= found[name] < math.inf:
            raise Failure(
                f"--importance {text}",
                why="no such feature" if name not in features else "no number from 0 on",
                fix=f"write NAME=NUMBER; the features are {', '.join(features)}",
                code=USAGE,
            )
    return found


@app.command()
def build(
    file: Annotated[Path, typer.Argument(help="Training data: CSV (.csv, .csv.gz) or Parquet.")],
    model: Annotated[str, typer.Option(help="Name of the model.")],
    version: Annotated[str, typer.Option(help="Version of the model.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to \\[default: stdout].")
    ] = None,
    prediction: Annotated[
        str | None, typer.Option(help="Column of the predictions (out of fold, best).")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column of the truth.")] = None,
    positive: Positive = None,
    time: Time = None,
    time_format: TimeFormat = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="A feature; repeat \\[default: all other columns].")
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="A column that is none.")] = None,
    task: Annotated[
        Literal["binary", "multiclass", "regression"] | None,
        typer.Option(help="\\[default: what the predictions look like]"),
    ] = None,
    categorical: Categorical = None,
    segment: Annotated[
        list[str] | None,
        typer.Option(help="A column whose values are watched by themselves, or origin=EWR."),
    ] = None,
    importance: Annotated[
        list[str] | None,
        typer.Option(help="How much the model relies on a feature: tenure=0.4; repeat."),
    ] = None,
    events_per_week: Annotated[
        float | None,
        typer.Option(
            help="Of the whole traffic, for a budget per week \\[default: by --time]; say it "
            "where the file is a sample."
        ),
    ] = None,
) -> None:
    """Make a profile from the data a model was trained on.

    With --time it learns a season of the hour or the week, where the data prove one, and how many
    events a week has.
    """
    import pandas as pd  # noqa: PLC0415 - light imports

    from driftline.replay.codes import may_be_codes, named_columns, note_of  # noqa: PLC0415
    from driftline.replay.positive import positive_of, what_to_do  # noqa: PLC0415
    from driftline.replay.refusal import BadSource  # noqa: PLC0415
    from driftline.replay.times import times_ms, with_times  # noqa: PLC0415
    from stream_monitor.reference.errors import NoPositiveLabel  # noqa: PLC0415
    from stream_monitor.reference.frame import profile_from_frame  # noqa: PLC0415 - light imports
    from stream_monitor.reference.profile import profile_to_data  # noqa: PLC0415
    from stream_monitor.reference.segment import declared_part  # noqa: PLC0415

    frame = read_frame(file)
    parts = {declared_part(declared, map(str, frame))[0] for declared in segment or []}
    wanted = {prediction, label, time, *(feature or []), *parts} - {None}
    unknown = sorted(str(name) for name in wanted if name not in frame)
    if unknown:
        raise Failure(
            f"no column {', '.join(unknown)}",
            where=str(file),
            fix=f"it has {', '.join(map(str, frame.columns))}",
            code=USAGE,
        )
    left_out = {prediction, label, time, *(ignore or [])}
    features = feature or [str(name) for name in frame.columns if name not in left_out]
    important = _importances(importance or [], features)
    try:
        codes = named_columns(categorical or [], features)
        frame = with_times(frame, time, time_format)
        if time is not None:
            moments = pd.to_datetime(times_ms(frame[time]), unit="ms", utc=True)
            frame = frame.assign(**{time: moments})
        made = profile_from_frame(
            frame,
            model=model,
            version=version,
            prediction=prediction,
            label=label,
            features=features,
            task=task,
            segments=segment or [],
            importances=important,
            positive=positive_of(positive, None if label is None else frame[label]),
            categorical=sorted(codes),
            time=time,
            events_per_week=events_per_week,
        )
    except BadSource as bad:
        raise Failure(str(bad), where=str(file), fix=bad.fix, code=USAGE) from bad
    except NoPositiveLabel as error:
        what, why, fix = what_to_do(error)
        raise Failure(
            what, where=f"{file}, column {label}", why=why, fix=fix, code=USAGE
        ) from error
    except ValueError as error:
        raise Failure("no profile can be made of it", where=str(file), why=str(error)) from error
    numeric = [name for name, fitted in made.features.items() if fitted.kind == "numeric"]
    if few := [name for name in numeric if may_be_codes(frame[name])]:
        note(note_of(few))
    _note_no_rate(made)
    data = profile_to_data(made)
    if output is None:
        write_json(data, indent=0)
    else:
        output.write_bytes(msgspec.json.encode(data))
        note(f"{output}: {len(features)} features, {len(frame)} rows")


@app.command()
def send(
    file: Annotated[Path, typer.Argument(help="A profile that `build` made.")],
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    prefix: Prefix = None,
    shards: Annotated[int, typer.Option(min=1, help="Of a hot model, as its servers have.")] = 1,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only.")] = False,
) -> None:
    """Announce a model version: its profile goes into the log, before its first event."""
    from stream_monitor.reference.profile import profile_from_data  # noqa: PLC0415
    from trainer.promotion.announce import announce  # noqa: PLC0415 - light imports

    try:
        made = profile_from_data(msgspec.json.decode(file.read_bytes()))
    except (ValueError, msgspec.MsgspecError) as error:
        raise Failure(
            "that is no profile", where=str(file), why=str(error), fix="driftline profile build",
            code=USAGE,
        ) from error  # fmt: skip
    settings = load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)
    _note_no_rate(made)
    if not dry_run:
        announce(
            settings.kafka.bootstrap_servers,
            made,
            prefix=settings.topics.prefix,
            shards=shards,
            librdkafka=settings.kafka.librdkafka,
        )
    note(f"{reference_of(made.model, made.version)}: {'would be ' if dry_run else ''}announced")


def _note_no_rate(made: ReferenceProfile) -> None:
    """Say what a profile cannot do that knows no rate."""
    if made.events_per_week is None:
        note("the profile knows no events a week: a budget per week would be held per events; "
             "give --time or --events-per-week to profile build")  # fmt: skip


def read_frame(file: Path) -> pd.DataFrame:
    """A table from CSV or Parquet, by the name of the file."""
    import pandas as pd  # noqa: PLC0415 - light imports

    if not file.is_file():
        raise Failure("there is no such file", where=str(file), code=USAGE)
    if file.suffix in (".parquet", ".pq"):
        return pd.read_parquet(file)
    if file.name.endswith((".csv", ".csv.gz")):
        return pd.read_csv(file)
    raise Failure("CSV (.csv, .csv.gz) or Parquet (.parquet)", where=str(file), code=USAGE)
