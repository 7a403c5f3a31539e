"""Numbers, percentages, times, durations, rates and lists of names, in sentences.  Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))
_PER: Final = ((1_000, "a second"), (60_000, "a minute"), (3_600_000, "an hour"))
_DAY_MS: Final = 86_400_000
_LARGE: Final = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
_SMALLEST: Final = 1e-4
_LARGEST: Final = 1e15
_EXACT: Final = 1e15
_ENDLESS: Final = 1e300
_MAX_NAMES: Final = 5


def format_number(value: float) -> str:
    """Format a number with three significant digits and thousands separators.

    >>> [format_number(each) for each in (71.62, 0.0312, 1087.4, -0.4, 0.0, 12_345.0)]
    ['71.6', '0.0312', '1,090', '-0.4', '0', '12,300']
    >>> format_number(1_234_567.0), format_number(5.6e-7), format_number(-2e20)
    ('1.23 million', '5.6e-7', '-2e20')
    """
    rounded = float(f"{value:.3g}")
    size = abs(rounded)
    if not math.isfinite(value) or (rounded and not _SMALLEST <= size < _LARGEST):
        return _scientific(value, 3)
    for unit, name in _LARGE:
        if size >= unit:
            return f"{rounded / unit:.3g} {name}"
    return _plain(rounded, _decimals(size, 3))


def format_change(before: float | None, after: float | None) -> str:
    """Format a change with the same number of decimals on both sides.

    >>> format_change(35.42, 3.79), format_change(966.2, 1087.4), format_change(40.0, 40.1)
    ('35.4 → 3.8', '966 → 1,087', '40 → 40.1')
    >>> format_change(1.5, 230.0), format_change(2e6, 3.5e6), format_change(7.0, None)
    ('1.5 → 230', '2 million → 3.5 million', '7 → unknown')
    >>> format_change(40.001, 40.002), format_change(1e12 + 100, 1e12 + 130)
    ('40.001 → 40.002', '1,000,000,000,100 → 1,000,000,000,130')
    >>> format_change(5.6781e-7, 5.6784e-7)
    '5.6781e-7 → 5.6784e-7'
    """
    if before is None or after is None:
        return " → ".join("unknown" if v is None else format_number(v) for v in (before, after))
    size = max(abs(before), abs(after))
    if not _SMALLEST <= size < _LARGE[-1][0]:
        texts = format_number(before), format_number(after)
        if texts[0] != texts[1] or before == after:
            return " → ".join(texts)
        return _close_numbers(before, after)
    decimals = _decimals(size, 3)
    while before != after and round(before, decimals) == round(after, decimals):
        decimals += 1
    return " → ".join(
        _plain(value, decimals)
        if not value or abs(value) >= 10.0 ** (1 - decimals)
        else format_number(value)
        for value in (before, after)
    )


def _close_numbers(before: float, after: float) -> str:
    """A change of very large or small numbers, with as many digits as it takes to see it."""
    for digits in range(4, 18):
        if _SMALLEST <= abs(before) < _EXACT:
            texts = [_plain(value, _decimals(abs(before), digits)) for value in (before, after)]
        else:
            texts = [_scientific(value, digits) for value in (before, after)]
        if texts[0] != texts[1]:
            break
    return " → ".join(texts)


def format_value(value: float) -> str:
    """Format a value exactly, so that a person finds it in the data.

    >>> [format_value(each) for each in (-999.0, 99_999.0, 0.25, 1e12, 1e300)]
    ['-999', '99,999', '0.25', '1,000,000,000,000', '1e300']
    """
    if abs(value) >= _EXACT:
        return _scientific(value, 6)
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.15g}" if abs(value) >= _SMALLEST else _scientific(value, 6)


def format_range(low: float, high: float) -> str:
    """Format a range; a bound that no value can cross is infinite.

    >>> format_range(-3.4567, 120.0), format_range(0.0, 1.7e308)
    ('-3.46 … 120', '0 … ∞')
    """
    lowest = "-∞" if low < -_ENDLESS else format_number(low)
    return f"{lowest} … {'∞' if high > _ENDLESS else format_number(high)}"


def format_percent(ratio: float) -> str:
    """Format a ratio between 0 and 1 as a percentage.

    >>> [format_percent(each) for each in (0.0234, 0.1234, 0.12, 0.00045, 0.0, 1.0, 0.9999)]
    ['2.3 %', '12.3 %', '12 %', '0.045 %', '0 %', '100 %', '> 99.9 %']
    """
    return f"{_percentage(ratio)} %"


def format_percent_change(before: float, after: float) -> str:
    """Format a change of a ratio between 0 and 1.

    >>> format_percent_change(0.07, 0.0254), format_percent_change(0.5, 0.9)
    ('7 % → 2.5 %', '50 % → 90 %')
    """
    return f"{format_percent(before)} → {format_percent(after)}"


def format_correlation(correlation: float) -> str:
    """Format a correlation with two decimals; zero has no sign.

    >>> format_correlation(-0.384), format_correlation(-0.001)
    ('-0.38', '0.00')
    """
    return f"{round(correlation, 2) + 0.0:.2f}"


def format_time(time_ms: int) -> str:
    """Format a time in UTC.

    >>> format_time(1362128040000)
    '1 Mar 2013 08:54 UTC'
    """
    time = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{time.day} {time:%b %Y %H:%M} UTC"


def format_duration(duration_ms: float) -> str:
    """Format a duration in the largest unit of which it has at least two.

    >>> [format_duration(each) for each in (2_520_000, 26 * 3_600_000, 7_560_000, 1_900, 90_000)]
    ['42 min', '26 h', '2.1 h', '1.9 s', '90 s']
    """
    for unit_ms, name in _UNITS:
        if duration_ms >= 2 * unit_ms or unit_ms == 1_000:
            return f"{_short(duration_ms / unit_ms)} {name}"
    raise AssertionError  # the last unit takes all


def format_interval(per_ms: float) -> str:
    """Format how often events arrive, at a rate per millisecond.

    >>> format_interval(1 / 3_000), format_interval(0.02), format_interval(0.0)
    ('one every 3 s', '20 a second', 'none')
    """
    if per_ms <= 0:
        return "none"
    return f"one every {format_duration(1 / per_ms)}" if per_ms < 1 / 1_500 else format_rate(per_ms)


def format_rate(per_ms: float, like_ms: float | None = None) -> str:
    """Format a rate per the shortest unit of time in which ``like_ms`` has at least one event.

    >>> format_rate(12 / 60_000), format_rate(3.1 / 60_000, 12 / 60_000), format_rate(1 / 7_200_000)
    ('12 a minute', '3.1 a minute', '12 a day')
    """
    like_ms = per_ms if like_ms is None else like_ms
    for unit_ms, name in _PER:
        if like_ms * unit_ms >= 1:
            return f"{_short(per_ms * unit_ms)} {name}"
    return f"{_short(per_ms * _DAY_MS)} a day"


def format_count(n: int, noun: str) -> str:
    """Format a number of things.

    >>> format_count(1, "event"), format_count(1200, "event")
    ('1 event', '1,200 events')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def format_names(names: Iterable[str], at_most: int = _MAX_NAMES) -> str:
    """List names in the order given, and how many more there are.

    >>> format_names(["a", "b"]), format_names("abcdefg")
    ('`a`, `b`', '`a`, `b`, `c`, `d`, `e` and 2 more')
    """
    quoted = [f"`{name}`" for name in names]
    more = f" and {len(quoted) - at_most} more" if len(quoted) > at_most else ""
    return ", ".join(quoted[:at_most]) + more


def joined(*parts: str) -> str:
    """Join sentences; each of them ends with a full stop.

    >>> joined("`temp`: mean 1 → 2", "Recovering.", "")
    '`temp`: mean 1 → 2. Recovering.'
    """
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)


def _decimals(size: float, digits: int) -> int:
    """Decimals with which a number of ``size`` has so many significant digits."""
    return max(0, digits - 1 - math.floor(math.log10(size))) if size else 0


def _plain(value: float, decimals: int) -> str:
    text = f"{value:,.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if decimals else text
    return "0" if text == "-0" else text


def _scientific(value: float, digits: int) -> str:
    digit, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    if not exponent:
        return digit  # no number, or infinite
    return f"{digit.rstrip('0').rstrip('.')}e{int(exponent)}"


def _percentage(ratio: float) -> str:
    percent = 100 * ratio
    text = f"{percent:.2g}" if percent < 1 else f"{percent:.1f}".removesuffix(".0")
    if text == "100" and ratio < 1:
        return "> 99.9"
    return text if "e" not in text else _scientific(percent, 2)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
