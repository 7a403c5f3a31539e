"""The templates of the pages: every value is escaped, and shown on one line as `printable`."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from driftline.dashboard.pictures import histogram, sparkline
from driftline.doctor.health_checks import format_duration
from producer.printable import printable
from stream_monitor.episodes.formatting import (
    format_change,
    format_number,
    format_percent,
    format_time,
)

FOLDER: Final = Path(__file__).parent
STATIC: Final = FOLDER / "static"
_SHORT: Final = 12
_NAME: Final = re.compile(r"`([^`]+)`")


def environment(templates: Path = FOLDER / "templates") -> Environment:
    """The environment in which all pages of a folder of templates are rendered."""
    env = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_on_one_line,
    )
    env.globals |= {
        "url": url,
        "static": static_url,
        "sparkline": sparkline,
        "histogram": histogram,
    }
    env.filters |= {
        "number": format_number,
        "percent": format_percent,
        "time": shown_time,
        "short_time": _short_time,
        "iso": _iso,
        "duration": format_duration,
        "change": lambda pair: format_change(*pair),
        "short": lambda text: text[:_SHORT],
        "prose": prose,
    }
    return env


def _on_one_line(value: Any) -> Any:
    """A text from an event cannot hide characters or look like another one."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value


def prose(text: str) -> Markup:
    """A sentence about events, with the names in it, which are in backticks, as code.

    >>> prose("`<b>`: mean 1 → 2")
    Markup('<code>&lt;b&gt;</code>: mean 1 → 2')
    """
    return Markup(_NAME.sub(r"<code>\1</code>", str(escape(printable(text)))))  # noqa: S704 - escaped before


def url(path: str, **query: str | int) -> str:
    """A link inside the dashboard; names are encoded.

    >>> url("/model", name="a/b&c")
    '/model?name=a%2Fb%26c'
    """
    return f"{path}?{urlencode(query)}" if query else path


@lru_cache(maxsize=32)
def static_url(name: str) -> str:
    """The address of a static file, which changes with its content."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def shown_time(time_ms: int) -> str:
    """A time in UTC; a time outside the calendar stays a number."""
    try:
        return format_time(time_ms)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"


def _short_time(time_ms: int) -> str:
    """A time without its year, for narrow columns."""
    try:
        moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
    return f"{moment.day} {moment:%b %H:%M}"


def _iso(time_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(time_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return ""
