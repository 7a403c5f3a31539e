"""How far back the losses of a training set describe the model of today."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stream_monitor.reference.fit import MIN_EVENTS
from stream_monitor.statistics.dependence import autocorrelation_time
from stream_monitor.statistics.fixed_point import Floats
from trainer.fitting.model_fit import LABEL, FitSpec, reference_of
from trainer.fitting.recent_losses import n_recent

N_FOLDS = 5


def information_of(losses: Floats) -> float:
    return len(losses) / autocorrelation_time(losses)


def errors_of(levels: list[float], rows: int, seed: int) -> Floats:
    """0/1 losses with one level for each fold of ``rows``."""
    rng = np.random.default_rng(seed)
    return (rng.random(len(levels) * rows) < np.repeat(levels, rows)).astype(np.float64)


@given(st.integers(1, 4), st.integers(0, 50), st.sampled_from([400, 1_000, 3_000]))
def test_losses_before_a_change_do_not_count(changed: int, seed: int, rows: int) -> None:
    levels = [0.1] * changed + [0.4] * (N_FOLDS - changed)

    found = n_recent(errors_of(levels, rows, seed), N_FOLDS)

    assert found <= (N_FOLDS - changed) * rows


@given(st.integers(0, 50), st.integers(MIN_EVENTS, 4_000))
def test_scale_and_shift_of_losses_change_nothing(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.gamma(2.0, 1.0, n) * np.linspace(1, 1 + seed / 50, n)

    assert n_recent(8.0 * losses, N_FOLDS) == n_recent(losses, N_FOLDS)


@given(st.integers(0, 100), st.integers(5, 3_000), st.floats(0, 1))
def test_a_reference_keeps_enough_losses_of_any_training_set(
    seed: int, n: int, unknown: float
) -> None:
    rng = np.random.default_rng(seed)
    losses = (rng.random(n) < np.linspace(0, 1, n)).astype(np.float64)
    losses[rng.random(n) < unknown] = np.nan

    found = n_recent(losses, N_FOLDS)

    known = int(np.isfinite(losses[-found:]).sum())
    assert found == n or known >= MIN_EVENTS


@given(st.integers(0, 200), st.sampled_from([0.02, 0.2, 0.5]))
def test_independent_losses_of_one_level_all_count(seed: int, level: float) -> None:
    losses = errors_of([level] * N_FOLDS, 800, seed)
    assume(autocorrelation_time(losses) == 1)  # seeds for which it is not are rare

    assert n_recent(losses, N_FOLDS) == len(losses)


@given(st.integers(0, 50), st.integers(1, 4), st.floats(0, 0.5))
def test_a_reference_never_has_less_information_than_all_losses(
    seed: int, changed: int, size: float
) -> None:
    """A slow or small change keeps the precision of the whole set."""
    losses = errors_of([0.2] * changed + [0.2 + size] * (N_FOLDS - changed), 600, seed)

    newest = losses[len(losses) - n_recent(losses, N_FOLDS) :]

    assert information_of(newest) >= information_of(losses)


@pytest.mark.parametrize("timed", [False, True])
def test_the_reference_of_a_set_with_a_change_is_that_of_its_newest_part(*, timed: bool) -> None:
    """The mean is that after the change, and the evidence does not wait for thousands of events."""
    levels, rows = [0.1, 0.1, 0.1, 0.3, 0.3], 1_000
    wrong = errors_of(levels, rows, seed=1)
    n = len(wrong)
    rng = np.random.default_rng(2)
    training = pd.DataFrame({"x": rng.standard_normal(n), LABEL: np.tile([0, 1], n // 2)})
    if timed:
        training["time_ms"] = 1_700_000_000_000 + 60_000 * np.arange(n)
    predicted = np.abs(training[LABEL] - wrong) * 0.8 + 0.1

    profile = reference_of(
        training, predicted.tolist(), FitSpec(["x"], "m", "2", task="binary"), {}
    )

    assert profile.n_events == profile.features["x"].n_events == n
    assert profile.loss is not None
    assert profile.expected_loss is not None
    for reference in (profile.loss, profile.expected_loss.outcome):
        assert reference.n_events == 2 * rows
        assert reference.mean == pytest.approx(0.3, abs=0.03)
        assert reference.tau < 2
