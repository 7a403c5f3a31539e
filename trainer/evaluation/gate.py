"""The gate: may this challenger take the champion's place?  Pure."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.interval import MIN_EFFECTIVE_N, Interval, mean_interval
from trainer.evaluation.losses import Metric

Floats: TypeAlias = NDArray[np.float64]
GateRule: TypeAlias = Literal[
    "better", "too_few_events", "too_dependent", "no_prediction", "above_limit", "not_better"
]

_MIN_VALUES: Final = 8  # values for an interval
_MAX_COMPARABLE_LOSS: Final = 1e100  # the square of a larger loss is no number any more


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What a challenger must show on events that neither model was trained on.

    ``min_events`` compared events; the whole ``confidence`` interval of the mean improvement (loss
    of the champion minus loss of the challenger) above ``min_improvement``; a mean loss of at most
    ``max_loss``, where one is set.  ``metric`` is the loss: ``brier`` tells two binary models apart
    with fewer events, for it sees by how much they are wrong.

    Raises:
        ValueError: a number that cannot be meant.
    """

    confidence: float = 0.95
    min_events: int = 500
    min_improvement: float = 0.0
    max_loss: float | None = None
    metric: Metric = "error"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence {self.confidence}: must be at least 0.5 and below 1")
        if self.min_events < _MIN_VALUES:
            raise ValueError(f"min_events {self.min_events}: must be at least {_MIN_VALUES}")
        if not self.min_improvement >= 0:
            raise ValueError(f"min_improvement {self.min_improvement}: must not be negative")


class Verdict(NamedTuple):
    """Whether to promote, by which rule, why, and the numbers it was decided on."""

    promote: bool
    rule: GateRule
    reason: str
    numbers: dict[str, float | int | str | None]


def compare(champion: Floats, challenger: Floats, gate: Gate) -> Verdict:
    """Judge the losses of two models on the same n events, in their order in time, both (n,).

    NaN, or a loss beyond 1e100, says that there was nothing to compare: where the champion has
    none the event is left out; where only the challenger has none it is refused.

    Raises:
        ValueError: not as many losses of one as of the other.
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
        reason = f"{n} later labelled events to compare on; {gate.min_events} are asked for"
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


def _decide(found: Interval, gate: Gate, numbers: dict[str, Any]) -> Verdict:
    losses = f"loss {numbers['challenger_loss']:.4f} after {numbers['champion_loss']:.4f}"
    share = f"{100 * gate.confidence:g} % interval {found.low:+.4f} to {found.high:+.4f}"
    summary = f"{losses}: improvement {found.mean:+.4f}, {share}, on {numbers['n_events']} events"
    if found.effective_n < MIN_EFFECTIVE_N:
        reason = (
            f"the events resemble each other so much that they count for {found.effective_n:.0f} "
            f"independent ones; {MIN_EFFECTIVE_N:.0f} are needed.  {summary}"
        )
        return _not_promoted("too_dependent", reason, numbers)
    if gate.max_loss is not None and numbers["challenger_loss"] > gate.max_loss:
        reason = f"the challenger's loss is above the limit of {gate.max_loss:g}.  {summary}"
        return _not_promoted("above_limit", reason, numbers)
    if found.low > gate.min_improvement:
        return Verdict(promote=True, rule="better", reason=summary, numbers=numbers)
    beyond = f"{gate.min_improvement:+g}" if gate.min_improvement else "zero"
    reason = f"the interval does not lie above {beyond}.  {summary}"
    return _not_promoted("not_better", reason, numbers)


def _is_loss(values: Floats) -> NDArray[np.bool_]:
    comparable: NDArray[np.bool_] = np.abs(values) < _MAX_COMPARABLE_LOSS  # false for NaN
    return comparable


def _not_promoted(rule: GateRule, reason: str, numbers: dict[str, Any]) -> Verdict:
    return Verdict(promote=False, rule=rule, reason=reason, numbers=numbers)
