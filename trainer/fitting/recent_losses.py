"""Finds how far back the out-of-fold losses of a model are a reference of its error.  Pure."""

from __future__ import annotations

import numpy as np

from stream_monitor.reference.fit import MIN_EVENTS
from stream_monitor.statistics.dependence import autocorrelation_time
from stream_monitor.statistics.fixed_point import Floats


def n_recent(losses: Floats, n_folds: int) -> int:
    """Return how many of the newest losses (n,), in order of time, are the best reference.

    All of them, or those of the newest folds, whichever has most information: events divided by
    their autocorrelation time.  NaN is an unknown loss.

    A training set that holds a change has folds with different levels.  As one series they depend
    on each other over many events, and the monitor waits for evidence in proportion.  Without the
    folds before the change there are fewer events, which count for more.

    >>> rng = np.random.default_rng(0)
    >>> n_recent((rng.random(5_000) < 0.1).astype(float), n_folds=5)
    5000
    >>> level = np.repeat([0.1, 0.3], [3_000, 2_000])
    >>> n_recent((rng.random(5_000) < level).astype(float), n_folds=5)
    2000
    """
    best, most = len(losses), 0.0
    folds = np.array_split(np.arange(len(losses)), n_folds)
    for first in (int(fold[0]) for fold in folds if len(fold)):
        known = losses[first:][np.isfinite(losses[first:])]
        if len(known) < MIN_EVENTS:
            break
        information = len(known) / autocorrelation_time(known)
        if information > most:
            best, most = len(losses) - first, information
    return best
