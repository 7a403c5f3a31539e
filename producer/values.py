"""Convert Python values of a model server (numpy, pandas, dates) to values of an event.

Types of numpy, pandas and similar libraries are recognised by name, without an import: a model
server needs none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

from producer.events import Prediction, Value

_PLAIN: Final = frozenset({float, str, bool, type(None)})
_NAME_TYPES: Final = frozenset({str})
_MISSING: Final = frozenset({"NAType", "NaTType", "MaskedConstant"})  # of pandas, of numpy
_AS_TEXT: Final = frozenset({"Interval", "Period"})  # of pandas
_TEXT_MODULES: Final = frozenset({"ipaddress", "pathlib"})
INT64_LIMIT: Final = 1 << 63
_MAX_DEPTH: Final = 8


class UnsupportedValue(ValueError):  # noqa: N818 - a public name
    """A value cannot be represented in an event; the text names its type."""


def value_of(value: Any) -> Value:
    """Convert a value to a number, a text, a boolean, or ``None`` if it is missing.

    Raises:
        UnsupportedValue: the value is none of these.
        Exception: an object of another library may raise anything.

    >>> value_of(Decimal("12.50")), value_of(timedelta(minutes=2)), value_of(date(2024, 1, 1))
    (12.5, 120.0, '2024-01-01')
    """
    kind = type(value)
    if kind in _PLAIN:
        return value  # type: ignore[no-any-return]
    if isinstance(value, Enum):
        return value_of(value.value)
    if isinstance(value, int):
        number = int.__int__(value)
        return number if -INT64_LIMIT <= number < INT64_LIMIT else float_of(number)
    if kind.__name__ in _MISSING:
        return None
    for known, convert in _CONVERTERS:
        if isinstance(value, known):
            return convert(value)
    return _from_library_type(value, kind)


def float_of(number: Any) -> float | None:
    """Return the nearest float; ``None``, a missing value, if there is none.

    >>> float_of(1 << 64), float_of(10**400), float_of(None)
    (1.8446744073709552e+19, None, None)
    """
    try:
        return None if number is None else float(number)
    except (OverflowError, ValueError):  # ValueError: a signalling NaN
        return None


_CONVERTERS: Final[tuple[tuple[type | tuple[type, ...], Callable[[Any], Value]], ...]] = (
    (str, str.__str__),
    (float, float.__float__),
    (Decimal, float_of),
    (timedelta, timedelta.total_seconds),
    ((date, time), lambda moment: moment.isoformat()),
    ((bytes, bytearray), lambda text: text.decode()),
    (UUID, str),
)


def _is_text(kind: type) -> bool:
    return kind.__name__ in _AS_TEXT or kind.__module__.partition(".")[0] in _TEXT_MODULES


def _from_library_type(value: Any, kind: type) -> Value:
    """Convert a scalar of numpy, pyarrow or a similar library."""
    name = kind.__name__
    if _is_text(kind):
        return str(value)
    if name in ("datetime64", "timedelta64"):
        plain = value.item()
        if isinstance(plain, int):  # nanoseconds, for which Python has no type
            plain = value.astype(f"{name}[us]").item()
        return value_of(plain)
    for way in ("item", "as_py"):
        unwrap = getattr(value, way, None)
        if callable(unwrap):
            try:
                plain = unwrap()
            except ValueError:
                raise UnsupportedValue(f"a {name} is not a single value") from None
            if type(plain) is not kind:
                return value_of(plain)
    if hasattr(kind, "__float__"):
        return float_of(value)
    raise UnsupportedValue(f"a {name} is not a supported value")


def values_of(values: dict[Any, Any]) -> dict[str, Value]:
    """Convert named values; return the same dictionary if nothing needs converting.

    Raises:
        UnsupportedValue: a value is not supported, or two have one name; the text names it.
    """
    if _PLAIN.issuperset(map(type, values.values())) and _NAME_TYPES.issuperset(map(type, values)):
        return values
    found: dict[str, Value] = {}
    for key, value in values.items():
        name = column_name(key)
        try:
            found[name] = value_of(value)
        except UnsupportedValue as why:
            raise UnsupportedValue(f"features.{name[:64]!a}: {why}") from None
    if len(found) < len(values):
        raise UnsupportedValue("features: two of them have one name")
    return found


def column_name(key: Any) -> str:
    """Convert a column name to text; numbers are column names, too.

    >>> column_name("age"), column_name(0), column_name(True)
    ('age', '0', '1')
    """
    plain = key if type(key) is str else value_of(key)
    if isinstance(plain, bool):
        plain = int(plain)
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    if not isinstance(plain, str | int):
        raise UnsupportedValue(f"a {type(key).__name__} is not a name")
    return str(plain)


def json_of(value: Any, depth: int = 0) -> Any:
    """Convert a value, or a list or a map of values, to JSON types.

    Raises:
        UnsupportedValue: an inner value is not supported, or the nesting is too deep.
        Exception: an object of another library may raise anything.

    >>> json_of((1, Decimal("2.5"))), json_of({0: 0.2, 1: 0.8})
    ([1, 2.5], {'0': 0.2, '1': 0.8})
    """
    if type(value) in _PLAIN:
        return value
    if depth > _MAX_DEPTH:
        raise UnsupportedValue("it is nested too deeply")
    if isinstance(value, Mapping):
        return {column_name(key): json_of(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_of(inner, depth + 1) for inner in value]
    unwrap: Callable[[], Any] | None = getattr(value, "tolist", None)
    if callable(unwrap) and getattr(value, "shape", None):
        return json_of(unwrap(), depth + 1)
    return value_of(value)


def prediction_of(value: Any) -> Prediction:
    """Convert a prediction; ``None``, an invalid prediction, if JSON cannot represent it.

    >>> prediction_of(0.5), prediction_of(object()), prediction_of([Decimal(1), math.nan])
    (0.5, None, [1.0, nan])
    """
    try:
        found: Prediction = json_of(value)
    except BaseException:  # noqa: BLE001 - an object of another library may raise anything
        return None
    return found


def detached_copy(value: Any) -> Any:
    """Copy lists, maps and arrays, so that their owner may change them."""
    if isinstance(value, dict | list):
        return value.copy()
    if getattr(value, "shape", None):
        return value.tolist()
    return value


def id_of(value: Any) -> str:
    """Convert an id (text, UUID, whole number) to text.

    >>> id_of("a"), id_of(7), id_of(UUID(int=7))
    ('a', '7', '00000000-0000-0000-0000-000000000007')
    """
    plain = value_of(value)
    if isinstance(plain, bool) or not isinstance(plain, str | int):
        raise UnsupportedValue(f"id: a {type(value).__name__} is not an id")
    return str(plain)


def segment_of(segment: Mapping[Any, Any]) -> dict[str, str]:
    """Convert the segment of an event to texts; missing values are left out.

    >>> segment_of({"origin": "EWR", "store": 5, "site": None})
    {'origin': 'EWR', 'store': '5'}
    """
    texts = {column_name(key): text_of(value) for key, value in segment.items()}
    return {name: text for name, text in texts.items() if text is not None}


def text_of(value: Any) -> str | None:
    """Convert a value of a segment to text, as categories are named; ``None`` if it is missing.

    >>> text_of("EWR"), text_of(3.0), text_of(True), text_of(math.nan)
    ('EWR', '3', 'True', None)
    """
    plain = value_of(value)
    if isinstance(plain, float):
        if not math.isfinite(plain):
            return None
        plain = int(plain) if plain.is_integer() else plain
    return None if plain is None else str(plain)
