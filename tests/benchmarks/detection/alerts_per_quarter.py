"""A whole model for a quarter in which nothing changes: how many alerts does its owner get.

Mixed features with a common factor, half of them with a daily season, some dependent, some with
missing values, one event a minute, through the monitor's core as records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.signal import lfilter
from scipy.stats import poisson

from producer.codec import encode
from producer.events import CE_TYPE_OF, Event, InferenceEvent, ModelUpdate
from stream_monitor.checks.correlation import CorrelationCheck
from stream_monitor.checks.signal_check import SignalCheck
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.lifecycle import EpisodeTracker
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import profile_to_data
from stream_monitor.windows.tumbling import WindowSpec
from tests.benchmarks.detection.streams import (
    DAY_MS,
    EVENTS_PER_DAY,
    SEASON_SHARE,
    Column,
    Floats,
    Shape,
    Stream,
    seen,
    times_ms,
)

EVENTS_PER_WEEK: Final = 7 * EVENTS_PER_DAY
BUDGET: Final = Budget(false_alerts=1.0, per_events=EVENTS_PER_WEEK)
"""One a week."""
REFERENCE_DAYS: Final = 14
_SHAPES: Final[tuple[Shape, ...]] = (
    "normal",
    "lognormal",
    "Poisson 2",
    "5 categories",
    "zero-inflated",
    "Bernoulli .05",
    "t2",
    "200 categories",
    "Pareto",
    "Bernoulli .5",
)
_DEPENDENCE: Final = (0.0, 0.0, 0.0, 0.5, 0.9)
_COMMON: Final = 0.3  # of the variance, between any two features
_MISSING: Final = 0.01
_MODEL: Final = "quarter"
_TOPIC: Final = "detection"


class Quarter(NamedTuple):
    """What was asked of a model that does not change, and what it did.

    ``suspicions`` are signals that were not part of another one; ``alerts`` is those that fresh
    events confirmed, which is what people get.  ``allowed`` is the most that a rate at the budget
    shows in 95 of 100 such runs.
    """

    n_features: int
    n_channels: int
    n_correlations: int
    n_seasonal: int
    n_events: int
    weeks: float
    suspicions: int
    alerts: int
    allowed: int


class Population:
    """Rows of a model's features in their order; a stretch of them at a time."""

    def __init__(self, n_features: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.streams = [Stream(_SHAPES[i % len(_SHAPES)]) for i in range(n_features)]
        self._phi = np.array([_DEPENDENCE[i // 2 % len(_DEPENDENCE)] for i in range(n_features)])
        self._season = np.arange(n_features) // 5 % 2 == 0
        self._phase = self._rng.uniform(0, 2 * np.pi, n_features)
        self._past = self._rng.standard_normal(n_features)
        self._start = 0

    def columns(self, n: int) -> dict[str, Column]:
        """The next n rows."""
        z = self._latent(n)
        columns: dict[str, Column] = {}
        for i, stream in enumerate(self.streams):
            column = seen(stream, z[i])
            if i % 10 == 0 and isinstance(column, np.ndarray):
                column = np.where(self._rng.random(n) < _MISSING, np.nan, column)
            columns[f"feature_{i}"] = column
        self._start += n
        return columns

    def _latent(self, n: int) -> Floats:
        """Standard normal over whole days, shape (n_features, n)."""
        shocks = self._rng.standard_normal((len(self.streams), n))
        for i, phi in enumerate(self._phi):
            shocks[i], (self._past[i],) = lfilter(
                [np.sqrt(1 - phi**2)], [1.0, -phi], shocks[i], zi=[phi * self._past[i]]
            )
            self._past[i] = shocks[i][-1]
        z = np.sqrt(_COMMON) * self._rng.standard_normal(n) + np.sqrt(1 - _COMMON) * shocks
        turn = 2 * np.pi * (self._start + np.arange(n)) / EVENTS_PER_DAY
        sines = np.sqrt(2 * SEASON_SHARE) * np.sin(turn + self._phase[:, None])
        seasonal: Floats = np.where(self._season[:, None], sines + np.sqrt(1 - SEASON_SHARE) * z, z)
        return seasonal


def run_quarter(n_features: int, n_days: int, seed: int) -> Quarter:
    """Fit a profile on two weeks, then watch ``n_days``."""
    population = Population(n_features, seed)
    n_reference = REFERENCE_DAYS * EVENTS_PER_DAY
    profile = fit_profile(
        _MODEL,
        "1",
        population.columns(n_reference),
        task="regression",
        origin="training",
        times_ms=times_ms(0, n_reference),
    )
    # At one event a minute the default would take every pause for an idle stream, event by event.
    windows = WindowSpec(idle_close_ms=DAY_MS)
    monitor = PartitionMonitor(_TOPIC, 0, MonitorSpec(budget=BUDGET, windows=windows))
    update = ModelUpdate(
        id="reference",
        model=_MODEL,
        version="1",
        time_ms=REFERENCE_DAYS * DAY_MS,
        profile=profile_to_data(profile),
    )
    monitor.observe(_batch(0, [update]))
    if monitor.counters.control != 1:
        raise RuntimeError(f"the profile was not taken: {monitor.counters}")
    alerts = 0
    for day in range(n_days):
        events = list(_events(population, n_reference + day * EVENTS_PER_DAY))
        observation = monitor.observe(_batch(1 + day * EVENTS_PER_DAY, events))
        alerts += sum(
            alert.phase == "started" and alert.kind != "coverage"  # reports what is not watched
            for alert in observation.alerts
        )
    n_events = n_days * EVENTS_PER_DAY
    if monitor.counters.valid != n_events:
        raise RuntimeError(
            f"{monitor.counters.valid} of {n_events} events were valid: {monitor.counters}"
        )
    version = monitor.models[_MODEL].versions["1"]
    tracks: list[EpisodeTracker] = []
    for check in version.checks.values():
        if isinstance(check, SignalCheck):
            tracks += [check.signal.main, check.signal.validity]
        elif isinstance(check, CorrelationCheck):
            tracks.append(check.tracker)
    weeks = n_days / 7
    return Quarter(
        n_features,
        sum(len(feature.channels) for feature in profile.features.values()),
        len(profile.correlations),
        sum(feature.calendar is not None for feature in profile.features.values()),
        n_events,
        weeks,
        alerts + sum(track.dismissed + (track.state == "suspected") for track in tracks),
        alerts,
        int(poisson.ppf(0.95, weeks * BUDGET.false_alerts)),
    )


def _events(population: Population, first: int) -> Iterator[InferenceEvent]:
    """Those of a day."""
    columns = population.columns(EVENTS_PER_DAY)
    plain = [c.tolist() if isinstance(c, np.ndarray) else c for c in columns.values()]
    for i, at_ms in enumerate(times_ms(first, EVENTS_PER_DAY).tolist()):
        features: dict[str, Any] = dict(zip(columns, (c[i] for c in plain), strict=True))
        yield InferenceEvent(
            id=f"{first + i}",
            model=_MODEL,
            version="1",
            time_ms=at_ms,
            features=features,
            prediction=0.0,
        )


def _batch(start: int, events: Sequence[Event]) -> RecordBatch:
    """Events arrive as they happen, so their number and their pauses are watched too."""
    records = [
        ConsumerRecord(start + i, event.time_ms, CE_TYPE_OF[type(event)], encode(event))
        for i, event in enumerate(events)
    ]
    return RecordBatch(_TOPIC, 0, "", start, start + len(records), records)
