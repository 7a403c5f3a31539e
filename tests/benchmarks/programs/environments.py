"""Virtual environments for the compared programs whose packages do not fit driftline's own.

An environment is built once, in the user's cache, and kept: its name has the versions.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

_RIVER: Final = "river==0.26.1"
PACKAGES: Final = {
    "quix_streams": ("quixstreams==3.28.1", _RIVER),
    "bytewax_dataflow": ("bytewax[kafka]==0.21.1", "msgspec==0.22.0", _RIVER),
}
"""The packages of a program, by the name of its module; the others run in this environment."""


class EnvironmentUnavailableError(Exception):
    """The packages of a program cannot be installed here."""


def python_for(program: str) -> str:
    """The interpreter that runs a program.

    Raises:
        EnvironmentUnavailableError: pip cannot install the packages; the text has the reason.
    """
    packages = PACKAGES.get(program)
    if packages is None:
        return sys.executable
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    minor = f"python{sys.version_info.major}.{sys.version_info.minor}"
    name = packages[0].replace("==", "-").replace("[", "-").replace("]", "")
    folder = cache / "driftline" / "benchmarks" / f"{name}-{minor}"
    python, complete = folder / "bin" / "python", folder / ".complete"
    if not complete.exists():
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
        if done.returncode:
            raise EnvironmentUnavailableError(
                (done.stderr.strip().splitlines() or ["pip failed"])[-1]
            )
        complete.touch()
    return str(python)
