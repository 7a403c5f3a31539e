"""The gate promotes what is better, and keeps its word on what is not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import lfilter

from trainer.evaluation.gate import Gate, check_refit, compare
from trainer.evaluation.interval import mean_interval
from trainer.evaluation.losses import losses

GATE = Gate(min_events=100, promote="if_better")
STRICT = Gate(promote="if_better")


def autoregressive(rng: np.random.Generator, n: int, correlation: float) -> Any:
    return lfilter([1], [1, -correlation], rng.standard_normal(n + 2_000))[2_000:]


@pytest.mark.parametrize(
    ("correlation", "n", "least"),
    [(0.0, 500, 0.925), (0.5, 500, 0.925), (0.9, 2_000, 0.92), (0.98, 5_000, 0.91)],
)
def test_the_interval_contains_the_mean_as_often_as_stated(
    correlation: float, n: int, least: float
) -> None:
    """Of 95 % intervals; the least is what was measured, less two standard errors."""
    rng = np.random.default_rng(11)
    intervals = [mean_interval(autoregressive(rng, n, correlation), 0.95) for _ in range(500)]

    held = np.mean([found.low <= 0 <= found.high for found in intervals])

    assert least <= held <= 0.985


def test_an_interval_that_ignores_dependence_would_not() -> None:
    rng = np.random.default_rng(11)
    held = []
    for _ in range(200):
        values = autoregressive(rng, 2_000, 0.98)
        held.append(abs(values.mean()) <= 1.96 * values.std() / math.sqrt(2_000))

    assert np.mean(held) < 0.4


@pytest.mark.parametrize("correlation", [0.0, 0.98])
def test_a_challenger_that_is_no_better_is_promoted_rarely(correlation: float) -> None:
    rng = np.random.default_rng(3)
    promoted = 0
    for _ in range(300):
        weather = autoregressive(rng, 3_000, correlation)
        champion = (weather + rng.standard_normal(3_000) > 1).astype(float)
        challenger = (
            autoregressive(rng, 3_000, correlation) + rng.standard_normal(3_000) > 1
        ).astype(float)
        promoted += compare(champion, challenger, GATE).promote

    assert promoted / 300 <= 0.06  # 2.5 % are asked for


def test_a_better_challenger_is_promoted_and_the_reason_reads() -> None:
    rng = np.random.default_rng(1)
    champion = (rng.random(2_000) < 0.30).astype(float)
    challenger = (rng.random(2_000) < 0.20).astype(float)

    decision = compare(champion, challenger, Gate())

    assert decision.promote
    assert decision.rule == "better"
    assert decision.reason == (
        "loss 0.2165 after 0.2945: improvement +0.0780, "
        "95 % interval +0.0500 to +0.1060, on 2000 events"
    )
    assert decision.numbers["n_events"] == 2_000
    assert not compare(challenger, champion, Gate()).promote


@pytest.mark.parametrize(("rate", "rule"), [(0.50, "worse"), (0.30, "not_worse"), (0.20, "better")])
def test_unless_worse_rejects_a_challenger_proved_worse(rate: float, rule: str) -> None:
    rng = np.random.default_rng(3)
    champion, challenger = (rng.random((2, 500)) < [[0.30], [rate]]).astype(float)

    decision = compare(champion, challenger, Gate())

    assert (decision.promote, decision.rule) == (rule != "worse", rule)


def test_a_refit_that_is_worse_on_rows_it_has_seen_is_rejected() -> None:
    rng = np.random.default_rng(4)
    recipe, broken = (rng.random((2, 500)) < [[0.30], [0.50]]).astype(float)
    unknown = np.where(np.arange(500) == 7, math.nan, recipe)

    assert check_refit(recipe, recipe * 0.9, Gate()) is None
    assert check_refit(recipe, broken, Gate()).rule == "refit_worse"  # type: ignore[union-attr]
    assert check_refit(recipe, unknown, Gate()).rule == "no_prediction"  # type: ignore[union-attr]


def test_the_same_losses_give_no_promotion() -> None:
    same = np.tile([0.0, 1.0, 0.0], 400)

    decision = compare(same, same, STRICT)

    assert (decision.promote, decision.rule) == (False, "not_better")
    assert decision.reason.startswith("the interval is not above zero.")
    assert compare(same, same, Gate()).rule == "not_worse"


def test_few_events_decide_nothing() -> None:
    decision = compare(np.ones(199), np.zeros(199), Gate())

    assert (decision.promote, decision.rule) == (False, "too_few_events")
    assert decision.reason == "199 later labelled events to compare on; 200 are needed"


def test_events_that_all_share_one_weather_decide_nothing() -> None:
    better_on_one_day = np.repeat([1.0, 0.0], 600)

    decision = compare(better_on_one_day, np.zeros(1_200), Gate())

    assert (decision.promote, decision.rule) == (False, "too_dependent")


def test_nan_is_never_promoted() -> None:
    champion, challenger = np.ones(1_000), np.zeros(1_000)
    challenger[17] = math.nan

    decision = compare(champion, challenger, Gate())

    assert (decision.promote, decision.rule) == (False, "no_prediction")
    assert decision.reason == "the challenger has no valid prediction for 1 of 1000 events"


def test_events_without_a_prediction_of_the_champion_are_left_out() -> None:
    rng = np.random.default_rng(2)
    champion, challenger = (rng.random((2, 1_000)) < [[0.4], [0.2]]).astype(float)
    champion[:300] = challenger[:10] = math.nan

    numbers = compare(champion, challenger, Gate()).numbers

    assert (numbers["n_events"], numbers["n_left_out"]) == (700, 300)


def test_a_limit_on_the_loss_is_kept() -> None:
    rng = np.random.default_rng(2)
    champion, challenger = (rng.random((2, 2_000)) < [[0.6], [0.4]]).astype(float)

    assert compare(champion, challenger, Gate()).promote
    assert compare(champion, challenger, Gate(max_loss=0.3)).rule == "above_limit"
    assert (
        compare(champion, challenger, Gate(min_improvement=0.3, promote="if_better")).rule
        == "not_better"
    )


LOSSES = arrays(
    np.float64,
    st.shared(st.integers(0, 300), key="n"),
    elements=st.one_of(st.floats(), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0])),
)


@given(LOSSES, LOSSES)
def test_any_losses_get_a_decision_and_not_both_are_better(first: Any, second: Any) -> None:
    one, other = compare(first, second, GATE), compare(second, first, GATE)

    assert not (one.promote and other.promote)
    assert one.reason
    assert all(
        math.isfinite(number) for number in one.numbers.values() if isinstance(number, float)
    )


def test_losses_of_different_events_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="different events"):
        compare(np.zeros(600), np.zeros(601), GATE)
    with pytest.raises(ValueError, match="2 predictions, but 1 labels"):
        losses([0.1, 0.2], [1], "binary")


def test_losses_are_those_the_monitor_watches() -> None:
    assert losses(
        [0.9, 0.9, "late"], ["late", "on time", "late"], "binary", positive="late"
    ).tolist() == [0, 1, 0]
    assert losses(["UA", {"UA": 0.4, "AA": 0.6}], ["UA", "UA"], "multiclass").tolist() == [0, 1]
    assert losses([1.5, 2], [1, 4], "regression").tolist() == [0.5, 2.0]


def test_the_brier_score_is_the_squared_error_of_the_probability() -> None:
    found = losses(
        [0.9, 0.9, 1.5, {"late": 0.5}, "late"],
        ["late", "on time", "late", "late", "on time"],
        "binary",
        positive="late",
        metric="brier",
    )

    assert found == pytest.approx([0.01, 0.81, math.nan, 0.25, 1.0], nan_ok=True)
    with pytest.raises(ValueError, match="for binary models"):
        losses([1.0], [1.0], "regression", metric="brier")


@given(
    pairs=st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(), st.integers(0, 1), st.booleans()),
            st.one_of(
                st.sampled_from([0, 1, 0.0, 1.0, True, False, "late", "1", 2, None]), st.just([1])
            ),
        ),
        max_size=20,
    ),
    positive=st.sampled_from([1, "late", 2]),
    metric=st.sampled_from(["error", "brier"]),
)
def test_the_losses_of_many_events_are_those_of_each(
    pairs: list[tuple[Any, Any]], positive: Any, metric: Any
) -> None:
    predictions, labels = [one for one, _ in pairs], [label for _, label in pairs]
    spec: dict[str, Any] = {"positive": positive, "metric": metric, "threshold": 0.4}

    together = losses(predictions, labels, "binary", **spec)

    # A predicted class is no probability, so that its loss is computed event by event.
    singly = losses([*predictions, "no"], [*labels, "no"], "binary", **spec)[:-1]
    np.testing.assert_array_equal(together, singly)


@pytest.mark.parametrize(
    "wrong", [{"confidence": 0.2}, {"min_events": 3}, {"min_improvement": math.nan}]
)
def test_impossible_gate_settings_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Gate(**wrong)
