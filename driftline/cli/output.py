"""Where output goes: data to stdout, all else to stderr.

Nothing else in these commands writes there.  Names and values of events come from strangers: each
line is escaped as a whole (`producer.printable`), so that none can hold another one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from producer.printable import printable, printable_json


def write_line(text: str = "") -> None:
    """A line on stdout; what is not printable in it is escaped, newlines too."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def write_lines(lines: Iterable[str]) -> None:
    """Lines on stdout, each escaped."""
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))
    sys.stdout.flush()


def write_json(data: Any, *, indent: int = 2) -> None:
    """An object on stdout; ``indent`` 0 keeps it on one line."""
    encoded = msgspec.json.encode(data)
    if indent:
        encoded = msgspec.json.format(encoded, indent=indent)
    sys.stdout.write(printable_json(encoded.decode()) + "\n")
    sys.stdout.flush()


def note(*lines: str) -> None:
    """Lines on stderr, each escaped."""
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
    sys.stderr.flush()
