"""Where output goes: data to stdout, all else to stderr."""

from __future__ import annotations

import sys
from typing import Any

import msgspec


def write_json(data: Any, *, indent: int = 2) -> None:
    """An object on stdout; ``indent`` 0 keeps it on one line."""
    encoded = msgspec.json.encode(data)
    if indent:
        encoded = msgspec.json.format(encoded, indent=indent)
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
