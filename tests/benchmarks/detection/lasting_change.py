"""A change that lasts and ends: how many episodes is it, and when are they over."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from tests.benchmarks.detection.changes import Change, column_of
from tests.benchmarks.detection.feature_monitor import Watch
from tests.benchmarks.detection.measure import N_STATIONARY, quantile
from tests.benchmarks.detection.streams import N_REFERENCE, Stream, latent

_PART: Final = 2_000


class Episodes(NamedTuple):
    """Runs by how many episodes started; a run is ``clean`` with exactly one, which recovered.

    ``found_median`` are events from the change to the episode, ``recovery_median`` from the end of
    the change to that of the episode; a run that is not clean counts as later than all others.
    ``early`` are runs in which it was reported to be over while it lasted, ``relapsed`` those where
    another one opened once it was over.
    """

    stream: Stream
    change: Change
    n_runs: int
    n_lasting: int
    none: int
    one: int
    more: int
    clean: int
    found_median: float | None
    recovery_median: float | None
    early: int
    relapsed: int


def episodes(stream: Stream, change: Change, n_runs: int, n_lasting: int, seed: int) -> Episodes:
    """A change of ``n_lasting`` events after stationary ones, then as it was for twice as long."""
    counts: list[int] = []
    delays: list[float] = []
    recoveries: list[float] = []
    early = relapsed = 0
    for run in range(n_runs):
        rng = np.random.default_rng((seed, run))
        start = N_REFERENCE + N_STATIONARY
        end = start + n_lasting
        z = latent(rng, stream.dependence, end + 2 * n_lasting)
        column = column_of(stream, change, z, start, rng)
        back = column_of(stream, change, z[end:], len(z), rng)  # as it was before
        watch = Watch(column[:N_REFERENCE])
        begun: list[int] = []
        ended: list[int] = []
        for part_of, first, last in ((column, N_REFERENCE, end), (back, end, len(z))):
            offset = end if part_of is back else 0
            for at in range(first, last, _PART):
                watch.observe(part_of[at - offset : min(at + _PART, last) - offset])
                begun += [at + position for position in watch.started]
                ended += [at + position for position in watch.recovered]
        counts.append(len(begun))
        clean = len(begun) == len(ended) == 1 and begun[0] >= start and ended[0] >= end
        delays.append(begun[0] - start + 1 if clean else math.inf)
        recoveries.append(ended[0] - end + 1 if clean else math.inf)
        early += any(start <= at < end for at in ended)
        over = [at for at in ended if at >= end]
        relapsed += bool(over) and any(at > over[0] for at in begun)
    return Episodes(
        stream,
        change,
        n_runs,
        n_lasting,
        counts.count(0),
        counts.count(1),
        sum(count > 1 for count in counts),
        sum(not math.isinf(value) for value in recoveries),
        quantile(delays, 0.5),
        quantile(recoveries, 0.5),
        early,
        relapsed,
    )
