"""``driftline backtest``: what retraining would have gained on recorded, labelled events."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from driftline.cli.candidate_settings import live_settings
from driftline.cli.command_error import CommandError, UsageError
from driftline.cli.input_files import file_errors_explained, note_columns_not_watched, read_rows
from driftline.cli.option_groups import file_options, option_groups
from driftline.cli.options import Json, Label, PositiveLabel, TimeColumn, TimeFormat
from driftline.cli.output import note, write_json, write_line, write_lines
from driftline.cli.trainer_jobs import Factory

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from driftline.offline.backtest.labelled_stream import LabelledStream
    from driftline.offline.tables.read_options import ReadOptions
    from trainer.service.context import TrainerContext

POLICIES: Final = (
    "never,schedule:2000:expanding,schedule:2000:5000,schedule:5000:expanding,schedule:5000:5000,"
    "adwin,driftline,driftline:pool"
)
_PROGRESS_ROWS: Final = 5_000


@option_groups(read_options=file_options)
def backtest(
    source: Annotated[
        Path, typer.Argument(help="CSV, Parquet or JSON lines with one labelled event a row.")
    ],
    *,
    factory: Factory = None,
    label: Label = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    train: Annotated[
        str, typer.Option(help="The rows that train the first version: first:5000 or first:10%.")
    ] = "first:10%",
    label_delay: Annotated[
        str, typer.Option(help="How long after its event a label arrives: 500events, 6h, 1d.")
    ] = "0events",
    policies: Annotated[
        str,
        typer.Option(
            help="Policies to run, with commas: never, schedule:PERIOD:WINDOW (in events; WINDOW "
            "is expanding or a number of rows), adwin, driftline, driftline:pool."
        ),
    ] = POLICIES,
    plot: Annotated[Path | None, typer.Option(help="Write a picture (PNG) to this file.")] = None,
    positive: PositiveLabel = None,
    read_options: ReadOptions,
    as_json: Json = False,
) -> None:
    """Compare driftline with never retraining and with schedules, on recorded events.

    The rows are served in order of time by the model in service, and each label becomes known after
    the delay.  driftline runs the code that runs live: the monitor's core, the trainer's decisions,
    the choice of the training window, the gate, and the swap of versions.  Neither Kafka nor Redis
    is needed.  The error is that of the served predictions after the training rows: the share of
    wrong classes, or the mean absolute error of numbers.  Settings come from driftline.toml.

    "fits" counts models that were fitted to serve, "swaps" moves to a version fitted before, "trial
    fits" fits that only evaluate: windows on a holdout, folds of a reference.
    """
    if factory is None or label is None:
        missing = "--factory" if factory is None else "--label"
        raise UsageError(
            f"{missing} is needed",
            fix="driftline backtest FILE --label COLUMN --factory module:function",
        )
    with file_errors_explained():
        from driftline.offline.backtest.plain_policies import parse_policies  # noqa: PLC0415 - light imports

        names = parse_policies(policies)
        make = _maker(factory)
        stream = _stream(
            source, read_options, (time, time_format, label), train, label_delay, make(), positive
        )
    from driftline.offline.backtest import backtest_report as report  # noqa: PLC0415 - light imports
    from driftline.offline.backtest.backtest import run_policies  # noqa: PLC0415
    from driftline.offline.backtest.fitted_versions import is_of_estimator  # noqa: PLC0415
    from trainer.dataset.golden_set import InvalidGoldenSet  # noqa: PLC0415

    if not as_json:
        write_line(
            f"{source}: {len(stream.training_rows):,} rows train the first version, "
            f"{len(stream) - stream.n_training:,} are served; labels arrive {_after(label_delay)}"
        )
    try:
        results = run_policies(
            stream,
            make,
            names,
            _trainer_context_in(factory),
            live_settings().monitor_spec(),
            _print_progress(stream),
        )
    except CommandError:
        raise
    except InvalidGoldenSet as error:
        raise UsageError(
            "the golden set cannot be used",
            where="[trainer.gate] golden",
            why=str(error),
            fix="name a Parquet file with the features and a column label, or remove the setting",
        ) from error
    except Exception as error:
        if not is_of_estimator(error):
            raise
        raise UsageError(
            "the model of the factory cannot be fitted on these rows",
            where=factory,
            why=f"{type(error).__name__}: {error}",
            fix="run the command with --debug before `backtest` to see where",
        ) from error
    if plot is not None:
        report.draw(stream, results, plot)
    if not as_json:
        write_lines(["", *report.table_lines(results), *report.change_lines(results)])
        if plot is not None:
            write_line(f"picture: {plot}")
        return
    write_json(report.summary(stream, results), indent=0)


def _maker(factory: str) -> Callable[[], Any]:
    """A function that makes an estimator; the factory is tried at once.

    Raises:
        CommandError: the factory cannot be imported, raises, or returns no estimator.
    """
    import sys  # noqa: PLC0415

    from trainer.fitting.factory import make_estimator  # noqa: PLC0415 - light imports

    sys.path.append(str(Path.cwd()))  # last, so that a user's `random.py` does not replace Python's
    try:
        make_estimator(factory)
    except Exception as error:
        raise UsageError(
            "the factory gives no model",
            where=factory,
            why=f"{type(error).__name__}: {error}",
            fix="name a function without parameters that returns an unfitted scikit-learn "
            "estimator: module:function",
        ) from error
    return lambda: make_estimator(factory)


def _stream(
    source: Path,
    read_options: Any,
    columns: tuple[str | None, str | None, str],
    train: str,
    label_delay: str,
    estimator: Any,
    positive: str | None,
) -> LabelledStream:
    """The rows of the file in order of time.

    Raises:
        SourceError: a column is missing, or the rows cannot be used.
    """
    from driftline.offline.backtest.labelled_stream import LabelDelay, stream_of  # noqa: PLC0415 - light imports
    from driftline.offline.replay.reference_option import parse_reference  # noqa: PLC0415
    from driftline.offline.tables.event_times import with_times  # noqa: PLC0415
    from driftline.offline.tables.layout import layout_of  # noqa: PLC0415
    from driftline.offline.tables.reference_profile import positive_of  # noqa: PLC0415
    from driftline.offline.tables.source_error import SourceError  # noqa: PLC0415
    from trainer.fitting.model_fit import FitSpec  # noqa: PLC0415

    time, time_format, label = columns
    delay = LabelDelay.parse(label_delay)
    table = read_rows(source, read_options)
    layout = layout_of(table, time=time, label=label)
    note_columns_not_watched(layout.ignored)
    frame = with_times(table.frame, time, time_format)
    wanted = parse_reference(train, len(frame), "--train")
    if isinstance(wanted, Path):
        raise SourceError(
            f"--train {train!r} is not a number of rows", fix="write first:5000 or first:10%"
        )
    labels = frame[label]
    _require_one_kind(label, labels, table.inferred[label].kind)
    known = labels.dropna()
    spec = FitSpec([], "", "", positive=positive_of(positive, labels)).resolved(
        estimator, known.infer_objects()
    )
    stream = stream_of(
        frame,
        layout,
        n_training=wanted,
        delay=delay,
        task=spec.task or "binary",
        positive=1 if spec.positive is None else spec.positive,
    )
    _require_labels(stream, train)
    return stream


MIN_TRAINING_ROWS: Final = 500


def _require_labels(stream: LabelledStream, train: str) -> None:
    """Check that there are labels to train on, and labels to compare predictions with.

    Raises:
        SourceError: there are not.
    """
    from driftline.offline.tables.source_error import SourceError  # noqa: PLC0415 - light imports

    n_labelled = len(stream.training_rows)
    if n_labelled < MIN_TRAINING_ROWS:
        raise SourceError(
            f"--train {train} has {n_labelled:,} labelled rows of {stream.n_training:,}; "
            f"{MIN_TRAINING_ROWS:,} are needed",
            fix="train on more rows, or check --label",
        )
    if all(label is None for label in stream.labels[stream.n_training :]):
        raise SourceError(
            f"no row after the {stream.n_training:,} training rows has a label",
            fix="train on fewer rows: without labels the served predictions have no error",
        )


def _require_one_kind(label: str, labels: pd.Series[Any], kind: str) -> None:
    """Check that there is no text among labels that are numbers, or true and false.

    Raises:
        SourceError: there is; an estimator would take it for one more class, or reject all.
    """
    from driftline.offline.tables.source_error import SourceError  # noqa: PLC0415 - light imports

    odd = labels[labels.map(lambda value: isinstance(value, str))]
    if kind in ("numeric", "boolean") and len(odd):
        raise SourceError(
            f"--label {label}: row {odd.index[0]:,} has {odd.iloc[0]!r}; most labels are {kind}",
            fix="correct it, or leave the field empty: a row without a label trains nothing",
        )


def _trainer_context_in(factory: str) -> Callable[[Path], TrainerContext]:
    """The trainer's context of the settings, with its data in a folder."""
    from driftline.offline.backtest.driftline_policy import MODEL  # noqa: PLC0415 - light imports
    from trainer.service.context import context_from_settings  # noqa: PLC0415
    from trainer.settings import Settings  # noqa: PLC0415

    settings = Settings()

    def context_in(folder: Path) -> TrainerContext:
        trainer = settings.trainer.model_copy(
            update={"data_dir": folder, "factories": {MODEL: factory}}
        )
        return context_from_settings(settings.model_copy(update={"trainer": trainer}))

    return context_in


def _print_progress(stream: LabelledStream) -> Callable[[str, int], None]:
    printed: dict[str, int] = {}

    def show(name: str, row: int) -> None:
        if row == len(stream) or row - printed.get(name, 0) >= _PROGRESS_ROWS:
            printed[name] = row
            note(f"{name}: {row:,} of {len(stream):,} rows")

    return show


def _after(label_delay: str) -> str:
    """The delay of labels in words.

    >>> _after("0events"), _after("500events"), _after("2h")
    ('at once', 'after 500 events', 'after 2 h')
    """
    number, unit = re.findall(r"(\d*) ?(.*)", label_delay.strip())[0]
    return f"after {number} {unit or 'events'}" if int(number or 0) else "at once"
