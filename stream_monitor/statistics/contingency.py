"""How far the dependence of two features is from what it was, whatever became of each by itself.

The reference's cells are scaled by rows and columns until their margins are those of the counts
(iterative proportional fitting; Deming and Stephan, 1940).  That keeps all odds ratios, so what is
left between the two is a change of dependence alone: of cells whose margins moved, as they do
where a feature shifts, nothing is left.
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
    """Degrees of freedom of a table: those of its dependence; at least 1.

    >>> degrees_of_freedom(9, 3), degrees_of_freedom(6, 3)
    (4, 2)
    """
    return max(1, (n_cells // n_columns - 1) * (n_columns - 1))


def dependence_distance(
    cells: Sequence[int], reference_cells: Sequence[int], n_columns: int, tau: float
) -> tuple[float, float]:
    """Effect and p-value, as `windows.distance.psi_adjusted` has them, of dependence alone.

    Cells stand row by row.  The index is that between the counts and the reference with the
    margins of the counts; it has (rows - 1)(columns - 1) degrees of freedom.  Without events it
    is (0, 1).

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
    """The cells to expect where rows and columns came as often as in ``cells``, row by row.

    They are as many as the reference's; so few events say little of a cell that nobody saw.
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
