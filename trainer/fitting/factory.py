"""Calls the user's factory, ``module:function``, which returns an unfitted estimator."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from sklearn.base import BaseEstimator


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
