"""Which windows of a training set are tried where classes are rare, or appear and vanish."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from trainer.fitting.model_fit import LABEL, FitSpec, fit_windows
from trainer.policy.training_window import candidate_windows

SPEC = FitSpec(["x"], "m", "2", task="multiclass")


def frame_of(labels: list[str]) -> pd.DataFrame:
    x = np.array([ord(label[0]) for label in labels], dtype=np.float64)
    return pd.DataFrame({"x": x, LABEL: labels})


def tried(labels: list[str]) -> set[str]:
    """The names of the windows that are fitted."""
    training = frame_of(labels)
    windows = candidate_windows(len(training))
    held_out = frame_of(["a", "b"])
    return set(fit_windows(LogisticRegression(), training, held_out, windows, SPEC, lambda _: None))


@pytest.mark.parametrize("row_of_the_rare_class", [0, 3_999, 5_999])
def test_a_rare_class_excludes_no_window_wherever_it_is(row_of_the_rare_class: int) -> None:
    labels = ["a", "b"] * 3_000
    labels[row_of_the_rare_class] = "c"

    assert tried(labels) == {"all", "last 2,500"}


def test_a_window_of_one_class_is_left_out() -> None:
    assert tried(["a", "b"] * 1_750 + ["a"] * 2_500) == {"all"}
