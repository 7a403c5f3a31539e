"""Stored versions: the swap test holds its error level and finds a better version; the vote."""

from __future__ import annotations

import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.evaluation.gate import best_window
from trainer.evaluation.version_swap import Swap, SwapPolicy, SwapState, SwapTest
from trainer.evaluation.vote import vote_weights
from trainer.policy.training_window import TrainingWindow, candidate_windows

POLICY = SwapPolicy(events_per_false_swap=2_000, cooldown_events=0)
BLOCK = POLICY.block_events


def first_swap(rates: list[float], seed: int, n_events: int) -> tuple[int, Swap] | None:
    """The first swap of versions with these error rates; version 0 is the champion."""
    rng = np.random.default_rng(seed)
    test = SwapTest(POLICY, SwapState(champion="0"))
    for end in range(BLOCK, n_events + 1, BLOCK):
        losses = {str(i): (rng.random(BLOCK) < rate).astype(float) for i, rate in enumerate(rates)}
        swap = test.observe(losses)
        if swap is not None:
            return end, swap
    return None


def test_versions_that_are_not_better_are_swapped_in_less_often_than_stated() -> None:
    n_events = 4_000
    swaps = [first_swap([0.3] * 6, seed, n_events) for seed in range(60)]
    observed = sum(n_events if swap is None else swap[0] for swap in swaps)

    assert sum(swap is not None for swap in swaps) <= observed / POLICY.events_per_false_swap


@pytest.mark.parametrize(("better", "within"), [(0.20, 2_500), (0.10, 1_000)])
def test_a_better_version_takes_over_soon(better: float, within: int) -> None:
    for seed in range(10):
        found = first_swap([0.3, 0.3, better], seed, within)

        assert found is not None
        assert found[1].version == "2"


def test_a_version_that_becomes_better_is_found_as_soon_as_one_that_always_was() -> None:
    rng = np.random.default_rng(1)
    test = SwapTest(POLICY, SwapState(champion="0"))

    def block(theirs: float) -> Swap | None:
        rates = {"0": 0.3, "1": theirs}
        return test.observe({k: (rng.random(BLOCK) < r).astype(float) for k, r in rates.items()})

    assert all(block(0.5) is None for _ in range(400))
    assert any(block(0.1) is not None for _ in range(40))


@given(seed=st.integers(0, 1_000), cut=st.integers(0, 20))
def test_a_restart_changes_nothing(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = [{str(v): rng.random(BLOCK) for v in range(3)} for _ in range(20)]
    whole = SwapTest(POLICY, SwapState(champion="0"))
    for block in blocks:
        whole.observe(block)

    parts = SwapTest(POLICY, SwapState(champion="0"))
    for i, block in enumerate(blocks):
        if i == cut:
            stored = msgspec.json.encode(parts.state)
            parts = SwapTest(POLICY, msgspec.json.decode(stored, type=SwapState))
        parts.observe(block)

    assert parts.state == whole.state


def test_events_that_a_version_was_trained_on_do_not_count() -> None:
    test = SwapTest(POLICY, SwapState(champion="0"))
    for _ in range(200):
        test.observe({"0": np.ones(BLOCK), "1": np.full(BLOCK, math.nan)})

    assert test.state.wealth == {}


@given(losses=st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1), min_size=1, max_size=6))
def test_weights_sum_to_one_and_fall_with_the_loss(losses: dict[str, float]) -> None:
    values = {name: np.full(100, loss) for name, loss in losses.items()}

    weights = vote_weights(values)

    assert sum(weights.values()) == pytest.approx(1)
    ordered = sorted(weights, key=lambda name: losses[name])
    assert all(
        weights[one] >= weights[next_one] - 1e-12 for one, next_one in itertools.pairwise(ordered)
    )


def test_the_window_with_the_least_loss_is_chosen_and_of_equal_ones_the_largest() -> None:
    windows = candidate_windows(20_000, {"since the onset": 900})
    equal = {window.name: np.full(500, 0.2) for window in windows}
    better = {**equal, "since the onset": np.full(500, 0.19)}

    assert [window.rows for window in windows] == [None, 10_000, 5_000, 2_500, 900]
    assert best_window(windows, equal).name == "all"
    assert best_window(windows, better) == TrainingWindow("since the onset", 900)
    assert best_window(windows, {"last 5,000": np.ones(3)}).name == "last 5,000"
    with pytest.raises(ValueError, match="no window"):
        best_window(windows, {})
