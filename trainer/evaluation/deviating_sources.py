"""Deviating sources: producers whose events alone show a change.

A change of the world reaches all producers of a model.  A replica with a bug, a test system that
writes to the wrong topic or a hostile client changes only its own events.  So one of several
producers can neither cause a retrain alone nor train a model with what it alone reports.

Each source is compared with the others by the change of the served model's loss, its own level
before the change included, so that a source which always had a higher error does not deviate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.interval import mean_interval
from trainer.evaluation.losses import Floats

Flags = NDArray[np.bool_]

MIN_ROWS: Final = 50
"""New rows of a source with a loss; fewer change a model little, and prove little."""
_MIN_RELATIVE_EXCESS: Final = 0.5
"""How much more the loss of a source must have risen, as a share of the loss of the others."""
_CERTAINTY: Final = 2.0
"""Half widths of a 95 % interval: about four standard errors, as many sources are compared."""
_CONFIDENCE: Final = 0.95


class LossChange(NamedTuple):
    """Mean losses of earlier and of new rows.

    ``uncertainty`` is half the length of the 95 % interval of their difference.
    """

    before: float
    after: float
    uncertainty: float

    @property
    def is_rise(self) -> bool:
        """Whether the loss rose beyond doubt."""
        return self.after - self.before > _CERTAINTY * self.uncertainty


class DeviatingSource(NamedTuple):
    """A source (empty: producers without ``ce_source``) and its ``rows`` new rows with a loss."""

    name: str
    rows: int
    change: LossChange
    others: LossChange


def deviating_sources(
    losses: Floats, is_new: Flags, sources: Sequence[str], max_share: float
) -> list[DeviatingSource]:
    """Find the sources whose loss has risen while that of the others has not, the worst first.

    ``losses`` (n,) are those of the served predictions in order of time, NaN where unknown;
    ``is_new`` marks the rows since the change.  Found sources have together at most ``max_share``
    of the new rows with a loss.  Without earlier rows of the others nothing can be compared.

    >>> losses = np.tile([0.0, 0.0, 0.0, 1.0], 200)
    >>> names = np.array(["a", "b"] * 400)
    >>> is_new = np.arange(800) >= 400
    >>> losses[is_new & (names == "b")] = 1.0
    >>> [one.name for one in deviating_sources(losses, is_new, names.tolist(), 0.5)]
    ['b']
    """
    known = np.isfinite(losses)
    losses, is_new = losses[known], is_new[known]
    named, of_row = np.unique(
        np.array(sources, dtype=object)[known].astype(str), return_inverse=True
    )
    found: list[DeviatingSource] = []
    kept = np.ones(len(losses), dtype=np.bool_)
    allowed = max_share * int(is_new.sum())
    while (worst := _worst(losses, is_new, kept, named, of_row)) is not None:
        allowed -= worst.rows
        if allowed < 0:
            break
        found.append(worst)
        kept &= of_row != int(np.flatnonzero(named == worst.name)[0])
    return found


def loss_change(losses: Floats, is_new: Flags) -> LossChange | None:
    """Return the change of the mean loss; ``None`` with fewer than `MIN_ROWS` on one side."""
    known = np.isfinite(losses)
    before, after = losses[known & ~is_new], losses[known & is_new]
    if min(len(before), len(after)) < MIN_ROWS:
        return None
    earlier, newer = mean_interval(before, _CONFIDENCE), mean_interval(after, _CONFIDENCE)
    half = np.hypot(earlier.high - earlier.mean, newer.high - newer.mean)
    return LossChange(earlier.mean, newer.mean, float(half))


def _worst(
    losses: Floats, is_new: Flags, kept: Flags, named: NDArray[np.str_], of_row: NDArray[np.intp]
) -> DeviatingSource | None:
    """Return the kept source that deviates most, if one does."""
    n_new = np.bincount(of_row[kept & is_new], minlength=len(named))
    total = np.bincount(of_row[kept & is_new], losses[kept & is_new], minlength=len(named))
    candidates = np.flatnonzero(n_new >= MIN_ROWS)
    by_level = candidates[np.argsort(-total[candidates] / n_new[candidates], kind="stable")]
    for number in by_level.tolist():
        mine, theirs = kept & (of_row == number), kept & (of_row != number)
        others = loss_change(losses[theirs], is_new[theirs])
        if others is None:
            continue
        change = loss_change(losses[mine], is_new[mine])
        if change is None:  # a new source: the others have the level before
            after = mean_interval(losses[mine & is_new], _CONFIDENCE)
            change = LossChange(others.before, after.mean, after.high - after.mean)
        excess = (change.after - change.before) - (others.after - others.before)
        doubt = _CERTAINTY * float(np.hypot(change.uncertainty, others.uncertainty))
        if excess > max(doubt, _MIN_RELATIVE_EXCESS * others.after):
            return DeviatingSource(str(named[number]), int(n_new[number]), change, others)
    return None
