"""Estimator factories of the trainer's tests; the fitting process imports them by name."""

from __future__ import annotations

from typing import Any

from sklearn.linear_model import LogisticRegression


def logistic() -> Any:
    """Fits in no time, and the same each time."""
    return LogisticRegression()


def broken() -> Any:
    """A factory that does not work."""
    raise RuntimeError("no such table: features")
