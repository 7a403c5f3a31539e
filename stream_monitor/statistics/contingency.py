"""Distance between two contingency tables in dependence alone, whatever their margins.

The reference's cells are scaled by rows and columns until their margins are those of the counts
(iterative proportional fitting; Deming and Stephan, 1940).  This keeps all odds ratios, so the
remaining difference is a change of dependence alone: a shift of one feature moves only margins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.special import chdtrc

from stream_monitor.statistics.fixed_point import Floats, Ints

_SMOOTHING: Final = 0.5
_MAX_ROUNDS: Final = 50
_CLOSE: Final = 1e-9


def degrees_of_freedom(n_cells: int, n_columns: int) -> int:
    """Degrees of freedom of the dependence in a table; at least 1.

    >>> degrees_of_freedom(9, 3), degrees_of_freedom(6, 3)
    (4, 2)
    """
    return max(1, (n_cells // n_columns - 1) * (n_columns - 1))


def dependence_distance(
    cells: Sequence[int], reference_cells: Sequence[int], n_columns: int, tau: float
) -> tuple[float, float]:
    """Effect and p-value, as in `distance.psi_adjusted`, of a change of dependence alone.

    Cells are in row order.  The index compares the counts with the reference scaled to the margins
    of the counts; it has (rows - 1)(columns - 1) degrees of freedom.  Without events the result is
    (0, 1).

    >>> dependence_distance([30, 30, 10, 10], [20, 20, 20, 20], 2, 1.0)[1] > 0.9
    True
    """
    n_events, n_reference = sum(cells), sum(reference_cells)
    if not n_events or not n_reference:
        return 0.0, 1.0
    seen = _shares(cells, n_columns)
    expected = _raked(_shares(reference_cells, n_columns), seen.sum(axis=1), seen.sum(axis=0))
    index = float(((seen - expected) * np.log(seen / expected)).sum())
    freedom = degrees_of_freedom(len(cells), n_columns)
    unit = tau * (1 / n_events + 1 / n_reference)
    return index - freedom * unit, float(chdtrc(freedom, index / unit))


def raked(cells: Sequence[int] | Ints, reference_cells: Sequence[int], n_columns: int) -> Floats:
    """The reference's cells, in row order, scaled to the margins of ``cells``.

    They add up to the events of the reference.
    """
    seen = _shares(cells, n_columns)
    expected = _raked(_shares(reference_cells, n_columns), seen.sum(axis=1), seen.sum(axis=0))
    found: Floats = expected.ravel() * sum(reference_cells)
    return found


def _raked(shares: Floats, rows: Floats, columns: Floats) -> Floats:
    """``shares`` with the margins ``rows`` and ``columns``, all odds ratios kept."""
    for _ in range(_MAX_ROUNDS):
        shares = shares * (rows / shares.sum(axis=1))[:, None]
        factors = columns / shares.sum(axis=0)
        shares = shares * factors
        if np.abs(factors - 1).max() < _CLOSE:
            break
    return shares


def _shares(cells: Sequence[int] | Ints, n_columns: int) -> Floats:
    table = np.array(cells, dtype=np.float64).reshape(-1, n_columns) + _SMOOTHING
    shares: Floats = table / table.sum()
    return shares
