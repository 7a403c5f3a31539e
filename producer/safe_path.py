"""Python processes of driftline: started so that nothing in the working directory is executed.

A person's ``trainer.py``, ``producer/`` or ``random.py`` in the folder where driftline is started
must not take the place of the module of that name.  `python_command` gives the command line; this
file is what that command runs:

    python -P .../producer/own_process.py MODULE ARGUMENT...
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
    """The command line of ``python -m module arguments``, with the packages of this process."""
    return [sys.executable, "-P", str(Path(__file__).absolute()), module, *arguments]


def safe_environment(given: Mapping[str, str]) -> dict[str, str]:
    """``given``, for processes whose own children do not search the working directory either."""
    return {**given, "PYTHONSAFEPATH": "1"}


def import_own_packages() -> None:
    """Load our top-level packages from where this file lies, whatever ``sys.path`` says."""
    root = str(Path(__file__).absolute().parent.parent)
    sys.path.insert(0, root)
    for package in PACKAGES:
        import_module(package)
    sys.path.remove(root)


def main() -> None:
    """Run the module that the first argument names as ``__main__``, with the other arguments."""
    import_own_packages()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
