"""From ``module:function`` to an unfitted estimator."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from sklearn.base import BaseEstimator


class NotAnEstimator(Exception):  # noqa: N818 - reads as what it says
    """The name leads to no factory, or the factory to no estimator."""


def make(factory: str) -> Any:
    """The estimator that the factory returns.

    Raises:
        NotAnEstimator: it leads to none.
        Exception: whatever the module and the function raise.
    """
    module_name, _, name = factory.partition(":")
    if not module_name or not name.isidentifier():
        raise NotAnEstimator(f"{factory!r} is no factory; it must read module:function")
    function = getattr(importlib.import_module(module_name), name, None)
    if not callable(function):
        raise NotAnEstimator(f"module {module_name} has no function {name}")
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
