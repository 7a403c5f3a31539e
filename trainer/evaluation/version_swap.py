"""The swap test: moves the champion's pointer to a stored version that is proved better.

Every stored version still predicts the labelled events.  For each version a gambler bets that
its loss is below the champion's: the wealth multiplies by ``1 + bet * difference`` per event, so
that it stays small on average while the version is not better.  A large wealth proves the opposite.

Each block adds one unit of fresh wealth, so that a version which becomes better late is found as
soon as one that always was (the e-detector of Shin, Ramdas and Rinaldo, "E-detectors: a
nonparametric framework for sequential change detection", 2024).  Bets on bounded differences:
Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024.
Comparison of forecasters: Choe and Ramdas, "Comparing sequential forecasters", 2024.

While no version is better than the champion, the expected number of labelled events until a swap is
at least ``SwapPolicy.events_per_false_swap``, over all versions together: the wealths of K versions
grow on average by K units a block, and the threshold is K times the number of blocks.  "Not better"
means: not on average, given all earlier events.  Where neighbouring losses depend on each other, a
version is better for a while, and swaps are more frequent.

A million events between two false swaps is the level of the monitor's alerts.  A level that is 50
times as strict costs 4 units of log wealth, which a version that is much better earns in 100 events
or less; a false swap costs until a version is proved better again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
import numpy as np

from trainer.evaluation.losses import Floats

BETS: Final = (0.05, 0.1, 0.2, 0.4)
"""The best bet is the mean difference divided by its variance, which is not known: the wealth is
split over four bets.  None is above 0.4, because losses of neighbouring events depend on each
other."""


class SwapPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The conditions under which a stored version replaces the champion without a fit.

    The newest ``max_versions`` stored versions are compared.  ``events_per_false_swap`` is the
    error level: labelled events between two swaps to a version that is not better, on average, over
    all versions.  Differences are compared in blocks of ``block_events``.  After a swap or a
    promotion none follows for ``cooldown_events`` labelled events; a model has at most
    ``max_swaps_per_day`` in 24 h of event time.  Above ``max_events_per_s`` labelled events a
    second a sample is scored.

    Raises:
        ValueError: a number is out of range.
    """

    enabled: bool = True
    max_versions: int = 12
    events_per_false_swap: int = 1_000_000
    block_events: int = 25
    cooldown_events: int = 500
    max_swaps_per_day: int = 24
    max_events_per_s: int = 200

    def __post_init__(self) -> None:
        for name in ("max_versions", "events_per_false_swap", "block_events", "max_events_per_s"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, is {getattr(self, name)}")
        for name in ("cooldown_events", "max_swaps_per_day"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, is {getattr(self, name)}")


class SwapState(msgspec.Struct, kw_only=True):
    """The state of a `SwapTest`: wealths by version and bet, and events since the last change.

    ``n_compared`` and ``sum_difference`` describe the evidence for people, since the champion was
    last the better one in sum.
    """

    champion: str
    wealth: dict[str, list[float]] = {}
    n_compared: dict[str, int] = {}
    sum_difference: dict[str, float] = {}
    n_events: int = 0


class Swap(NamedTuple):
    """A version that is proved better than the champion, with the evidence.

    ``improvement`` is the mean difference of the losses on ``n_events`` labelled events.
    """

    version: str
    wealth: float
    threshold: float
    improvement: float
    n_events: int


class SwapTest:
    """Compares the champion with the other versions on labelled events, block by block."""

    def __init__(self, policy: SwapPolicy, state: SwapState) -> None:
        self._policy = policy
        self.state = state

    def restart(self, champion: str) -> None:
        """Restart, after a swap or a promotion."""
        self.state = SwapState(champion=champion)

    def observe(self, losses: Mapping[str, Floats], scale: float = 1.0) -> Swap | None:
        """Take the losses of one block of n events, (n,) for each version; return a swap, if due.

        NaN: the version was trained on the event, or has no prediction for it.  ``scale`` is the
        largest difference that counts in full; larger ones are clipped.
        """
        state = self.state
        ours = losses[state.champion]
        state.n_events += len(ours)
        for version in state.wealth.keys() - losses.keys():
            del state.wealth[version], state.n_compared[version], state.sum_difference[version]
        for version, theirs in losses.items():
            if version != state.champion:
                self._bet(version, ours - theirs, scale)
        return self._swap()

    def _bet(self, version: str, differences: Floats, scale: float) -> None:
        known = differences[np.isfinite(differences)]
        if not len(known):
            return
        state = self.state
        if state.sum_difference.get(version, 0.0) <= 0:  # the champion was better so far
            state.n_compared[version], state.sum_difference[version] = 0, 0.0
        relative = np.clip(known / scale, -1.0, 1.0)
        wealth = np.array(state.wealth.get(version, [0.0] * len(BETS)))
        factors = np.prod(1.0 + np.outer(BETS, relative), axis=1)
        state.wealth[version] = np.minimum((wealth + 1.0) * factors, 1e100).tolist()
        state.n_compared[version] = state.n_compared.get(version, 0) + len(known)
        total = state.sum_difference.get(version, 0.0) + float(known.sum())
        state.sum_difference[version] = total

    def _swap(self) -> Swap | None:
        state, policy = self.state, self._policy
        if not state.wealth or state.n_events < policy.cooldown_events:
            return None
        threshold = len(state.wealth) * policy.events_per_false_swap / policy.block_events
        means = {version: float(np.mean(wealth)) for version, wealth in state.wealth.items()}
        best = max(means, key=lambda version: (means[version], version))
        if means[best] < threshold:
            return None
        n = state.n_compared[best]
        return Swap(best, means[best], threshold, state.sum_difference[best] / n, n)
