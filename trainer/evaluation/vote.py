"""The weighted vote of stored versions: an ensemble that follows the stream without a fit.

A version's weight falls exponentially with its mean loss on recent labelled events: Vovk,
"Aggregating strategies", 1990; Herbster and Warmuth, "Tracking the best expert", 1998.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from trainer.evaluation.losses import Floats

RATE: Final = 60.0
"""Weights are ``exp(-RATE * mean loss)``, for a loss in [0, 1].  A version that is worse by 0.04
has about a tenth of the weight of the best one."""
RECENT_EVENTS: Final = 250
"""Labelled events that count."""
MIN_EVENTS: Final = 50
"""A version with fewer counts as good as the best one: it is new, and was promoted."""
MIN_WEIGHT: Final = 0.02
"""Versions below it are left out: they cost a prediction each."""


def vote_weights(losses: Mapping[str, Floats], scale: float = 1.0) -> dict[str, float]:
    """Return the weights of versions, which sum to 1, from their recent losses (n,) each.

    NaN is an event without a comparable prediction.  ``scale`` is the loss that counts as 1.

    >>> weights = vote_weights({"1": np.full(200, 0.25), "2": np.full(200, 0.20)})
    >>> {version: round(weight, 2) for version, weight in weights.items()}
    {'1': 0.05, '2': 0.95}
    """
    if not losses:
        raise ValueError("there is no version to weigh")
    known = {version: values[np.isfinite(values)] for version, values in losses.items()}
    means = {
        version: float(values.mean()) / scale
        for version, values in known.items()
        if len(values) >= MIN_EVENTS
    }
    best = min(means.values(), default=0.0)
    raw = {version: float(np.exp(-RATE * (means.get(version, best) - best))) for version in losses}
    total = sum(raw.values())
    kept = {version: one for version, one in raw.items() if one / total >= MIN_WEIGHT}
    return {version: one / sum(kept.values()) for version, one in kept.items()}
