"""Parse numbers in text: with a decimal point or comma, in groups, with % or a currency.

``1,234`` is 1234 or 1.234.  A column is read in the style that fits all its values; if both fit,
the other columns of the file decide, and if these prove nothing, the column is not read as numbers.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftline.offline.tables.read_options import DecimalSeparator
from stream_monitor.statistics.fixed_point import Floats

Texts: TypeAlias = Any
"""An array of Arrow strings."""

_EXPONENT: Final = r"(?:[eE][+-]?\d+)?"
_GAPS: Final = "'\u2019 \u00a0\u202f\u2009"


def _pattern(group: str, mark: str) -> str:
    grouped = (
        rf"[1-9]\d{{0,2}}(?:[{group}]\d{{2}})*[{group}]\d{{3}}|[1-9]\d{{0,2}}(?:[{_GAPS}]\d{{3}})+"
    )
    return (
        rf"^[+-]?(?:(?:\d+|{grouped})(?:{mark}\d*)?{_EXPONENT}|{mark}\d+{_EXPONENT}"
        r"|(?i:inf|infinity|nan))$"
    )


_POINT: Final = _pattern(",", r"\.")
_COMMA: Final = _pattern(".", ",")
_SYMBOL: Final = r"(?:[€$£¥₹]|EUR|USD|GBP|CHF|JPY)"
_AFFIXES: Final = rf"^\s*([+-]?)\s*{_SYMBOL}?\s*([+-]?)\s*(.*?)\s*(?:[%‰]|{_SYMBOL})?\s*$"
_LEADING_ZERO: Final = r"^[+-]?0\d"


class NumberFormatCounts(NamedTuple):
    """The numbers of texts that are numbers, by decimal mark.

    ``point`` and ``comma`` count texts that are numbers with a decimal point or comma, ``only_...``
    texts that are numbers with this mark only, and ``either_comma`` texts with a comma that are
    different numbers with each mark.  ``zeros`` have leading zeros, ``affixed`` a % or a currency.
    """

    point: int
    comma: int
    only_point: int
    only_comma: int
    either_comma: int
    zeros: int
    affixed: int


class NumberStyle(NamedTuple):
    """The style of the numbers in a column: decimal mark, and whether they have % or a currency."""

    decimal: DecimalSeparator = "."
    affixed: bool = False


def normalise(texts: Texts) -> Texts:
    """The texts without surrounding blanks, and with an ASCII minus."""
    return pc.utf8_trim_whitespace(pc.replace_substring(texts, "\u2212", "-"))


def count_number_formats(texts: Texts) -> NumberFormatCounts:
    """Count the numbers among ``texts`` by their format; no text is null.

    >>> count_number_formats(pa.array(["1,5", "1.234,5", "7", "x"]))[:4]
    (1, 3, 0, 2)
    """
    core, affixed = _core(normalise(texts))
    point = pc.match_substring_regex(core, _POINT)
    marked = pc.match_substring_regex(core, r"[.,]")
    n_point, zeros = _count(point), _count(pc.match_substring_regex(core, _LEADING_ZERO + r"+$"))
    if not _count(marked):
        return NumberFormatCounts(n_point, n_point, 0, 0, 0, zeros, affixed)
    comma = pc.match_substring_regex(core, _COMMA)
    with_comma = pc.match_substring(core, ",")
    return NumberFormatCounts(
        point=n_point,
        comma=_count(comma),
        only_point=_count(pc.and_(point, pc.invert(comma))),
        only_comma=_count(pc.and_(comma, pc.invert(point))),
        either_comma=_count(pc.and_(pc.and_(point, comma), with_comma)),
        zeros=zeros,
        affixed=affixed,
    )


def numbers_in(texts: Texts, style: NumberStyle) -> Texts:
    """The texts (n,) as numbers, integers if all are whole; null for a text that is no number.

    >>> numbers_in(pa.array(["1.234,5", "12 %", "x"]), NumberStyle(",", affixed=True)).to_pylist()
    [1234.5, 12.0, None]
    """
    core = normalise(texts)
    if style.affixed:
        core, _ = _core(core)
    point = style.decimal == "."
    reads = pc.match_substring_regex(core, _POINT if point else _COMMA)
    core = pc.if_else(reads, core, pa.scalar(None, core.type))
    core = pc.replace_substring_regex(core, f"[{',' if point else '.'}{_GAPS}+]", "")
    if not point:
        core = pc.replace_substring(core, ",", ".")
    if _count(pc.match_substring_regex(core, r"[.a-zA-Z]")):
        return pc.cast(core, pa.float64())
    try:
        return pc.cast(core, pa.int64())
    except pa.ArrowInvalid:
        return pc.cast(core, pa.float64())


def floats_in(texts: Texts, style: NumberStyle) -> Floats:
    """The texts (n,) as floats, NaN for a text that is no number."""
    found = pc.cast(numbers_in(texts, style), pa.float64(), safe=False)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.float64)


def _core(texts: Texts) -> tuple[Texts, int]:
    """The texts without currency, percent and accounting brackets, and how many had one."""
    signs = pc.match_substring_regex(texts, rf"[%‰()]|{_SYMBOL}")
    n = _count(signs)
    if not n:
        return texts, 0
    stripped = pc.replace_substring_regex(texts, r"^\((.*)\)$", r"-\1")
    stripped = pc.replace_substring_regex(stripped, _AFFIXES, r"\1\2\3")
    reads = pc.or_(
        pc.match_substring_regex(stripped, _POINT), pc.match_substring_regex(stripped, _COMMA)
    )
    return pc.if_else(reads, stripped, texts), _count(pc.and_(signs, reads))


def _count(mask: Texts) -> int:
    return int(pc.sum(mask).as_py() or 0)
