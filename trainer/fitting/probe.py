"""Whether a factory can be called: tried at the trainer's start, in a process of its own.

A name that leads nowhere would otherwise be found by the first retrain, weeks later.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from producer.safe_path import python_command, safe_environment

PROBE_TIMEOUT_S: Final = 60.0
"""Who imports for longer is tried by the first fit, which has limits of its own."""
_MAX_REASON: Final = 1_000
_MARK: Final = "driftline-probe: "


def factory_problem(factory: str) -> str | None:
    """Why ``module:function`` leads to no estimator, and where it was looked for; ``None``: it may.

    A factory that raises is there: a fit says why it failed.  Blocks for a minute at most.
    """
    command = python_command("trainer.fitting.probe", factory)
    try:
        done = subprocess.run(  # noqa: S603 - our own module
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
    """Make the estimator; say on stderr why it cannot be made."""
    from trainer.fitting.factory import NotAnEstimator, make_estimator  # noqa: PLC0415 - the parent needs no sklearn

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
    except BaseException:  # noqa: BLE001 - it is there; what it raises now may pass, and a fit says so
        return 0
    else:
        return 0
    sys.stderr.write(f"\n{_MARK}{' '.join(reason.split())[:_MAX_REASON]}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
