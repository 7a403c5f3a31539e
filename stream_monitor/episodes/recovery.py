"""Whether an episode is over: a sequential test of the reference against the drift of the episode.

What came while the episode was confirmed says what drift looks like here: how many times as often
each bin was seen as the reference lets expect.  From then on every step of events weighs two
explanations: that all of it comes from the reference, and that half of it still comes from the
drift.  The sum of the log likelihood ratios, restarted whenever it falls to zero (Page, "Continuous
inspection schemes", 1954), is the evidence that the drift is gone; the events since it last left
zero are the clear ones.  An effect twice as large is so found in a quarter of the events.  Where
events depend on each other, n of them count as n / tau.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from stream_monitor.episodes.bin_counts import BinCounts
from stream_monitor.statistics.fixed_point import Floats

EVIDENCE_NEEDED: Final = 6.0
"""Evidence at which a drift is gone.  While it lasts, at half of its confirmed size or more, that
much is reached by chance once in about exp(6) stretches."""
_SMOOTHING: Final = 0.5
_LARGEST_RATIO: Final = 1e6
MIN_CLEAR_STEPS: Final = 4
"""Clear events at least, in steps: fewer cannot tell the reference from a third population."""


class RecoveryProgress(NamedTuple):
    """How far an episode is on its way to its end: clear events, of about how many."""

    n_events: int
    n_needed: int


class RecoveryTest:
    """The evidence that an open episode is over; ``step_events`` are weighed at a time."""

    def __init__(self, clear: BinCounts, tau: float, step_events: int) -> None:
        self.clear = clear
        self.step_events = step_events
        self._least_events = MIN_CLEAR_STEPS * step_events
        self._tau = tau
        self._ratios: Floats | None = None
        self._known_from = 0  # so many events
        self._per_event = 0.0  # evidence to expect of a clear event, as far as it is known
        self.evidence = 0.0

    def begin(self) -> None:
        """An episode was confirmed: nothing is known of it yet."""
        self._ratios = None
        self._known_from = 0
        self._per_event = 0.0
        self.restart()

    def restart(self) -> None:
        """What was taken for clear is not."""
        self.evidence = 0.0
        self.clear.clear()

    @property
    def is_known(self) -> bool:
        """Whether it is known what drift looks like in this episode."""
        return self._ratios is not None

    def start_from(self, seen: Floats, expected: Floats) -> None:
        """Take the events that confirmed a change, cells (k,) against those of the reference.

        They are few, and were chosen because they look odd: that makes them seem to have drifted
        further than they have, so each cell counts a standard error less.
        """
        usual = _shares(expected) * seen.sum()
        off = seen - usual
        known = np.maximum(0.0, np.abs(off) - np.sqrt(self._tau * np.maximum(seen, 1.0)))
        self.learn(usual + np.sign(off) * known, expected, 0)
        self.restart()

    def learn(self, seen: Floats, expected: Floats, at_most: int) -> None:
        """Take counts of the drift against those of the reference: (k,) each.

        They count beside what is known from up to ``at_most`` events.
        """
        n, known = float(seen.sum()), min(self._known_from, at_most)
        ratios = np.clip(_shares(seen) / _shares(expected), 1 / _LARGEST_RATIO, _LARGEST_RATIO)
        if self._ratios is not None:
            ratios = (known * self._ratios + n * ratios) / (known + n)
        self._ratios, self._known_from = ratios, int(known + n)
        shares = _shares(expected)
        self._per_event = float(shares @ self._evidence(shares)) / self._tau

    def _evidence(self, expected: Floats) -> Floats:
        """What an event of each cell says, where these shares are expected of the reference."""
        if self._ratios is None:
            raise RuntimeError("nothing is known of the drift")
        drifted = self._ratios / (expected @ self._ratios)
        weights: Floats = -np.log((1 + drifted) / 2)
        return weights

    def step(self, events: BinCounts, seen: Floats, expected: Floats) -> bool:
        """Take one step of events, as cells (k,) too.  Gives whether there is evidence enough."""
        weights = self._evidence(_shares(expected))
        self.evidence += float(seen @ weights) / self._tau
        if self.evidence <= 0:
            self.restart()
            return False
        self.clear.add(events)
        return self.evidence >= EVIDENCE_NEEDED and self.clear.n >= self._least_events

    @property
    def progress(self) -> RecoveryProgress | None:
        """How far it is; ``None``: nothing is clear, or it is not known what drift looks like."""
        n = self.clear.n
        if not n or self._per_event <= 0:
            return None
        missing = max(0.0, EVIDENCE_NEEDED - self.evidence) / self._per_event
        needed = max(self._least_events, n + missing)
        steps = -(-needed // self.step_events)
        return RecoveryProgress(n, int(steps) * self.step_events)

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        ratios = [] if self._ratios is None else self._ratios.tolist()
        return [self.evidence, ratios, self._known_from, self._per_event, self.clear.snapshot()]

    def restore(self, data: Sequence[Any], n_cells: int) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit."""
        evidence, ratios, known_from, per_event, clear = data
        if ratios and (len(ratios) != n_cells or not all(0 < r <= _LARGEST_RATIO for r in ratios)):
            raise ValueError("what drift looks like does not fit the reference")
        if not 0 <= evidence < float("inf") or not per_event < float("inf") or known_from < 0:
            raise ValueError("impossible evidence of a recovery")
        self.evidence, self._per_event = float(evidence), float(per_event)
        self._known_from = int(known_from)
        self._ratios = np.array(ratios, dtype=np.float64) if ratios else None
        self.clear.restore(clear)


def _shares(counts: Floats) -> Floats:
    smoothed = counts + _SMOOTHING
    shares: Floats = smoothed / smoothed.sum()
    return shares
