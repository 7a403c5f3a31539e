"""Training windows: how many of the newest rows a retrain may use.

No fixed window is right.  All rows are best where inputs move and their link to the label stays,
or comes back; recent rows are best where that link has changed.  So each candidate window is
fitted on the rows before the holdout, and `trainer.evaluation.gate` chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

ROW_COUNTS: Final = (10_000, 5_000, 2_500)
"""Candidate windows besides all rows and those that begin at a known change.  Halving leaves the
best window at most a factor of about 1.4 away."""
MIN_ROWS: Final = 500


class TrainingWindow(NamedTuple):
    """The newest ``rows`` of a training set; ``None``: all of them.

    >>> TrainingWindow("all").range(7), TrainingWindow("last 3", 3).range(7)
    ((0, 7), (4, 7))
    """

    name: str
    rows: int | None = None

    def range(self, end: int) -> tuple[int, int]:
        """The first row and the end (exclusive) of the window among the first ``end`` rows."""
        return (0 if self.rows is None else max(0, end - self.rows)), end


def candidate_windows(n_rows: int, since: Mapping[str, int] | None = None) -> list[TrainingWindow]:
    """List the windows to try on ``n_rows`` rows, the largest first.

    ``since`` has the number of rows since known changes, by name: the onset of the drift, the first
    training row of the champion.  Of windows of similar length the first is kept.

    >>> [window.name for window in candidate_windows(8_000, {"since onset": 700})]
    ['all', 'last 5,000', 'last 2,500', 'since onset']
    >>> [window.name for window in candidate_windows(400)]
    ['all']
    """
    counts: dict[int, str] = {}
    known = {name: rows for name, rows in (since or {}).items() if rows >= MIN_ROWS}
    for name, rows in (known | {f"last {rows:,}": rows for rows in ROW_COUNTS}).items():
        near = any(0.7 * other < rows < other / 0.7 for other in (*counts, n_rows))
        if rows < n_rows and not near:
            counts[rows] = name
    ordered = [TrainingWindow(counts[rows], rows) for rows in sorted(counts, reverse=True)]
    return [TrainingWindow("all"), *ordered]
