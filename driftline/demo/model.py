"""The demo's model, which predicts whether a flight arrives late."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from driftline.demo.scenario import FEATURES, MODEL, VERSION
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import ReferenceProfile
from trainer.fitting.model_fit import importances

N_FOLDS: Final = 5


class Trained(NamedTuple):
    """A fitted model, its profile, and its error rate on flights it was not fitted on."""

    pipeline: Pipeline
    profile: ReferenceProfile
    out_of_fold_error: float


def build() -> Pipeline:
    """An unfitted model; it is small, because a month has few flights."""
    encode = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["carrier"]),
        remainder="passthrough",
    )
    boost = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, random_state=0)
    return make_pipeline(encode, boost)


def probabilities(pipeline: Any, frame: pd.DataFrame) -> NDArray[np.float64]:
    """The probability of being late, (n,), rounded to six digits."""
    columns = list(pipeline.feature_names_in_)  # the trainer may have sorted them
    scores: NDArray[np.float64] = pipeline.predict_proba(frame[columns])[:, 1]
    return scores.round(6)


def out_of_fold(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Predictions (n,) for flights that the model was not fitted on.

    Each fold is a period of time, because flights of neighbouring hours share their weather.
    """
    scores = np.empty(len(frame))
    for rest, held_out in KFold(N_FOLDS).split(frame):
        pipeline = build().fit(frame.iloc[rest][FEATURES], frame.iloc[rest]["late"])
        scores[held_out] = probabilities(pipeline, frame.iloc[held_out])
    return scores


def train(frame: pd.DataFrame) -> Trained:
    """Fit on ``frame``; the reference of predictions and errors is out of fold."""
    # OpenMP threads wait by spinning: on a busy machine a fit takes ten times longer.
    with threadpool_limits(1, user_api="openmp"):
        scores = out_of_fold(frame)
        pipeline = build().fit(frame[FEATURES], frame["late"])
        important = importances(pipeline, frame[FEATURES], frame["late"], "binary")
    profile = profile_from_frame(
        frame[["time_ms", *FEATURES, "late"]].assign(score=scores),
        model=MODEL,
        version=VERSION,
        prediction="score",
        label="late",
        features=FEATURES,
        task="binary",
        time="time_ms",
        importances=important,
    )
    error = float(np.mean((scores > 0.5) != frame["late"].to_numpy()))
    return Trained(pipeline, profile, error)
