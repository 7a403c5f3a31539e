"""Estimator factories of the backtest's tests, imported by name from this folder."""

from __future__ import annotations

from typing import Any

from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def logistic() -> LogisticRegression:
    return LogisticRegression()


def logistic_of_names() -> Any:
    names = make_column_selector(dtype_exclude="number")
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), names), remainder="passthrough"
    )
    return make_pipeline(encode, LogisticRegression())


def linear() -> LinearRegression:
    return LinearRegression()


def broken() -> LogisticRegression:
    raise RuntimeError("the database of features is not there")
