"""Injected drift: changes put into recorded rows, to see what the monitor makes of them.

Grammar: ``KIND:COLUMN[:ARGUMENT]@FIRST[-LAST]``, rows counted from 0, LAST not included::

    mean:temp:+0.5sd@50000      add half a standard deviation from row 50,000 on
    scale:temp:1.8@100-200      multiply
    missing:temp:0.2@100        leave out a fifth
    celsius:temp@100-200        send degrees Fahrenheit as Celsius
    swap:carrier:UA=AA@100      send one category as another
"""

from __future__ import annotations

import math
import re
import zlib
from typing import Final, Literal, TypeAlias

import msgspec

from producer.events import Value

Kind: TypeAlias = Literal["mean", "scale", "missing", "celsius", "swap"]
_FORM: Final = re.compile(r"(\w+):([^:@]+)(?::([^@]+))?@(\d+)(?:-(\d+))?")
_KINDS: Final = ("mean", "scale", "missing", "celsius", "swap")


class Injection(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one column over rows [first, last).

    ``amount`` is what is added (in standard deviations where ``in_sd``), multiplied, or left out;
    ``swap`` maps one category to another.
    """

    kind: Kind
    column: str
    first: int
    last: int | None = None
    amount: float = 0.0
    in_sd: bool = False
    swap: tuple[str, str] = ("", "")

    def applies(self, row: int) -> bool:
        """Whether it changes this row."""
        return self.first <= row and (self.last is None or row < self.last)


def parse(text: str) -> Injection:
    """Read an injection.

    Raises:
        ValueError: it has another form; the text says which is meant.

    >>> parse("mean:temp:+0.5sd@50000").amount
    0.5
    >>> parse("swap:carrier:UA=AA@10-20").swap
    ('UA', 'AA')
    """
    found = _FORM.fullmatch(text)
    if found is None or found[1] not in _KINDS:
        raise ValueError(
            f"{text!r} is no injection: KIND:COLUMN[:ARGUMENT]@FIRST[-LAST],"
            f" KIND one of {', '.join(_KINDS)}"
        )
    kind, column, argument = found[1], found[2], found[3] or ""
    first, last = int(found[4]), None if found[5] is None else int(found[5])
    if last is not None and last <= first:
        raise ValueError(f"{text!r}: the last row must come after the first")
    amount, in_sd, swap = 0.0, False, ("", "")
    if kind == "swap":
        old, sign, new = argument.partition("=")
        if not (old and sign and new):
            raise ValueError(f"{text!r}: a swap says OLD=NEW")
        if old == new:
            raise ValueError(f"{text!r}: it swaps {old!r} for itself, which changes nothing")
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


def _check_amount(text: str, kind: str, amount: float) -> None:
    if not math.isfinite(amount):
        raise ValueError(f"{text!r}: {amount} is no number to change anything by")
    if kind == "missing" and not 0 < amount <= 1:
        raise ValueError(f"{text!r}: missing needs a share above 0 and up to 1, a fifth is 0.2")
    if (kind, amount) in (("mean", 0.0), ("scale", 1.0)):
        raise ValueError(f"{text!r}: that changes nothing")


def inapplicable_reason(injection: Injection, feature_kind: str) -> str:
    """Why a change can do nothing to a feature of a kind; empty where it can.

    >>> inapplicable_reason(parse("mean:plan:+1@0"), "categorical")
    'mean changes numbers, and plan is categorical: swap and missing change it'
    """
    if injection.kind in ("missing", "swap") or feature_kind == "numeric":
        return ""
    return (
        f"{injection.kind} changes numbers, and {injection.column} is {feature_kind}: "
        "swap and missing change it"
    )


def inject(injection: Injection, value: Value, row: int, sd: float) -> Value:
    """The value of ``injection.column`` in ``row``; ``sd`` is that column's standard deviation.

    What is left out is decided by the row's number, so that a repeat leaves out the same.

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
    """A category by name, however it was sent, as the monitor names it.

    >>> category_name(101.0), category_name(101), category_name("101"), category_name(True)
    ('101', '101', '101', 'True')
    """
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _as_same_type(value: Value, name: str) -> Value:
    """The category ``name`` as a value of the same kind; a word among numbers stays a word."""
    if isinstance(value, bool):
        return {"true": True, "false": False}.get(name.lower(), name)
    if isinstance(value, str):
        return name
    try:
        number = float(name)
    except ValueError:
        return name
    return int(number) if isinstance(value, int) and number.is_integer() else number
