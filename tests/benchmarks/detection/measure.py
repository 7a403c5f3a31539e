"""False alerts, delays and misses of the detectors on simulated streams."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from scipy.stats import chi2
from scipy.stats import poisson as poisson_law

from tests.benchmarks.detection.changes import Change, column_of, lorden_bound
from tests.benchmarks.detection.feature_monitor import BUDGET, Watch
from tests.benchmarks.detection.river_baselines import BASELINES, Baseline, alarms
from tests.benchmarks.detection.streams import N_REFERENCE, Column, Stream, latent, seen

N_STATIONARY: Final = 2_500
_CHUNK: Final = 2_000
_PART: Final = 100_000


class FalseAlerts(NamedTuple):
    """Of ``n_events`` stationary events; rates are per million events, all of them false.

    ``upper`` is the Poisson 95 % upper bound on the rate of signals, ``allowed`` the most signals
    that a rate at the budget shows in 95 of 100 such runs.
    """

    stream: Stream
    n_events: int
    signals: int
    started: int
    allowed: int
    upper: float
    baselines: dict[Baseline, float]

    @property
    def per_million(self) -> float:
        """Signals per million events."""
        return self.signals / self.n_events * 1e6


class Delays(NamedTuple):
    """Events from a change to the first signal, and to the decision that an episode started.

    Medians count a miss as later than everything; ``None`` is such a median.  ``asked`` is the
    required median, where the bound does not give it.
    """

    stream: Stream
    change: Change
    n_runs: int
    bound: float | None
    median: float | None
    p90: float | None
    missed: int
    started_median: float | None
    not_started: int
    baselines: dict[Baseline, float | None]
    asked: int | None = None


def false_alerts(
    stream: Stream, n_references: int, n_events: int, n_baseline_events: int, seed: int
) -> FalseAlerts:
    """Watch ``n_events`` after each of ``n_references`` references in which nothing changes."""
    signals = started = 0
    fired = dict.fromkeys(BASELINES, 0)
    n_baseline = 0
    for run in range(n_references):
        rng = np.random.default_rng((seed, run))
        z = latent(rng, stream.dependence, N_REFERENCE + n_events)
        reference = seen(stream, z[:N_REFERENCE])
        watch = Watch(reference)
        for at in range(N_REFERENCE, len(z), _PART):
            found, begun = watch.observe(seen(stream, z[at : at + _PART]))
            signals += len(found)
            started += len(begun)
        if run == 0 and n_baseline_events:
            column = seen(stream, z[N_REFERENCE : N_REFERENCE + n_baseline_events])
            n_baseline = len(column)
            fired = {baseline: len(alarms(baseline, reference, column)) for baseline in BASELINES}
    n = n_references * n_events
    asked = n * BUDGET.false_alerts / BUDGET.per_events
    return FalseAlerts(
        stream,
        n,
        signals,
        started,
        int(poisson_law.ppf(0.95, asked)),
        float(chi2.ppf(0.95, 2 * signals + 2)) / 2 / n * 1e6,
        {baseline: count / n_baseline * 1e6 for baseline, count in fired.items()}
        if n_baseline
        else {},
    )


def delays(
    stream: Stream,
    change: Change,
    n_runs: int,
    n_baseline_runs: int,
    cap: int,
    seed: int,
    asked: int | None = None,
) -> Delays:
    """Watch until a signal and a started episode, or ``cap`` events after the change."""
    found, begun = [], []
    by_baseline: dict[Baseline, list[float]] = {baseline: [] for baseline in BASELINES}
    bound = None
    for run in range(n_runs):
        rng = np.random.default_rng((seed, run))
        n_before = N_REFERENCE + N_STATIONARY
        z = latent(rng, stream.dependence, n_before + cap)
        column = column_of(stream, change, z, n_before, rng)
        watch = Watch(column[:N_REFERENCE])
        bound = lorden_bound(stream, change, watch.channel_arl0)
        signal, start = _first(watch, column)
        found.append(signal)
        begun.append(start)
        if run < n_baseline_runs:
            for baseline in BASELINES:
                at = alarms(
                    baseline, column[:N_REFERENCE], column[N_REFERENCE:], first_after=N_STATIONARY
                )
                by_baseline[baseline].append(at[0] - N_STATIONARY + 1 if at else math.inf)
    return Delays(
        stream,
        change,
        n_runs,
        bound,
        quantile(found, 0.5),
        quantile(found, 0.9),
        sum(map(math.isinf, found)),
        quantile(begun, 0.5),
        sum(map(math.isinf, begun)),
        {baseline: quantile(values, 0.5) for baseline, values in by_baseline.items() if values},
        asked,
    )


def _first(watch: Watch, column: Column) -> tuple[float, float]:
    watch.observe(column[N_REFERENCE : N_REFERENCE + N_STATIONARY])
    first = N_REFERENCE + N_STATIONARY
    signal = start = math.inf
    for at in range(first, len(column), _CHUNK):
        found, begun = watch.observe(column[at : at + _CHUNK])
        if found:
            signal = min(signal, at - first + found[0] + 1)
        if begun:
            return min(signal, at - first + begun[0] + 1), at - first + begun[0] + 1
    return signal, start


def quantile(values: list[float], q: float) -> float | None:
    """The value at or below which ``q`` of ``values`` lie; ``None`` where that is a miss."""
    ordered = sorted(values)
    value = ordered[min(len(ordered) - 1, int(q * len(ordered)))]
    return None if math.isinf(value) else float(value)
