"""Inject drift into recorded rows, to see how the monitor reports it.

Grammar: ``KIND:COLUMN[:ARGUMENT]@FIRST[-LAST]``, rows counted from 0, LAST excluded::

    mean:temp:+0.5sd@50000      add half a standard deviation from row 50,000 on
    scale:temp:1.8@100-200      multiply
    missing:temp:0.2@100        remove a fifth of the values
    celsius:temp@100-200        convert degrees Fahrenheit to Celsius
    swap:carrier:UA=AA@100      replace one category by another

The column of a swap ends at the first colon, any other at the last one; it may have any name.
"""

from __future__ import annotations

import math
import re
import zlib
from typing import Final, Literal, TypeAlias

import msgspec

from producer.events import Value

Kind: TypeAlias = Literal["mean", "scale", "missing", "celsius", "swap"]
_FORM: Final = re.compile(r"(\w+):(.+)@(\d+)(?:-(\d+))?", re.DOTALL)
_KINDS: Final = ("mean", "scale", "missing", "celsius", "swap")
_EXAMPLES: Final = {
    "mean": "mean:temp:+0.5sd@50000",
    "scale": "scale:temp:1.8@100",
    "missing": "missing:temp:0.2@100",
    "swap": "swap:carrier:UA=AA@100",
}


class Injection(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one column over rows [first, last).

    ``amount`` is the number to add (in standard deviations with ``in_sd``), the factor, or the
    share of values to remove; ``swap`` is the category to replace, and its replacement.
    """

    kind: Kind
    column: str
    first: int
    last: int | None = None
    amount: float = 0.0
    in_sd: bool = False
    swap: tuple[str, str] = ("", "")

    def applies(self, row: int) -> bool:
        """Whether the row is in the range of the change."""
        return self.first <= row and (self.last is None or row < self.last)


def parse(text: str) -> Injection:
    """Parse an injection.

    Raises:
        ValueError: the text has another form, or the change would have no effect.

    >>> parse("mean:temp:+0.5sd@50000").amount
    0.5
    >>> parse("swap:carrier:UA=AA@10-20").swap
    ('UA', 'AA')
    """
    found = _FORM.fullmatch(text)
    if found is None or found[1] not in _KINDS:
        raise ValueError(
            f"{text!r} is not KIND:COLUMN[:ARGUMENT]@FIRST[-LAST] with a KIND of"
            f" {', '.join(_KINDS)}"
        )
    kind = found[1]
    column, argument = _column_and_argument(text, kind, found[2])
    first, last = int(found[3]), None if found[4] is None else int(found[4])
    if last is not None and last <= first:
        raise ValueError(f"{text!r}: the last row must come after the first")
    amount, in_sd, swap = 0.0, False, ("", "")
    if kind == "swap":
        old, sign, new = argument.partition("=")
        if not (old and sign and new):
            raise ValueError(f"{text!r}: swap needs OLD=NEW")
        if old == new:
            raise ValueError(f"{text!r}: {old!r} is replaced by itself, which changes nothing")
        swap = (old, new)
    elif kind != "celsius":
        in_sd = kind == "mean" and argument.endswith("sd")
        try:
            amount = float(argument.removesuffix("sd") if in_sd else argument)
        except ValueError:
            raise ValueError(f"{text!r}: {kind} needs a number, not {argument!r}") from None
        _check_amount(text, kind, amount)
    return Injection(
        kind=kind,  # type: ignore[arg-type]
        column=column,
        first=first,
        last=last,
        amount=amount,
        in_sd=in_sd,
        swap=swap,
    )


def _column_and_argument(text: str, kind: str, between: str) -> tuple[str, str]:
    """The parts between the kind and the rows."""
    if kind == "celsius":
        return between, ""
    parts = between.partition(":") if kind == "swap" else between.rpartition(":")
    if not parts[0]:
        raise ValueError(f"{text!r}: {kind} needs a column and more, as in {_EXAMPLES[kind]}")
    return parts[0], parts[2]


def _check_amount(text: str, kind: str, amount: float) -> None:
    if not math.isfinite(amount):
        raise ValueError(f"{text!r}: {kind} needs a finite number, not {amount}")
    if kind == "missing" and not 0 < amount <= 1:
        raise ValueError(f"{text!r}: missing needs a share above 0 and up to 1, such as 0.2")
    if (kind, amount) in (("mean", 0.0), ("scale", 1.0)):
        raise ValueError(f"{text!r}: the change has no effect")


def inapplicable_reason(injection: Injection, feature_kind: str) -> str:
    """Why a change has no effect on a feature of a kind; empty if it has one.

    >>> inapplicable_reason(parse("mean:plan:+1@0"), "categorical")
    'mean needs numbers, and plan is categorical: use swap or missing'
    """
    if injection.kind in ("missing", "swap") or feature_kind == "numeric":
        return ""
    return (
        f"{injection.kind} needs numbers, and {injection.column} is {feature_kind}: "
        "use swap or missing"
    )


def inject(injection: Injection, value: Value, row: int, sd: float) -> Value:
    """The changed value of ``injection.column`` in ``row``; ``sd`` is its standard deviation.

    The row's number decides whether a value is removed, so a repeated run removes the same ones.

    >>> inject(parse("celsius:temp@0"), 50.0, 3, 1.0)
    10.0
    """
    if not injection.applies(row):
        return value
    if injection.kind == "missing":
        lost = zlib.crc32(f"{injection.column}:{row}".encode()) / 2**32 < injection.amount
        return None if lost else value
    if injection.kind == "swap":
        old, new = injection.swap
        return (
            _as_same_type(value, new)
            if value is not None and category_name(value) == old
            else value
        )
    if isinstance(value, bool | str) or value is None:
        return value
    if injection.kind == "celsius":
        return (value - 32) / 1.8
    unit = sd if injection.in_sd else 1.0
    return value + injection.amount * unit if injection.kind == "mean" else value * injection.amount


def category_name(value: Value) -> str:
    """The name of a category in the monitor, whatever type its value has.

    >>> category_name(101.0), category_name(101), category_name("101"), category_name(True)
    ('101', '101', '101', 'True')
    """
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _as_same_type(value: Value, name: str) -> Value:
    """The category ``name`` as a value of the same type, or as text if that is impossible."""
    if isinstance(value, bool):
        return {"true": True, "false": False}.get(name.lower(), name)
    if isinstance(value, str):
        return name
    try:
        number = float(name)
    except ValueError:
        return name
    return int(number) if isinstance(value, int) and number.is_integer() else number
