"""The part each column of a table plays: event time, prediction, truth, a feature, or none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias, cast

from driftline.offline.tables.column_inference import ColumnKind, InferredColumn
from driftline.offline.tables.source_error import SourceError
from driftline.offline.tables.table_reader import Table, TableFile
from producer.names import InvalidName, require_name


class Feature(NamedTuple):
    """A watched column: its name in the file, its name in the core, and what it holds."""

    column: str
    name: str
    kind: ColumnKind


class Layout(NamedTuple):
    """The part each column plays; ``ignored`` says why one is not watched.

    ``codes`` are numbers that may be categories: few different ones, all of them whole.
    """

    features: tuple[Feature, ...]
    time: str | None
    prediction: str | None
    label: str | None
    ignored: dict[str, str]
    codes: tuple[str, ...] = ()

    def column_of(self, name: str) -> str:
        """The file's name of a feature of the core."""
        return next((f.column for f in self.features if f.name == name), name)


_SEPARATED: Final = "--separator, the character between them"

Roles: TypeAlias = tuple[str | None, str | None, str | None]
"""The columns of event time, prediction and truth."""


def layout_of(
    table: Table | TableFile,
    *,
    time: str | None = None,
    prediction: str | None = None,
    label: str | None = None,
    others: tuple[str, ...] = (),
    features: tuple[str, ...] = (),
) -> Layout:
    """What each column is.  Named columns play their part; the others are what they are judged.

    ``others`` play a part of their own, as a column of ids.  ``features``, where there are any,
    are all that is watched, whatever they look like.

    Raises:
        SourceError: a named column is not there, or nothing is left to watch.
    """
    require(table.inferred, time, prediction, label)
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
            ignored[column] = "--feature names others"
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
    return Layout(tuple(chosen), time, prediction, label, ignored, tuple(codes))


def kind_of(inferred: InferredColumn, *, wanted: bool = False) -> ColumnKind | None:
    """The kind of a feature; ``None`` where it is not watched.  ``wanted``: a person names it."""
    if inferred.kind in ("time", "none") or (inferred.skipped and not wanted):
        return None
    return cast("ColumnKind", inferred.kind)


def nothing_to_watch_error(source: str, ignored: dict[str, str]) -> SourceError:
    """What to say where no column can be watched."""
    reasons = "; ".join(f"{name}: {why}" for name, why in ignored.items())
    return SourceError(
        f"{source}: there is nothing to watch ({reasons})",
        fix="--numeric or --categorical name what a column holds; driftline inspect says why"
        + separator_hint(ignored),
    )


def require(
    columns: Collection[str], time: str | None, prediction: str | None, label: str | None
) -> None:
    """Raises SourceError where a named column is not there."""
    for role, name in (("--time", time), ("--prediction", prediction), ("--label", label)):
        if name is not None and name not in columns:
            raise missing_column_error(role, name, columns)


def missing_column_error(option: str, name: str, columns: Iterable[str]) -> SourceError:
    """What to say where an option names a column that is not there."""
    there = list(columns)
    return SourceError(
        f"{option}: there is no column {name!r}",
        fix=f"it has {', '.join(there)}{separator_hint(there)}",
    )


def separator_hint(columns: Iterable[str]) -> str:
    """What else to say of a file of one column whose name may be those of several.

    >>> separator_hint(["a^b"]), separator_hint(["data"]), separator_hint(["a b", "c"])
    ('; if that is several: --separator, the character between them', '', '')
    """
    first, *more = [*columns] or [""]
    several = not more and not first.replace("_", "").isalnum()
    return f"; if that is several: {_SEPARATED}" if several else ""


def require_names(columns: Mapping[str, InferredColumn]) -> None:
    """Raises SourceError where the log would not take the name of a column that is watched."""
    for column, inferred in columns.items():
        if kind_of(inferred) is not None:
            _name(column)


def _name(column: str) -> str:
    """The feature of a column.  Raises SourceError where the log would not take its name."""
    try:
        return require_name("column", column)
    except InvalidName as error:
        raise SourceError(str(error), fix="give the column another name, or --ignore it") from error
