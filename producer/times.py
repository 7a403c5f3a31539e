"""Convert times (numbers, texts, dates) to milliseconds since 1970; a number's size is its unit.

All writers (`InferenceLogger`, ``publish``, ``forward``) and all readers of files use this rule.
``time_ms`` in the event topic is always in milliseconds.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time
from typing import Any, Final

_UNITS: Final = ((1e11, 1), (1e14, 0), (1e17, -1))  # up to the year 5138 in seconds, and so on
_NANOSECONDS: Final = -2
FIRST_DAY: Final = 19_000_101
LAST_DAY: Final = 21_001_231
"""Numbers in this range may be days such as 20240131; as seconds all of them are in 1970."""
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
_DAY: Final = re.compile(r"\d{8}")  # 20240131 in text is a day, as ISO 8601 writes it


def milliseconds_power(size: float) -> int:
    """Return the power of 1,000 that converts a number of this size to milliseconds.

    >>> [milliseconds_power(x) for x in (1.7e9, 1.7e12, 1.7e15, 1.7e18)]
    [1, 0, -1, -2]
    """
    return next((power for end, power in _UNITS if size <= end), _NANOSECONDS)


def is_epoch_number(text: str) -> bool:
    """Whether a text is a number of seconds (or parts of them) since 1970, not a date.

    >>> [is_epoch_number(x) for x in ("1711800000", "1711800000.5", "20240131", "2024-01-31")]
    [True, True, False, False]
    """
    return _NUMBER.fullmatch(text) is not None and _DAY.fullmatch(text) is None


def time_ms_of(moment: object) -> int:
    """Return milliseconds since 1970 UTC.

    ``moment`` is a number of seconds, milli-, micro- or nanoseconds, such a number as text, a date
    or an ISO 8601 text; without a time zone it is UTC.

    Raises:
        ValueError: ``moment`` is none of these.

    >>> [time_ms_of(x) for x in (1711800000, 1711800000.5, "1711800000000", 1711800000 * 10**9)]
    [1711800000000, 1711800000500, 1711800000000, 1711800000000]
    >>> time_ms_of("2024-03-30T12:00:00+00:00"), time_ms_of(date(2024, 3, 30))
    (1711800000000, 1711756800000)
    """
    if isinstance(moment, str):
        text = moment.strip()
        if is_epoch_number(text):
            return _from_epoch_number(float(text) if "." in text else int(text))
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text[:40]!r} is not a time (ISO 8601, or a number)") from None
    if isinstance(moment, datetime):
        at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(at.timestamp() * 1000)  # ValueError of pandas.NaT
    if isinstance(moment, date):
        return time_ms_of(datetime.combine(moment, time(), UTC))
    if isinstance(moment, bool) or moment is None:
        raise ValueError(f"{moment} is not a time")
    if isinstance(moment, int | float):
        return _from_epoch_number(moment)
    return time_ms_of(_to_python(moment))


def _to_python(moment: Any) -> object:
    """Convert a time of numpy or a similar library to a Python value."""
    name = type(moment).__name__
    if name == "datetime64":
        return moment.astype("datetime64[ms]").item()
    plain = moment.item() if callable(getattr(moment, "item", None)) else None
    if plain is None or type(plain).__name__ == name:
        raise ValueError(f"a {name} is not a time")
    return plain


def is_day(number: float) -> bool:
    """Whether a number is a day written as year, month, day.

    >>> is_day(20240131), is_day(20240132), is_day(20240131.5)
    (True, False, False)
    """
    if number != int(number):
        return False
    year, rest = divmod(int(number), 10_000)
    try:
        date(year, *divmod(rest, 100))
    except ValueError:
        return False
    return True


def _from_epoch_number(number: float) -> int:
    """Convert a number of seconds or parts of them since 1970; its size is its unit."""
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"{number} is not a time")
    if FIRST_DAY <= number <= LAST_DAY and is_day(number):
        raise ValueError(
            f"{number:.0f} looks like a day; as seconds it would be in 1970. "
            f"Send it as text: {str(int(number))!r}"
        )
    power = milliseconds_power(abs(number))
    if power > 0:
        return round(number * 1000)
    return math.floor(number) if power == 0 else math.floor(number // 1000**-power)
