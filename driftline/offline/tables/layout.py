"""The role of each column of a table: event time, prediction, label, feature, or ignored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, TypeAlias, cast

from driftline.offline.tables.column_inference import (
    ColumnKind,
    InferredColumn,
    codes_note,
    numbers_note,
)
from driftline.offline.tables.source_error import SourceError
from driftline.offline.tables.table_reader import Table, TableFile
from producer.limits import Limits
from producer.names import InvalidName, require_name


class Feature(NamedTuple):
    """A watched column: its name in the file, its name in the core, and its kind."""

    column: str
    name: str
    kind: ColumnKind


class Layout(NamedTuple):
    """The role of each column; ``ignored`` has the reason of each column that is not watched.

    ``codes`` are columns with few different whole numbers, which may be categories, ``numbers``
    columns of text whose values are mostly numbers.
    """

    features: tuple[Feature, ...]
    time: str | None
    prediction: str | None
    label: str | None
    ignored: dict[str, str]
    codes: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """The doubts about the kinds of columns, each with the option that decides."""
        return [
            *([codes_note(self.codes)] if self.codes else []),
            *([numbers_note(self.numbers)] if self.numbers else []),
        ]

    def column_of(self, name: str) -> str:
        """The column of a feature of the core."""
        return next((f.column for f in self.features if f.name == name), name)


Roles: TypeAlias = tuple[str | None, str | None, str | None]
"""The columns of event time, prediction and label."""


def layout_of(
    table: Table | TableFile,
    *,
    time: str | None = None,
    prediction: str | None = None,
    label: str | None = None,
    others: tuple[str, ...] = (),
    features: tuple[str, ...] = (),
) -> Layout:
    """The roles of the columns: named ones have their role, the others are features if possible.

    ``others`` are columns with another role, such as ids.  If ``features`` are named, only these
    are watched.

    Raises:
        SourceError: a named column is missing or has two roles, or no column can be watched.
    """
    require(table.inferred, time, prediction, label)
    _require_one_role_each(time, prediction, label)
    chosen: list[Feature] = []
    ignored: dict[str, str] = {}
    codes: list[str] = []
    for column in features:
        if column not in table.inferred:
            raise missing_column_error("--feature", column, table.inferred)
    for column, inferred in table.inferred.items():
        if column in (time, prediction, label, *others):
            continue
        if features and column not in features:
            ignored[column] = "not named by --feature"
            continue
        kind = kind_of(inferred, wanted=bool(features))
        if kind is None:
            ignored[column] = inferred.skipped or inferred.why
            continue
        chosen.append(Feature(column, _name(column), kind))
        if inferred.codes:
            codes.append(column)
    if not chosen and prediction is None:
        raise nothing_to_watch_error(table.source, ignored)
    numbers = tuple(f.column for f in chosen if table.inferred[f.column].mostly_numbers)
    return Layout(tuple(chosen), time, prediction, label, ignored, tuple(codes), numbers)


def kind_of(inferred: InferredColumn, *, wanted: bool = False) -> ColumnKind | None:
    """The kind of a feature; ``None`` if it is not watched.  ``wanted``: the user named it."""
    if inferred.kind in ("time", "none") or (inferred.skipped and not wanted):
        return None
    return cast("ColumnKind", inferred.kind)


def nothing_to_watch_error(source: str, ignored: dict[str, str]) -> SourceError:
    """The error for a table without a column that can be watched."""
    reasons = "; ".join(f"{name}: {why}" for name, why in ignored.items())
    return SourceError(
        f"{source}: no column can be watched ({reasons})",
        fix="name its kind with --numeric or --categorical; driftline inspect shows the "
        "reasons" + separator_hint(ignored),
    )


def require(
    columns: Collection[str], time: str | None, prediction: str | None, label: str | None
) -> None:
    """Check that the named columns are there.

    Raises:
        SourceError: one of them is not.
    """
    for role, name in (("--time", time), ("--prediction", prediction), ("--label", label)):
        if name is not None and name not in columns:
            raise missing_column_error(role, name, columns)


def _require_one_role_each(time: str | None, prediction: str | None, label: str | None) -> None:
    named: dict[str, str] = {}
    for role, name in (("--time", time), ("--prediction", prediction), ("--label", label)):
        if name is not None and name in named:
            raise SourceError(
                f"{role}: {name!r} is also named by {named[name]}",
                fix="give each of these options a column of its own",
            )
        if name is not None:
            named[name] = role


def require_loggable(layout: Layout) -> None:
    """Check that events with these features can be logged.

    Raises:
        SourceError: there are more features than an event may have.
    """
    most = Limits().max_features
    if len(layout.features) > most:
        raise SourceError(
            f"{len(layout.features):,} features, and an event with more than {most} is rejected",
            fix="watch the most important ones: --feature names them, or --ignore leaves others "
            "out; your model server logs the same",
        )


def missing_column_error(option: str, name: str, columns: Iterable[str]) -> SourceError:
    """The error for an option that names a missing column."""
    there = list(columns)
    return SourceError(
        f"{option}: there is no column {name!r}",
        fix=f"choose one of {', '.join(there)}{separator_hint(there)}",
    )


def separator_hint(columns: Iterable[str]) -> str:
    """A hint for a file with a single column whose name may consist of several names.

    >>> separator_hint(["a^b"]), separator_hint(["data"]), separator_hint(["a b", "c"])
    ('; if these are several columns, give their --separator', '', '')
    """
    first, *more = [*columns] or [""]
    several = not more and not first.replace("_", "").isalnum()
    return "; if these are several columns, give their --separator" if several else ""


def require_names(columns: Mapping[str, InferredColumn]) -> None:
    """Check the names of the watched columns.

    Raises:
        SourceError: the monitor would reject a name.
    """
    for column, inferred in columns.items():
        if kind_of(inferred) is not None:
            _name(column)


def _name(column: str) -> str:
    """The name of a column's feature.

    Raises:
        SourceError: the monitor would reject the name.
    """
    try:
        return require_name("column", column)
    except InvalidName as error:
        raise SourceError(
            str(error), fix="rename the column, or leave it out with --ignore"
        ) from error
