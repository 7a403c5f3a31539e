"""The kind of each column of a table: decided once, by all its values, everywhere alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from driftline.tables.choices import Choices, Decimal
from driftline.tables.evidence import EXACT, MAX_DISTINCT, Evidence
from driftline.tables.numbers import Style
from driftline.tables.refusal import BadSource

ColumnKind: TypeAlias = Literal["numeric", "categorical", "boolean"]
Held: TypeAlias = Literal["numeric", "categorical", "boolean", "time", "none"]

MOST: Final = 0.9
_MOSTLY: Final = 0.5
_UNIQUE: Final = 0.9
_FEW: Final = 100
_CODES: Final = range(2, 21)
_FIELDS: Final = {"id", "model", "version", "segment"}
_A_TIME: Final = "it is a time (use --time)"
IGNORED: Final = "--ignore"
_ONLY_COUNTS: Final = "it only counts up, row by row"


class Judged(NamedTuple):
    """What a column holds.  ``skipped`` says why it is not watched; empty where it is.

    ``odd`` counts values that are not of its kind: they reach the monitor as they are, and are
    invalid there.  ``codes``: whole numbers, few different ones, which may be categories.
    ``form`` is how most values stand in the file: as text, number, time, ...; ``mark`` the decimal
    mark that its texts prove.
    """

    kind: Held
    why: str
    skipped: str = ""
    rows: int = 0
    missing: int = 0
    odd: int = 0
    style: Style = Style()
    codes: bool = False
    form: str = ""
    mark: str = ""


@dataclass(frozen=True)
class _Reading:
    """One way to read the numbers of a column, and how many of its values are numbers then."""

    style: Style
    count: int


def judge(evidence: Mapping[str, Evidence], choices: Choices) -> dict[str, Judged]:
    """What each column is.

    Raises:
        BadSource: an option names a column that is not there, or asks for what it cannot be.
    """
    names = list(evidence)
    ignored, numeric, categorical = (
        named_columns(option, given, names, lenient=choices.lenient)
        for option, given in (
            ("--ignore", choices.ignore),
            ("--numeric", choices.numeric),
            ("--categorical", choices.categorical),
        )
    )
    for first, second in (("--numeric", numeric & categorical), ("--ignore", ignored & numeric),
                          ("--ignore", ignored & categorical)):  # fmt: skip
        if second:
            raise BadSource(f"{first}: {min(second)!r} is named by another option, too")
    decimal = choices.decimal or _proven(evidence.values())
    judged = {}
    for name, one in evidence.items():
        found = _judge(name, one, decimal, forced_number=name in numeric)
        if name in numeric:
            if found.kind != "numeric" and one.known:
                raise BadSource(f"--numeric: {name!r} holds no numbers: {found.why}")
            found = found._replace(why=f"{found.why} (--numeric)", skipped="", codes=False)
        elif name in categorical and one.known:
            found = found._replace(
                kind="categorical", why="--categorical", skipped="", odd=0, codes=False
            )
        elif name in ignored:
            found = found._replace(skipped=IGNORED, codes=False)
        judged[name] = found
    return judged


def named_columns(
    option: str, given: Sequence[str], columns: Sequence[str], *, lenient: bool = False
) -> set[str]:
    """The columns that an option names, each by itself or several with commas between.

    Raises:
        BadSource: there is no such column.
    """
    named = {
        name for text in given for name in ([text] if text in columns else text.split(",")) if name
    }
    unknown = sorted(named.difference(columns))
    if unknown and not lenient:
        raise BadSource(
            f"{option}: there is no column {unknown[0]!r}", fix=f"one of {', '.join(columns)}"
        )
    return named.intersection(columns)


def note_of_codes(columns: Sequence[str]) -> str:
    """What to say of columns whose numbers may be codes."""
    return (
        f"taken as numbers, few different ones: {', '.join(columns)}; "
        f"if they are codes: --categorical {','.join(columns)}"
    )


def _proven(columns: Any) -> Decimal | None:
    """The decimal mark that some column of the file proves, and no other contradicts."""
    comma = any(one.only_comma > one.only_point for one in columns)
    point = any(one.only_point > one.only_comma for one in columns)
    return None if comma == point else "," if comma else "."


def _judge(name: str, one: Evidence, decimal: Decimal | None, *, forced_number: bool) -> Judged:
    if not one.known:
        return Judged("none", "all values are missing", "all values are missing", one.rows,
                      one.missing)  # fmt: skip
    forms = one.forms
    told: Judged | None = None
    for form, words in (
        ("nested", "its values are no scalars"),
        ("bytes", "its values are bytes"),
        ("clock", "it is a time of day"),
    ):
        if forms[form] >= MOST * one.known:  # type: ignore[index]
            told = Judged("none", words, words)
    times = forms["time"] + one.dates
    if told is None and times >= MOST * one.known and not forced_number:
        told = Judged("time", "a time", _A_TIME, odd=one.known - times)
    told = told or _numeric(one, decimal, forced_number=forced_number)
    told = told or _boolean(one) or _categorical(name, one)
    if told.kind == "numeric" and not told.skipped and one.first is None and not one.comma:
        told = told._replace(kind="none", skipped="none of its numbers is finite")
    form = one.forms.most_common(1)[0][0]
    mark = "," if one.only_comma > one.only_point else "." if one.only_point else ""
    return told._replace(rows=one.rows, missing=one.missing, form=form, mark=mark)


def _numeric(one: Evidence, decimal: Decimal | None, *, forced_number: bool) -> Judged | None:
    own = one.forms["number"] + one.forms["duration"]
    least = 1 if forced_number else MOST * one.known
    if one.zeros and not forced_number and one.point >= MOST * one.known:
        return None  # 02134 is a place
    if not own + max(one.point, one.comma) >= least:
        return None
    reading = _reading(one, decimal)
    if reading is None or not own + reading.count >= least:
        why = "numbers like '1,234', which is 1234 or 1.234" if one.either_comma else ""
        return Judged("none", why, f"{why}: say --decimal . or --decimal ,") if why else None
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
    return Judged(
        "numeric", why, _counts(one), odd=odd, style=reading.style, codes=_may_be_codes(one),
    )  # fmt: skip


def _reading(one: Evidence, decimal: Decimal | None) -> _Reading | None:
    """How the texts are read as numbers; ``None``: in two ways."""
    affixed = one.affixed > 0
    point = _Reading(Style(".", affixed), one.point)
    comma = _Reading(Style(",", affixed), one.comma)
    if one.only_comma > one.only_point:
        return comma
    if one.only_point > one.only_comma:
        return point
    if decimal is not None:
        return comma if decimal == "," else point
    return None if one.either_comma > (1 - MOST) * one.known else point


def _counts(one: Evidence) -> str:
    """Why numbers are no quantity; empty where they may be one."""
    many = len(one.numbers) > MAX_DISTINCT
    if one.rising and many:
        return _ONLY_COUNTS
    if one.stepping and one.first in (0.0, 1.0) and one.known == one.rows > 2:
        return _ONLY_COUNTS
    if one.whole and many and one.largest >= EXACT and not one.forms["duration"]:
        return "whole numbers beyond 2^53, which no float holds: an identifier, or nanoseconds"
    return ""


def _may_be_codes(one: Evidence) -> bool:
    return one.whole and len(one.numbers) in _CODES and one.numbers != {0.0, 1.0}


def _boolean(one: Evidence) -> Judged | None:
    n = one.forms["boolean"] + one.words
    if n < MOST * one.known:
        return None
    return Judged("boolean", "true and false", odd=one.known - n)


def _numbers_among(one: Evidence) -> str:
    """What to say of texts most of which are numbers, with words for what is missing or so."""
    share = (one.forms["number"] + max(one.point, one.comma)) / one.known
    if share < _MOSTLY or one.zeros:
        return ""
    return f", though {share:.0%} of the values are numbers: --numeric watches those"


def _categorical(name: str, one: Evidence) -> Judged:
    n = len(one.names)
    few = (f"{n:,} different texts" if n != 1 else "1 text") + _numbers_among(one)
    if name in _FIELDS and n == 1:
        return Judged("categorical", few, "it says the same in every row")
    if n > MAX_DISTINCT or (one.known > _FEW and n > _UNIQUE * one.known):
        many = f"more than {MAX_DISTINCT:,}" if n > MAX_DISTINCT else f"{n:,}"
        why = f"it has {many} different texts: an identifier, or free text{_numbers_among(one)}"
        return Judged("categorical", why, why)
    odd = one.forms["nested"] + one.forms["bytes"]
    return Judged("categorical", few, odd=odd)
