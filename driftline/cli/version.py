"""``driftline version``: show the versions of driftline and its main dependencies."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from driftline.cli.options import Json
from driftline.cli.output import write_json, write_line

PARTS: Final = (
    "confluent-kafka",
    "faust-streaming",
    "river",
    "redis",
    "msgspec",
    "numpy",
    "scikit-learn",
)


def show_version(*, as_json: Json = False) -> None:
    """Show the versions of driftline, Python and the main dependencies."""
    import driftline  # noqa: PLC0415 - light imports

    found = {"driftline": str(driftline.__version__), "python": platform.python_version()}
    for part in PARTS:
        try:
            found[part] = version(part)
        except PackageNotFoundError:
            found[part] = "not installed"
    if as_json:
        write_json(found)
    else:
        for name, number in found.items():
            write_line(f"{name:<16} {number}")
