"""A retraining schedule on the demo's flights, to compare driftline with."""

from __future__ import annotations

from typing import Final, NamedTuple, cast

import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from driftline.demo.model import build
from driftline.demo.scenario import FEATURES, LABEL_DELAY_MS
from driftline.offline.backtest.fitted_versions import FittedVersions
from driftline.offline.backtest.labelled_stream import LabelDelay, stream_of
from driftline.offline.backtest.plain_policies import Schedule
from driftline.offline.tables.layout import Feature, Layout

MONTHS: Final = 12
CHUNK_ROWS: Final = 100
"""Flights between two decisions, as in a backtest."""
_CATEGORIES: Final = {"carrier"}
_LAYOUT: Final = Layout(
    tuple(Feature(n, n, "categorical" if n in _CATEGORIES else "numeric") for n in FEATURES),
    time="time_ms",
    prediction=None,
    label="late",
    ignored={},
)


class ScheduledScores(NamedTuple):
    """The predictions (n,) that a schedule would have served, and the number of its fits."""

    scores: list[float]
    n_fits: int


def scheduled_scores(training: pd.DataFrame, served: pd.DataFrame) -> ScheduledScores:
    """Predict ``served`` with a model that is fitted again every month, on all flights so far.

    Both frames have `FEATURES`, ``time_ms`` and ``late``; ``served`` is sorted by time, with the
    features as they were logged.  The model and the delay of the labels are those of the demo.
    """
    frame = pd.concat([training, served], ignore_index=True)
    stream = stream_of(
        frame,
        _LAYOUT,
        n_training=len(training),
        delay=LabelDelay(ms=LABEL_DELAY_MS),
        task="binary",
        positive=1,
    )
    scores: list[float] = []
    with threadpool_limits(1, user_api="openmp"):  # see `model.train`
        policy = Schedule(FittedVersions(stream, build), max(1, len(frame) // MONTHS), None)
        for start in range(len(training), len(frame), CHUNK_ROWS):
            end = min(start + CHUNK_ROWS, len(frame))
            scores += [cast("float", score) for score in policy.predict(start, end)]
            policy.advance(start, end)
    return ScheduledScores(scores, policy.fits)
