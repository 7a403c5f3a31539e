"""Start Python processes of driftline without executing modules of the working directory.

A user's ``trainer.py``, ``producer/`` or ``random.py`` in the working directory must not replace
the module of that name.  `python_command` returns a command line that runs this file:

    python -P .../producer/safe_path.py MODULE ARGUMENT...
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

PACKAGES: Final = ("producer", "stream_monitor", "trainer", "driftline")
"""The top-level packages of the distribution."""


def python_command(module: str, *arguments: str) -> list[str]:
    """Return a command line for ``python -m module arguments`` with this process's packages."""
    return [sys.executable, "-P", str(Path(__file__).absolute()), module, *arguments]


def safe_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return ``given`` with ``PYTHONSAFEPATH``, which child processes inherit."""
    return {**given, "PYTHONSAFEPATH": "1"}


def import_own_packages() -> None:
    """Import driftline's top-level packages from this file's folder, whatever ``sys.path`` is."""
    root = str(Path(__file__).absolute().parent.parent)
    sys.path.insert(0, root)
    for package in PACKAGES:
        import_module(package)
    sys.path.remove(root)


def main() -> None:
    """Run the module of the first argument as ``__main__``, with the other arguments."""
    import_own_packages()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
