"""The weighted vote of stored versions: an ensemble that follows the stream without a fit.

A version's weight falls exponentially with its mean loss on recent labelled events: Vovk,
"Aggregating strategies", 1990; Herbster and Warmuth, "Tracking the best expert", 1998.

The trainer and ``driftline backtest`` weigh with `VersionVote`; the model servers and the backtest
combine predictions with `vote`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from producer.events import Prediction
from trainer.evaluation.losses import Floats

RATE: Final = 60.0
"""Weights are ``exp(-RATE * mean loss)``, for a loss in [0, 1].  A version that is worse by 0.04
has about a tenth of the weight of the best one."""
RECENT_EVENTS: Final = 250
"""Labelled events that count."""
RENEW_EVENTS: Final = 500
"""Labelled events between two renewals of the weights."""
MIN_EVENTS: Final = 50
"""A version with fewer is left out: too little is known of it."""
MIN_WEIGHT: Final = 0.02
"""Versions below it are left out: they cost a prediction each."""


def vote_weights(losses: Mapping[str, Floats], scale: float = 1.0) -> dict[str, float]:
    """Return the weights of versions, which sum to 1, from their losses (n,) on the same events.

    The newest `RECENT_EVENTS` count.  NaN is an event without a comparable prediction.  ``scale``
    is the loss that counts as 1.  The result is empty if too little is known of each version.

    >>> weights = vote_weights({"1": np.full(200, 0.25), "2": np.full(200, 0.20)})
    >>> {version: round(weight, 2) for version, weight in weights.items()}
    {'1': 0.05, '2': 0.95}
    """
    newest = {version: values[-RECENT_EVENTS:] for version, values in losses.items()}
    known = {version: values[np.isfinite(values)] for version, values in newest.items()}
    means = {
        version: float(values.mean()) / scale
        for version, values in known.items()
        if len(values) >= MIN_EVENTS
    }
    best = min(means.values(), default=0.0)
    raw = {version: math.exp(-RATE * (means[version] - best)) for version in sorted(means)}
    total = sum(raw.values())
    kept = {version: one for version, one in raw.items() if one / total >= MIN_WEIGHT}
    return {version: one / sum(kept.values()) for version, one in kept.items()}


class VoteState(msgspec.Struct, kw_only=True):
    """The state of a `VersionVote`.

    ``champion`` is the version under whose name the vote is served.  ``recent`` are the losses of
    each version on the same newest events, ``None`` without a comparable prediction.  ``n_since``
    counts the events since the last renewal that the champion was not trained on.  ``weights`` are
    in service.
    """

    champion: str
    weights: dict[str, float]
    recent: dict[str, list[float | None]] = {}
    n_since: int = 0
    scale: float = 1.0


class VersionVote:
    """Weighs the versions of a model on labelled events, block by block."""

    def __init__(self, state: VoteState) -> None:
        self.state = state

    def observe(self, losses: Mapping[str, Floats], scale: float = 1.0) -> bool:
        """Take the losses of one block of n events, (n,) for each version.

        Return whether the weights are to be renewed: `RENEW_EVENTS` followed the last renewal.
        NaN: the version was trained on the event, or has no prediction for it.  A version without
        losses in the block is no longer weighed.
        """
        state = self.state
        for version in state.recent.keys() - losses.keys():
            del state.recent[version]
        for version, values in losses.items():
            newest = [None if math.isnan(value) else value for value in values.tolist()]
            state.recent[version] = [*state.recent.get(version, []), *newest][-RECENT_EVENTS:]
        state.n_since += int(np.isfinite(losses[state.champion]).sum())
        state.scale = scale
        return state.n_since >= RENEW_EVENTS

    def weights(self, among: Collection[str]) -> dict[str, float]:
        """Return the weights of the versions ``among``, from their recent losses."""
        recent = {
            version: np.array(values, dtype=np.float64)  # NaN for None
            for version, values in self.state.recent.items()
            if version in among
        }
        return vote_weights(recent, self.state.scale)

    def serve(self, weights: dict[str, float]) -> None:
        """Record the weights in service; the next renewal follows after `RENEW_EVENTS`."""
        self.state.weights, self.state.n_since = weights, 0


def vote(
    predictions: Mapping[str, Sequence[Prediction | None]], weights: Mapping[str, float]
) -> list[Prediction | None]:
    """Return the weighted mean of numbers, or the class with the largest weight.

    A version without a prediction (``None``) does not vote; without any vote there is none.

    >>> vote({"1": [0.25, 0.5], "2": [0.75, None]}, {"1": 0.5, "2": 0.5})
    [0.5, 0.5]
    >>> vote({"1": ["a"], "2": ["b"]}, {"1": 0.6, "2": 0.4})
    ['a']
    """
    found: list[Prediction | None] = []
    shares = list(weights.values())
    for answers in zip(*(predictions[version] for version in weights), strict=True):
        given = [(a, share) for a, share in zip(answers, shares, strict=True) if a is not None]
        numbers = [(a, share) for a, share in given if isinstance(a, int | float)]
        if len(numbers) == len(given):
            total = sum(share for _, share in numbers)
            found.append(sum(a * share for a, share in numbers) / total if numbers else None)
            continue
        votes: dict[str, float] = {}
        for answer, share in given:
            votes[str(answer)] = votes.get(str(answer), 0.0) + share
        found.append(max(votes, key=lambda name: votes[name]))
    return found
