"""Infer the kind of each column of a table from all its values; all commands use the same rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from driftline.offline.tables.column_statistics import EXACT, MAX_DISTINCT, ColumnStatistics
from driftline.offline.tables.number_formats import NumberStyle
from driftline.offline.tables.read_options import DecimalSeparator, ReadOptions
from driftline.offline.tables.source_error import SourceError

ColumnKind: TypeAlias = Literal["numeric", "categorical", "boolean"]
HeldKind: TypeAlias = Literal["numeric", "categorical", "boolean", "time", "none"]

MOST: Final = 0.9
_MOSTLY: Final = 0.5
_UNIQUE: Final = 0.9
_FEW: Final = 100
_CODES: Final = range(2, 21)
_FIELDS: Final = {"id", "model", "version", "segment"}
_A_TIME: Final = "a time (use --time)"
IGNORED: Final = "--ignore"
_A_CLOCK: Final = "numbers since 1970 that rise from row to row: a time (use --time)"
_CLOCK_S: Final = (1e9, 2.2e9)  # seconds, from 2001 to 2039
_CLOCK_ROWS: Final = 30
_MOST_FALLS: Final = 0.4  # events arrive out of order
_ONLY_COUNTS: Final = "it only counts up, row by row"


class InferredColumn(NamedTuple):
    """The inferred kind of a column.

    ``why`` is the reason, ``skipped`` the reason why the column is not watched (empty if it is).
    ``odd`` counts values of another kind, which are invalid for the monitor.  ``codes``: the column
    has few different whole numbers, which may be categories.  ``form`` is the type of most values
    in the file (text, number, time, ...), ``mark`` the decimal mark that its texts prove.
    ``mostly_numbers``: the column is text, although most of its values are numbers.
    ``whole_codes``: the categories are whole numbers, of which 1 and 1.0 are the same.
    """

    kind: HeldKind
    why: str
    skipped: str = ""
    rows: int = 0
    missing: int = 0
    odd: int = 0
    style: NumberStyle = NumberStyle()
    codes: bool = False
    form: str = ""
    mark: str = ""
    mostly_numbers: bool = False
    whole_codes: bool = False


@dataclass(frozen=True)
class _NumberReading:
    """A style of numbers, and the number of texts that are numbers in this style."""

    style: NumberStyle
    count: int


def infer_columns(
    statistics: Mapping[str, ColumnStatistics], read_options: ReadOptions
) -> dict[str, InferredColumn]:
    """The kind of each column, from its statistics and the options.

    Raises:
        SourceError: an option names a missing column, or a kind that the column cannot have.
    """
    names = list(statistics)
    ignored, numeric, categorical = (
        named_columns(
            option, given, names, allow_missing_columns=read_options.allow_missing_columns
        )
        for option, given in (
            ("--ignore", read_options.ignore),
            ("--numeric", read_options.numeric),
            ("--categorical", read_options.categorical),
        )
    )
    for first, second in (
        ("--numeric", numeric & categorical),
        ("--ignore", ignored & numeric),
        ("--ignore", ignored & categorical),
    ):
        if second:
            raise SourceError(
                f"{first}: {min(second)!r} is also named by another option",
                fix="name each column in one of --ignore, --numeric and --categorical",
            )
    decimal = read_options.decimal or _decimal_separator_of_file(statistics.values())
    inferred = {}
    for name, one in statistics.items():
        found = _infer_column(name, one, decimal, forced_number=name in numeric)
        if name in numeric:
            if found.kind != "numeric" and one.known:
                raise SourceError(f"--numeric: {name!r} does not hold numbers: {found.why}")
            found = found._replace(why=f"{found.why} (--numeric)", skipped="", codes=False)
        elif name in categorical and one.known:
            found = found._replace(
                kind="categorical",
                why="--categorical",
                skipped="",
                odd=0,
                codes=False,
                mostly_numbers=False,
                whole_codes=found.kind == "numeric" and one.whole,
            )
        elif name in ignored:
            found = found._replace(skipped=IGNORED, codes=False)
        inferred[name] = found
    return inferred


def named_columns(
    option: str,
    given: Sequence[str],
    columns: Sequence[str],
    *,
    allow_missing_columns: bool = False,
) -> set[str]:
    """The columns that an option names; each text is one column or several with commas.

    Raises:
        SourceError: there is no such column.
    """
    named = {
        name for text in given for name in ([text] if text in columns else text.split(",")) if name
    }
    unknown = sorted(named.difference(columns))
    if unknown and not allow_missing_columns:
        raise SourceError(
            f"{option}: there is no column {unknown[0]!r}",
            fix=f"choose one of {', '.join(columns)}",
        )
    return named.intersection(columns)


def codes_note(columns: Sequence[str]) -> str:
    """Return a note on columns whose numbers may be category codes."""
    return (
        f"read as numbers, but with few different values: {', '.join(columns)}; "
        f"if these are codes: --categorical {','.join(columns)}"
    )


def numbers_note(columns: Sequence[str]) -> str:
    """Return a note on columns that are text, although most of their values are numbers."""
    return (
        f"read as text, although most values are numbers: {', '.join(columns)}; to watch the "
        f"numbers: --numeric {','.join(columns)}"
    )


def _decimal_separator_of_file(columns: Any) -> DecimalSeparator | None:
    """The decimal mark that a column proves and no other column contradicts."""
    comma = any(one.only_comma > one.only_point for one in columns)
    point = any(one.only_point > one.only_comma for one in columns)
    return None if comma == point else "," if comma else "."


def _infer_column(
    name: str, one: ColumnStatistics, decimal: DecimalSeparator | None, *, forced_number: bool
) -> InferredColumn:
    if not one.known:
        return InferredColumn(
            "none", "all values are missing", "all values are missing", one.rows, one.missing
        )
    forms = one.forms
    found: InferredColumn | None = None
    for form, words in (
        ("nested", "lists or objects"),
        ("bytes", "bytes"),
        ("clock", "times of day"),
    ):
        if forms[form] >= MOST * one.known:  # type: ignore[index]
            found = InferredColumn("none", words, words)
    times = forms["time"] + one.dates
    if found is None and times >= MOST * one.known and not forced_number:
        found = InferredColumn("time", "a time", _A_TIME, odd=one.known - times)
    found = found or _numeric(one, decimal, forced_number=forced_number)
    found = found or _boolean(one) or _categorical(name, one)
    if found.kind == "numeric" and not found.skipped and one.first is None and not one.comma:
        found = found._replace(kind="none", skipped="none of the numbers is finite")
    form = one.forms.most_common(1)[0][0]
    mark = "," if one.only_comma > one.only_point else "." if one.only_point else ""
    return found._replace(rows=one.rows, missing=one.missing, form=form, mark=mark)


def _numeric(
    one: ColumnStatistics, decimal: DecimalSeparator | None, *, forced_number: bool
) -> InferredColumn | None:
    own = one.forms["number"] + one.forms["duration"]
    least = 1 if forced_number else MOST * one.known
    if one.zeros and not forced_number and one.point >= MOST * one.known:
        return None  # 02134 is a code, not a number
    if not own + max(one.point, one.comma) >= least:
        return None
    reading = _reading(one, decimal)
    if reading is None or not own + reading.count >= least:
        why = "numbers like '1,234', which is 1234 or 1.234" if one.either_comma else ""
        return (
            InferredColumn("none", why, f"{why}: give --decimal . or --decimal ,") if why else None
        )
    odd = one.known - own - reading.count - one.forms["boolean"]
    why = "whole numbers" if one.whole and reading.style.decimal == "." else "numbers"
    if reading.style.decimal == ",":
        why += " with a decimal comma"
    if one.affixed:
        why += ", with % or a currency"
    if one.forms["duration"]:
        why = "durations, in seconds"
    elif one.forms["number"] and one.point:
        why += ", some as text"
    return InferredColumn(
        "numeric", why, _counter_reason(one), odd=odd, style=reading.style, codes=_may_be_codes(one)
    )


def _reading(one: ColumnStatistics, decimal: DecimalSeparator | None) -> _NumberReading | None:
    """The style in which the texts are read as numbers; ``None`` if two styles are possible."""
    affixed = one.affixed > 0
    point = _NumberReading(NumberStyle(".", affixed), one.point)
    comma = _NumberReading(NumberStyle(",", affixed), one.comma)
    if one.only_comma > one.only_point:
        return comma
    if one.only_point > one.only_comma:
        return point
    if decimal is not None:
        return comma if decimal == "," else point
    return None if one.either_comma > (1 - MOST) * one.known else point


def _counter_reason(one: ColumnStatistics) -> str:
    """Why numbers are no quantity, but a counter or an identifier; empty if they may be one."""
    many = len(one.numbers) > MAX_DISTINCT
    if _is_clock(one):
        return _A_CLOCK
    if one.rising and many:
        return _ONLY_COUNTS
    if one.stepping and one.first in (0.0, 1.0) and one.known == one.rows > 2:
        return _ONLY_COUNTS
    if one.whole and many and one.largest >= EXACT and not one.forms["duration"]:
        return "whole numbers above 2^53, too large for a float: an identifier, or nanoseconds"
    return ""


def _is_clock(one: ColumnStatistics) -> bool:
    """Whether the numbers count from 1970, in one unit, and rise with the rows."""
    if one.first is None or one.last is None or one.steps < _CLOCK_ROWS:
        return False
    low, high = _CLOCK_S
    unit = next((unit for unit in (1, 1e3, 1e6, 1e9) if one.lowest <= high * unit), 1.0)
    return (
        low * unit <= one.lowest
        and one.highest <= high * unit
        and one.falls <= _MOST_FALLS * one.steps
        and one.last - one.first > (one.highest - one.lowest) / 2
    )


def _may_be_codes(one: ColumnStatistics) -> bool:
    return one.whole and len(one.numbers) in _CODES and one.numbers != {0.0, 1.0}


def _boolean(one: ColumnStatistics) -> InferredColumn | None:
    n = one.forms["boolean"] + one.words
    if n < MOST * one.known:
        return None
    return InferredColumn("boolean", "true and false", odd=one.known - n)


def _numbers_among(one: ColumnStatistics) -> str:
    """A note on texts most of which are numbers."""
    share = (one.forms["number"] + max(one.point, one.comma)) / one.known
    if share < _MOSTLY or one.zeros:
        return ""
    return f", but {share:.0%} of the values are numbers: --numeric watches these"


def _categorical(name: str, one: ColumnStatistics) -> InferredColumn:
    n = len(one.names)
    few = (f"{n:,} different texts" if n != 1 else "1 text") + _numbers_among(one)
    if name in _FIELDS and n == 1:
        return InferredColumn("categorical", few, "the same value in every row")
    if n > MAX_DISTINCT or (one.known > _FEW and n > _UNIQUE * one.known):
        many = f"more than {MAX_DISTINCT:,}" if n > MAX_DISTINCT else f"{n:,}"
        why = f"{many} different texts: an identifier, or free text{_numbers_among(one)}"
        return InferredColumn("categorical", why, why)
    odd = one.forms["nested"] + one.forms["bytes"]
    return InferredColumn("categorical", few, odd=odd, mostly_numbers=bool(_numbers_among(one)))
