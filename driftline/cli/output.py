"""Write the output of commands: data to stdout, notes to stderr.

Every command writes through this module.  Names and values of events come from outside, so every
line is escaped (`producer.printable`): a value cannot contain another line or a terminal command.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from driftline.cli.command_error import CommandError
from producer.printable import printable, printable_json


def write_line(text: str = "") -> None:
    """Write a line to stdout; characters that cannot be printed, and newlines, are escaped."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to stdout, each escaped."""
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))
    sys.stdout.flush()


def write_json(data: Any, *, indent: int = 2) -> None:
    """Write JSON to stdout; ``indent`` 0 keeps it on one line."""
    encoded = msgspec.json.encode(data)
    if indent:
        encoded = msgspec.json.format(encoded, indent=indent)
    sys.stdout.write(printable_json(encoded.decode()) + "\n")
    sys.stdout.flush()


def write_file(content: bytes, path: Path, what: str, example: str) -> None:
    """Write a file that an option names; ``example`` is that option with a file.

    Raises:
        CommandError: ``what``, such as "the report", cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CommandError(
            f"{what} cannot be written",
            where=str(path),
            why=error.strerror or str(error),
            fix=f"name a file in a folder that exists: {example}",
        ) from error


def note(*lines: str) -> None:
    """Write lines to stderr, each escaped."""
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
    sys.stderr.flush()


def format_timestamp(time_ms: int) -> str:
    """A time to the second, in UTC; a time outside the calendar stays a number.

    >>> format_timestamp(1384903980999), format_timestamp(1 << 62)
    ('2013-11-19 23:33:00Z', '4611686018427387904 ms')
    """
    try:
        return f"{datetime.fromtimestamp(time_ms // 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
