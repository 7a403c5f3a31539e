"""Checks at the trainer's start, in a separate process, that a factory can be called.

Otherwise a wrong name would be found only by the first retrain, perhaps weeks later.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from producer.safe_path import python_command, safe_environment

PROBE_TIMEOUT_S: Final = 60.0
"""A slower import is left to the first fit, which has limits of its own."""
_MAX_REASON: Final = 1_000
_MARK: Final = "driftline-probe: "


def factory_problem(factory: str) -> str | None:
    """Return why ``module:function`` returns no estimator; ``None`` if no problem was found.

    A factory that raises exists; a fit will report its error.  Blocks for at most
    `PROBE_TIMEOUT_S`.
    """
    command = python_command("trainer.fitting.probe", factory)
    try:
        done = subprocess.run(  # noqa: S603 - a module of driftline
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            errors="replace",
            env=safe_environment(os.environ),
            timeout=PROBE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.startswith(_MARK)]
    if lines:
        return lines[-1].removeprefix(_MARK)
    return f"importing it ended the process with {done.returncode}: {done.stderr[-_MAX_REASON:]}"


def main(factory: str) -> int:
    """Call the factory; write on stderr why it gives no estimator."""
    # The parent process needs no sklearn.
    from trainer.fitting.factory import NotAnEstimator, make_estimator  # noqa: PLC0415

    here = str(Path.cwd())
    sys.path.append(here)  # last, as in a fit
    try:
        make_estimator(factory)
    except NotAnEstimator as error:
        reason = str(error)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        reason = f"there is no module {missing!r} among the installed packages or in {here}"
        if missing != factory.partition(":")[0].partition(".")[0]:
            reason = f"importing {factory.partition(':')[0]}: {reason}"
    except BaseException:  # noqa: BLE001 - the factory exists; a fit reports its errors
        return 0
    else:
        return 0
    sys.stderr.write(f"\n{_MARK}{' '.join(reason.split())[:_MAX_REASON]}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
