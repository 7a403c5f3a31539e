"""Estimator factories of the backtest's tests, imported by name from this folder."""

from __future__ import annotations

from sklearn.linear_model import LinearRegression, LogisticRegression


def logistic() -> LogisticRegression:
    return LogisticRegression()


def linear() -> LinearRegression:
    return LinearRegression()


def broken() -> LogisticRegression:
    raise RuntimeError("the database of features is not there")
