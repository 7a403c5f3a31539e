"""Calls the user's factory, ``module:function``, which returns an unfitted estimator.

The trainer probes it at its start, in a separate process: otherwise a wrong name would be found
only by the first retrain, perhaps weeks later.
"""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from sklearn.base import BaseEstimator

from producer.safe_path import python_command, safe_environment


class NotAnEstimator(Exception):  # noqa: N818 - names a finding
    """There is no such factory, or it does not return an estimator."""


def make_estimator(factory: str) -> Any:
    """Import and call a factory; return its estimator.

    Raises:
        NotAnEstimator: there is no such factory, or it does not return an estimator.
        Exception: any error of the module or the function.
    """
    module_name, _, name = factory.partition(":")
    if not module_name or not name.isidentifier():
        raise NotAnEstimator(f"{factory!r} is not a factory: the form is module:function")
    module = importlib.import_module(module_name)
    function = getattr(module, name, None)
    if not callable(function):
        hidden = _shadowing_hint(module, Path.cwd())
        raise NotAnEstimator(f"module {module_name} has no function {name}{hidden}")
    estimator = function()
    if inspect.isclass(estimator) or not isinstance(estimator, BaseEstimator):
        what = estimator.__name__ if inspect.isclass(estimator) else type(estimator).__name__
        kind = "the class" if inspect.isclass(estimator) else "an object of type"
        raise NotAnEstimator(
            f"{factory} returned {kind} {what}, not an estimator or pipeline of scikit-learn"
        )
    for method in ("fit", "predict"):
        if not hasattr(estimator, method):
            raise NotAnEstimator(
                f"{factory} returned a {type(estimator).__name__}, which has no {method}"
            )
    return estimator


def _shadowing_hint(module: ModuleType, here: Path) -> str:
    """Explain that an installed package hides a user's module of the same name in ``here``."""
    top = module.__name__.partition(".")[0]
    mine = [path for path in (here / f"{top}.py", here / top) if path.exists()]
    file = module.__file__
    if not mine or file is None or Path(file).is_relative_to(here):
        return ""
    return f": {file} is an installed package and hides {mine[0]}; rename yours"


PROBE_TIMEOUT_S: Final = 60.0
"""A slower import is left to the first fit, which has limits of its own."""
_MAX_REASON: Final = 1_000
_MARK: Final = "driftline-probe: "


def factory_problem(factory: str) -> str | None:
    """Return why ``module:function`` returns no estimator; ``None`` if no problem was found.

    A factory that raises exists; a fit will report its error.  Blocks for at most
    `PROBE_TIMEOUT_S`.
    """
    command = python_command("trainer.fitting.factory", factory)
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
