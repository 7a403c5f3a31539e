"""Find a change of level within the rows of a reference, which the monitor cannot find later."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from stream_monitor.reference.fit import MIN_EVENTS
from stream_monitor.statistics.fixed_point import Floats

_BLOCKS: Final = 20
_LEAST_BLOCKS: Final = 3
_MIN_T: Final = 10.0
_MIN_SHIFT: Final = 0.5
_TAILS: Final = (1, 99)


class LevelChange(NamedTuple):
    """A change of a column's mean from ``before`` to ``after`` at ``row``."""

    row: int
    before: float
    after: float

    def describe(self) -> str:
        """The change and its remedy as a sentence.

        >>> LevelChange(400, 14.13, 74.2).describe()
        'the reference itself changes at row 400, mean 14.1 → 74.2: a change inside it is not \
found later; build it from the rows before, or after'
        """
        return (
            f"the reference itself changes at row {self.row:,}, mean {self.before:.3g} → "
            f"{self.after:.3g}: a change inside it is not found later; build it from the rows "
            "before, or after"
        )


def change_within(values: Floats) -> LevelChange | None:
    """The lasting change of level in the values (n,) of a column; ``None`` without one.

    The means of 20 blocks show how much the level varies normally, so that dependence and seasons
    shorter than a block are no change.  A change is at least half a standard deviation, and ten
    standard errors of the two levels.

    >>> steady = np.random.default_rng(1).normal(size=600)
    >>> change_within(steady) is None, change_within(steady + 4 * (np.arange(600) >= 400)).row
    (True, 400)
    """
    rows = np.flatnonzero(np.isfinite(values))
    n = len(rows)
    if n < MIN_EVENTS:
        return None
    known = values[rows]
    level = np.clip(known, *np.percentile(known, _TAILS))
    split = _split(np.array([block.mean() for block in np.array_split(level, _BLOCKS)]))
    if split is None:
        return None
    first, last = n * (split - 1) // _BLOCKS, min(n * (split + 2) // _BLOCKS, n - 1)
    counts = np.arange(1, n)
    sums = np.abs(np.cumsum(level - level.mean())[:-1]) / np.sqrt(counts * (n - counts))
    at = first + int(np.argmax(sums[first:last])) + 1
    if abs(level[at:].mean() - level[:at].mean()) < _MIN_SHIFT * _sd_within(level, at):
        return None
    return LevelChange(int(rows[at]), float(known[:at].mean()), float(known[at:].mean()))


def _split(means: Floats) -> int | None:
    """The block in which the level changes; it may contain values of both levels."""
    best, found = _MIN_T, None
    for split in range(_LEAST_BLOCKS, len(means) - _LEAST_BLOCKS):
        left, right = means[:split], means[split + 1 :]
        squares = ((left - left.mean()) ** 2).sum() + ((right - right.mean()) ** 2).sum()
        variance = squares / (len(left) + len(right) - 2)
        error = np.sqrt(variance * (1 / len(left) + 1 / len(right)))
        shift = abs(right.mean() - left.mean())
        if shift > best * error:
            best, found = (shift / error if error else np.inf), split
    return found


def _sd_within(level: Floats, at: int) -> float:
    return float(
        np.sqrt((level[:at].var() * at + level[at:].var() * (len(level) - at)) / len(level))
    )
