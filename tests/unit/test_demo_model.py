from __future__ import annotations

import msgspec
import numpy as np
import pytest

from driftline.demo import flights
from driftline.demo.model import Trained, probabilities, train
from driftline.demo.scenario import FEATURES
from stream_monitor.reference.profile import profile_from_data, profile_to_data


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(flights.split(flights.load())[0])


def test_the_profile_watches_every_feature_the_prediction_and_the_loss(trained: Trained) -> None:
    profile = trained.profile
    assert list(profile.features) == FEATURES
    assert profile.skipped == {}
    assert profile.prediction is not None
    assert profile.loss is not None
    assert profile.loss.mean == pytest.approx(trained.out_of_fold_error)


def test_the_profile_fits_into_a_model_update(trained: Trained) -> None:
    sent = msgspec.json.encode(profile_to_data(trained.profile))
    assert len(sent) < 900_000
    assert profile_from_data(msgspec.json.decode(sent)) == trained.profile


def test_the_model_ages_and_answers_even_without_weather(trained: Trained) -> None:
    _, rest = flights.split(flights.load())
    scores = probabilities(trained.pipeline, rest)
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    wrong = (scores > 0.5) != rest["late"].to_numpy()
    months = (rest["time_ms"] // (30 * 86_400_000)).to_numpy()
    by_month = [wrong[months == month].mean() for month in np.unique(months)[:-1]]
    assert max(by_month) > 1.5 * min(by_month)
