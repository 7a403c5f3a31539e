"""Two features whose dependence changes while each stays what it was: false signals and delays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.stats import chi2
from scipy.stats import poisson as poisson_law

from stream_monitor.checks.check import CheckContext
from stream_monitor.checks.correlation import CorrelationCheck
from stream_monitor.detectors.calibration import arl0_events
from stream_monitor.detectors.channel import Channel
from stream_monitor.detectors.detection import Detection
from stream_monitor.episodes.finding import AlertSource
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.correlation_fit import fit_correlations
from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.transform import Transform
from tests.benchmarks.detection.feature_monitor import BUDGET
from tests.benchmarks.detection.measure import N_STATIONARY, quantile
from tests.benchmarks.detection.streams import (
    N_REFERENCE,
    Dependence,
    Floats,
    Ints,
    Shape,
    Stream,
    latent,
    seen,
    times_ms,
)

_PART: Final = 100_000
_CHANCE: Final = 1.15
_SLACK: Final = 1.3
_BLOCK_EVENTS: Final = 8


class Pairing(NamedTuple):
    """Two streams of a kind, whose latent values have the correlation ``rho``."""

    rho: float
    shape: Shape = "normal"
    dependence: Dependence = "iid"

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.shape}, {self.dependence}, rho {self.rho:g}"


class Turn(NamedTuple):
    """A pairing whose correlation becomes ``after``; ``asked``: the median delay asked for."""

    pairing: Pairing
    after: float
    asked: int | None = None


class StationaryPair(NamedTuple):
    """Of ``n_events`` in which nothing changes: all signals are false."""

    pairing: Pairing
    n_events: int
    signals: int
    started: int
    allowed: int
    upper: float


class TurnDelays(NamedTuple):
    """Events from the change to the signal and to the episode; medians count a miss as late."""

    turn: Turn
    n_runs: int
    bound: float
    median: float | None
    p90: float | None
    missed: int
    started_median: float | None
    not_started: int


class _Listening(Channel):
    reported: list[Detection]

    def observe(self, values: Ints) -> list[Detection]:
        self.reported = super().observe(values)
        return self.reported


class _Watch:
    def __init__(self, a: Any, b: Any) -> None:
        times = times_ms(0, N_REFERENCE)
        columns = {"a": a[:N_REFERENCE], "b": b[:N_REFERENCE]}
        features = {k: fit_feature(k, column, times_ms=times) for k, column in columns.items()}
        (fitted,) = fit_correlations(features, columns, times)
        self._transforms = [Transform(features[k]) for k in "ab"]
        arl0 = arl0_events(BUDGET, 2)
        profile = ReferenceProfile(
            model="m",
            version="1",
            origin="training",
            n_events=N_REFERENCE,
            features=features,
            task="regression",
            correlations=(fitted,),
        )
        source = AlertSource("t", 0, "m", "1")
        context = CheckContext(source, profile, arl0, EpisodePolicy(), None)
        self._check = CorrelationCheck(context, fitted, profile.weights())
        self._channel = self._check.channel = _Listening(fitted.channel, arl0)

    def observe(self, start: int, a: Any, b: Any) -> tuple[list[int], list[int]]:
        """Positions of signals, and of decisions that an episode started."""
        times = times_ms(start, len(a))
        places = np.arange(len(a), dtype=np.int64)
        first, second = self._transforms
        decisions = self._check.observe_pair(
            first.apply(a), second.apply(b), places, times, lambda at, back: (at - back, 0)
        )
        began = [v.offset for v in decisions if v.phase == "started"]
        return [signal.position for signal in self._channel.reported], began


def _columns(pairing: Pairing, rho: Floats | float, n: int, rng: np.random.Generator) -> list[Any]:
    one = latent(rng, pairing.dependence, n)
    other = latent(rng, pairing.dependence, n)
    other = rho * one + np.sqrt(1 - np.square(rho)) * other
    stream = Stream(pairing.shape, pairing.dependence)
    return [seen(stream, one), seen(stream, other)]


def stationary_pair(
    pairing: Pairing, n_references: int, n_events: int, seed: int
) -> StationaryPair:
    """Watch ``n_events`` after each of ``n_references`` references in which nothing changes."""
    signals = started = 0
    for run in range(n_references):
        rng = np.random.default_rng((seed, run))
        a, b = _columns(pairing, pairing.rho, N_REFERENCE + n_events, rng)
        watch = _Watch(a, b)
        for at in range(N_REFERENCE, len(a), _PART):
            found, begun = watch.observe(at, a[at : at + _PART], b[at : at + _PART])
            signals += len(found)
            started += len(begun)
    n = n_references * n_events
    asked = n * BUDGET.false_alerts / BUDGET.per_events
    upper = float(chi2.ppf(0.95, 2 * signals + 2)) / 2 / n * 1e6
    allowed = int(poisson_law.ppf(0.95, asked))
    return StationaryPair(pairing, n, signals, started, allowed, upper)


def turn_delays(turn: Turn, n_runs: int, cap: int, seed: int) -> TurnDelays:
    """Watch until a signal and a started episode, or ``cap`` events after the change."""
    found, begun = [], []
    first = N_REFERENCE + N_STATIONARY
    for run in range(n_runs):
        rng = np.random.default_rng((seed, run))
        rho = np.where(np.arange(first + cap) < first, turn.pairing.rho, turn.after)
        a, b = _columns(turn.pairing, rho, first + cap, rng)
        watch = _Watch(a, b)
        watch.observe(N_REFERENCE, a[N_REFERENCE:first], b[N_REFERENCE:first])
        signals, starts = watch.observe(first, a[first:], b[first:])
        found.append(signals[0] + 1 if signals else math.inf)
        begun.append(starts[0] + 1 if starts else math.inf)
    return TurnDelays(
        turn,
        n_runs,
        _bound(turn.pairing.rho, turn.after),
        quantile(found, 0.5),
        quantile(found, 0.9),
        sum(map(math.isinf, found)),
        quantile(begun, 0.5),
        sum(map(math.isinf, begun)),
    )


def _bound(before: float, after: float) -> float:
    """Lorden's bound for normal pairs: ln(ARL0) by the divergence of the two normal laws."""
    ratio = (1 - before**2) / (1 - after**2)
    divergence = (1 - after * before) / (1 - before**2) - 1 + math.log(ratio) / 2
    return math.log(arl0_events(BUDGET, 1)) / divergence


def stationary_lines(rows: Sequence[StationaryPair]) -> list[str]:
    """False signals of correlations per million events, against the budget."""
    lines = [f"{'stationary pair':<40}{'signals':>9}{'95 % <':>8}{'episodes':>10}{'budget':>8}"]
    for row in rows:
        rates = [count / row.n_events * 1e6 for count in (row.signals, row.started)]
        lines.append(
            f"{row.pairing.name:<40}{rates[0]:>9.2f}{row.upper:>8.2f}{rates[1]:>10.2f}"
            f"{BUDGET.false_alerts:>7.1f}{' ' if row.signals <= row.allowed else '!'}"
        )
    return lines


def turn_within(row: TurnDelays) -> bool | None:
    """Whether a turn was found as soon as asked for, or near its bound; ``None``: nothing is."""
    if row.turn.asked is None:
        return None
    latest = max(_CHANCE * row.turn.asked, _SLACK * row.bound + _BLOCK_EVENTS)
    return row.median is not None and row.median <= latest


def turn_lines(rows: Sequence[TurnDelays]) -> list[str]:
    """Delays of changes of dependence, in events."""
    head = f"{'pair':<40}{'becomes':>8}{'bound':>7}{'asked':>7}{'median':>8}{'p90':>8}{'missed':>8}"
    lines = [head + f"{'episode':>9}{'missed':>8}"]
    for row in rows:
        figures = [row.bound, row.turn.asked, row.median, row.p90, row.started_median]
        reported = ["-" if figure is None else f"{figure:,.0f}" for figure in figures]
        lines.append(
            f"{row.turn.pairing.name:<40}{row.turn.after:>8g}{reported[0]:>7}{reported[1]:>7}{reported[2]:>8}"
            f"{reported[3]:>8}{row.missed / row.n_runs:>8.0%}{reported[4]:>9}"
            f"{row.not_started / row.n_runs:>8.0%}"
            + ("" if turn_within(row) in (True, None) else "  !")
        )
    return lines
