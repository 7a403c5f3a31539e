"""Chooses the training window; the gate decides whether its challenger replaces the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.interval import MIN_EFFECTIVE_N, Interval, mean_interval
from trainer.evaluation.losses import Floats, Metric
from trainer.policy.training_window import TrainingWindow

GateRule: TypeAlias = Literal[
    "better",
    "not_worse",
    "too_few_events",
    "too_dependent",
    "no_prediction",
    "above_limit",
    "not_better",
    "worse",
    "refit_worse",
    "golden_worse",
]

_MIN_VALUES: Final = 8  # `mean_interval` needs as many
_MAX_COMPARABLE_LOSS: Final = 1e100  # the square of a larger loss may overflow


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions for a promotion, on the holdout: at least ``min_events`` events.

    The improvement is the loss of the champion minus that of the challenger, with its
    ``confidence`` interval.  ``unless_worse`` rejects a challenger whose whole interval is below
    zero: a retrain starts when the champion is known to do badly, so the burden of proof is not on
    the challenger.  ``if_better`` promotes only if the whole interval is above ``min_improvement``.
    Both reject a mean loss above ``max_loss``, if it is set.

    ``metric`` is the loss.  ``brier`` needs fewer events to distinguish two binary models, because
    it measures by how much they are wrong; ``auto`` uses it for probabilities, and ``error``
    otherwise.

    ``golden`` is a Parquet file with the features and a column ``label``, or one for each model:
    cases that must stay right whatever drifts.  A challenger whose whole interval there is below
    zero is rejected.

    Raises:
        ValueError: a number is out of range.
    """

    confidence: float = 0.95
    min_events: int = 200
    min_improvement: float = 0.0
    max_loss: float | None = None
    metric: Metric | Literal["auto"] = "auto"
    promote: Literal["unless_worse", "if_better"] = "unless_worse"
    golden: str | dict[str, str] | None = None

    def __post_init__(self) -> None:
        """Validate the numbers."""
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence {self.confidence}: must be at least 0.5 and below 1")
        if self.min_events < _MIN_VALUES:
            raise ValueError(f"min_events {self.min_events}: must be at least {_MIN_VALUES}")
        if not self.min_improvement >= 0:
            raise ValueError(f"min_improvement {self.min_improvement}: must not be negative")

    def golden_file(self, model: str) -> str | None:
        """Return the file of the golden set of a model; ``None`` if it has none."""
        return self.golden.get(model) if isinstance(self.golden, dict) else self.golden


class GateDecision(NamedTuple):
    """Whether to promote, the rule, the reason and the numbers that decided."""

    promote: bool
    rule: GateRule
    reason: str
    numbers: dict[str, float | int | str | None]


def compare(champion: Floats, challenger: Floats, gate: Gate) -> GateDecision:
    """Compare the losses of two models on the same n events in order of time, both (n,).

    NaN, or a loss beyond 1e100, means that an event could not be compared.  Without a loss of the
    champion the event is left out; without one of the challenger alone the challenger is rejected.

    Raises:
        ValueError: the arrays differ in length.
    """
    if champion.shape != challenger.shape or champion.ndim != 1:
        raise ValueError(f"losses of different events: {champion.shape}, {challenger.shape}")
    known = _is_loss(champion)
    champion_losses, challenger_losses = champion[known], challenger[known]
    n = len(champion_losses)
    n_missing = int(np.count_nonzero(~_is_loss(challenger_losses)))
    numbers: dict[str, Any] = {"n_events": n, "n_left_out": len(champion) - n}
    if n_missing:
        reason = f"the challenger has no valid prediction for {n_missing} of {n} events"
        return _not_promoted("no_prediction", reason, {**numbers, "n_no_prediction": n_missing})
    if n < gate.min_events:
        reason = f"{n} later labelled events to compare on; {gate.min_events} are needed"
        return _not_promoted("too_few_events", reason, numbers)
    found = mean_interval(champion_losses - challenger_losses, gate.confidence)
    numbers |= {
        "champion_loss": float(champion_losses.mean()),
        "challenger_loss": float(challenger_losses.mean()),
        "improvement": found.mean,
        "improvement_low": found.low,
        "improvement_high": found.high,
        "confidence": gate.confidence,
        "effective_events": found.effective_n,
    }
    return _decide(found, gate, numbers)


def _decide(found: Interval, gate: Gate, numbers: dict[str, Any]) -> GateDecision:
    losses = f"loss {numbers['challenger_loss']:.4f} after {numbers['champion_loss']:.4f}"
    share = f"{100 * gate.confidence:g} % interval {found.low:+.4f} to {found.high:+.4f}"
    summary = f"{losses}: improvement {found.mean:+.4f}, {share}, on {numbers['n_events']} events"
    if found.effective_n < MIN_EFFECTIVE_N:
        reason = (
            f"the events depend on each other so much that they count as {found.effective_n:.0f} "
            f"independent ones; {MIN_EFFECTIVE_N:.0f} are needed.  {summary}"
        )
        return _not_promoted("too_dependent", reason, numbers)
    if gate.max_loss is not None and numbers["challenger_loss"] > gate.max_loss:
        reason = f"the challenger's loss is above the limit of {gate.max_loss:g}.  {summary}"
        return _not_promoted("above_limit", reason, numbers)
    if found.low > gate.min_improvement:
        return GateDecision(promote=True, rule="better", reason=summary, numbers=numbers)
    if gate.promote == "if_better":
        beyond = f"{gate.min_improvement:+g}" if gate.min_improvement else "zero"
        return _not_promoted(
            "not_better", f"the interval is not above {beyond}.  {summary}", numbers
        )
    if found.high < 0:
        return _not_promoted("worse", f"the whole interval is below zero.  {summary}", numbers)
    return GateDecision(promote=True, rule="not_worse", reason=summary, numbers=numbers)


def check_refit(recipe: Floats, refitted: Floats, gate: Gate) -> GateDecision | None:
    """Check the model fitted again on all rows, on the holdout (n,); ``None`` if it passes.

    The recipe was evaluated on the unseen holdout.  The refit has seen it, so that its loss there
    should not be larger; if the whole interval shows that it is, the fit went wrong.
    """
    known = _is_loss(recipe)
    n_missing = int(np.count_nonzero(~_is_loss(refitted)))
    if n_missing:
        reason = f"fitted again, it has no valid prediction for {n_missing} of {len(recipe)} events"
        return _not_promoted("no_prediction", reason, {"n_no_prediction": n_missing})
    found = mean_interval(recipe[known] - refitted[known], gate.confidence)
    if found.high >= 0:
        return None
    losses = {
        "loss_of_recipe": float(recipe[known].mean()),
        "loss_refitted": float(refitted.mean()),
    }
    reason = (
        f"fitted again on all rows, its loss on the holdout is {losses['loss_refitted']:.4f} after "
        f"{losses['loss_of_recipe']:.4f}"
    )
    return _not_promoted("refit_worse", reason, {**losses})


def check_golden(champion: Floats, challenger: Floats, gate: Gate, file: str) -> GateDecision:
    """Compare the losses of champion and challenger on the golden set, both (n,).

    The challenger must not be worse.  The numbers have the prefix ``golden_``.
    """
    as_rule = msgspec.structs.replace(gate, promote="unless_worse", max_loss=None)
    found = compare(champion, challenger, as_rule)
    numbers = {f"golden_{name}": number for name, number in found.numbers.items()}
    reason = f"on the golden set {file}: {found.reason}"
    return GateDecision(found.promote, "golden_worse", reason, numbers)


def _is_loss(values: Floats) -> NDArray[np.bool_]:
    comparable: NDArray[np.bool_] = np.abs(values) < _MAX_COMPARABLE_LOSS  # false for NaN
    return comparable


def _not_promoted(rule: GateRule, reason: str, numbers: dict[str, Any]) -> GateDecision:
    return GateDecision(promote=False, rule=rule, reason=reason, numbers=numbers)


def best_window(windows: Sequence[TrainingWindow], losses: Mapping[str, Floats]) -> TrainingWindow:
    """Return the window with the least mean loss (n,) on the holdout; of equal ones the first.

    A preference for larger windows, such as the rule of one standard error, is not right here: in a
    slow change the holdout hardly distinguishes the windows, and the smaller one lasts longer.  A
    window without losses could not be fitted.

    Raises:
        ValueError: no window has losses.
    """
    fitted = [window for window in windows if window.name in losses]
    if not fitted:
        raise ValueError("no window could be fitted")
    return min(fitted, key=lambda window: float(np.mean(losses[window.name])))
