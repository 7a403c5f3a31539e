"""Recovery: a sequential test whether an episode has ended.

The events that confirmed the episode describe its drift: how many times as often as expected each
bin occurred.  From then on every step of events compares two hypotheses: all of it comes from the
reference, or half of it still comes from the drift.  The sum of the log likelihood ratios,
restarted whenever it falls to zero (Page, "Continuous inspection schemes", 1954), is the evidence
that the drift has ended; the events since it last left zero are the recovery events.  An effect
twice as large is found in a quarter of the events.  Where events depend on each other, n of them
count as n / tau.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np

from stream_monitor.episodes.bin_counts import BinCounts
from stream_monitor.statistics.fixed_point import Floats

EVIDENCE_NEEDED: Final = 6.0
"""Evidence at which a drift has ended.  While it lasts, at half of its confirmed size or more,
chance reaches this evidence in about one of exp(6) stretches."""
_SMOOTHING: Final = 0.5
_LARGEST_RATIO: Final = 1e6
MIN_CLEAR_STEPS: Final = 4
"""Least number of recovery events, in steps: fewer cannot exclude a third population."""


class RecoveryProgress(NamedTuple):
    """The number of events that look like the reference, and about how many end the episode."""

    n_events: int
    n_needed: int


class RecoveryState(msgspec.Struct, array_like=True):
    """The description of the drift, the evidence that it has ended, and the recovery events.

    ``ratios`` by cell are the drift divided by the expectation, learned from ``known_from`` events;
    ``None`` before.  ``per_event`` is the evidence to expect of a recovery event.
    """

    clear: BinCounts
    ratios: list[float] | None = None
    known_from: int = 0
    per_event: float = 0.0
    evidence: float = 0.0


class RecoveryTest:
    """The evidence that an open episode has ended; one step is ``step_events`` events."""

    def __init__(self, clear: BinCounts, tau: float, step_events: int) -> None:
        """Start without evidence; ``clear`` is empty."""
        self.step_events = step_events
        self._least_events = MIN_CLEAR_STEPS * step_events
        self._tau = tau
        self.state = RecoveryState(clear)

    @property
    def clear(self) -> BinCounts:
        """Discard the recovery events."""
        return self.state.clear

    @property
    def evidence(self) -> float:
        """The evidence that the drift has ended."""
        return self.state.evidence

    def begin(self) -> None:
        """Discard the description of the last episode's drift."""
        self.state.ratios, self.state.known_from, self.state.per_event = None, 0, 0.0
        self.restart()

    def restart(self) -> None:
        """Drop the evidence and the recovery events."""
        self.state.evidence = 0.0
        self.state.clear.clear()

    @property
    def is_known(self) -> bool:
        """Whether the drift of this episode is described."""
        return self.state.ratios is not None

    def start_from(self, seen: Floats, expected: Floats) -> None:
        """Describe the drift by the events that confirmed it, cells (k,), and by the expectation.

        They are few, and were chosen because they deviate, so they exaggerate the drift: each
        deviation is reduced by a standard error.
        """
        usual = _shares(expected) * seen.sum()
        off = seen - usual
        known = np.maximum(0.0, np.abs(off) - np.sqrt(self._tau * np.maximum(seen, 1.0)))
        self.learn(usual + np.sign(off) * known, expected, 0)
        self.restart()

    def learn(self, seen: Floats, expected: Floats, at_most: int) -> None:
        """Add counts of the drift, (k,), to the description; ``expected`` (k,) are the usual ones.

        What was known before weighs as much as ``at_most`` events.
        """
        state = self.state
        n, known = float(seen.sum()), min(state.known_from, at_most)
        ratios = np.clip(_shares(seen) / _shares(expected), 1 / _LARGEST_RATIO, _LARGEST_RATIO)
        if state.ratios is not None:
            ratios = (known * np.array(state.ratios) + n * ratios) / (known + n)
        state.ratios, state.known_from = ratios.tolist(), int(known + n)
        shares = _shares(expected)
        state.per_event = float(shares @ self._evidence(shares)) / self._tau

    def _evidence(self, expected: Floats) -> Floats:
        """The evidence of one event of each cell, where the reference expects these shares."""
        if self.state.ratios is None:
            raise RuntimeError("the drift of the episode is unknown")
        ratios = np.array(self.state.ratios)
        drifted = ratios / (expected @ ratios)
        weights: Floats = -np.log((1 + drifted) / 2)
        return weights

    def step(self, events: BinCounts, seen: Floats, expected: Floats) -> bool:
        """Apply one step of events, also as cells (k,); returns whether the drift has ended."""
        state = self.state
        weights = self._evidence(_shares(expected))
        state.evidence += float(seen @ weights) / self._tau
        if state.evidence <= 0:
            self.restart()
            return False
        state.clear.add(events)
        return state.evidence >= EVIDENCE_NEEDED and state.clear.n >= self._least_events

    @property
    def progress(self) -> RecoveryProgress | None:
        """The recovery progress; ``None`` without recovery events or a description of the drift."""
        n = self.state.clear.n
        if not n or self.state.per_event <= 0:
            return None
        missing = max(0.0, EVIDENCE_NEEDED - self.state.evidence) / self.state.per_event
        needed = max(self._least_events, n + missing)
        steps = -(-needed // self.step_events)
        return RecoveryProgress(n, int(steps) * self.step_events)

    def restore(self, state: RecoveryState, n_cells: int) -> None:
        """Continue from ``state``.  Raises ValueError where it does not fit."""
        ratios = state.ratios
        if ratios and (len(ratios) != n_cells or not all(0 < r <= _LARGEST_RATIO for r in ratios)):
            raise ValueError("the description of the drift does not fit the reference")
        inf = float("inf")
        if not 0 <= state.evidence < inf or not state.per_event < inf or state.known_from < 0:
            raise ValueError("the stored evidence of a recovery is invalid")
        state.clear.check_fit(len(self.clear.counts), len(self.clear.slots))
        self.state = state


def _shares(counts: Floats) -> Floats:
    smoothed = counts + _SMOOTHING
    shares: Floats = smoothed / smoothed.sum()
    return shares
