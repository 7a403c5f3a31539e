"""Converts a false-alarm budget to the thresholds of the detectors.

ARL0 is the mean number of events between false alarms of one detector.  Expected false alarms add
up whatever the correlation between features, so a model with D detectors that may raise A false
alarms in E events gives each of them ARL0 = D E / A.  A budget per week is one per as many events
as the model's reference has in a week.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from stream_monitor.detectors.adwin_state import adwin_clock
from stream_monitor.reference.feature_reference import ChannelReference

# Siegmund, "Sequential Analysis", 1985: a discrete sum behaves as a continuous one whose
# boundary lies 0.583 sd further out, on both of its sides.
_OVERSHOOT: Final = 1.166

# ARL0 * delta of ADWIN on standard normal block means times 10, by its clock; measured, rounded
# down.  ADWIN's delta itself is not a false-alarm probability.
_ADWIN_RATE: Final = {1: 200.0, 2: 250.0, 4: 300.0, 8: 400.0, 16: 500.0, 32: 650.0}
_ADWIN_CEILING: Final = 20.0  # ADWIN's own bound on splits: exponents apply below it
_MIN_BLOCKS: Final = 10.0
_MOST_EVENTS: Final = 1e18  # more than any topic has


class Budget(msgspec.Struct, frozen=True):
    """At most ``false_alerts`` false alarms per ``per_events`` events of one model.

    With ``per_weeks`` it is per that many weeks of event time, and ``per_events`` applies only
    where the events per week are unknown.
    """

    false_alerts: float = 1.0
    per_events: int = 1_000_000
    per_weeks: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.false_alerts < math.inf:
            raise ValueError("budget: false_alerts is a positive number; state 1, or 0.5")
        if self.per_events <= 0:
            raise ValueError("budget: per_events is a positive number of events; state 1000000")
        if self.per_weeks is not None and not 0 < self.per_weeks < math.inf:
            raise ValueError(
                "budget: per_weeks is a positive number of weeks of event time; state 1, or leave "
                "it out to have a budget per events"
            )


def in_events(budget: Budget, events_per_week: float | None) -> Budget:
    """The budget per events, of a model with ``events_per_week`` events a week of event time.

    Where that is unknown, ``per_events`` is unchanged.

    >>> in_events(Budget(per_weeks=2.0), 30_000.0)
    Budget(false_alerts=1.0, per_events=60000, per_weeks=None)
    >>> in_events(Budget(per_weeks=2.0), None)
    Budget(false_alerts=1.0, per_events=1000000, per_weeks=None)
    """
    if budget.per_weeks is None or events_per_week is None:
        return Budget(budget.false_alerts, budget.per_events)
    events = min(budget.per_weeks * events_per_week, _MOST_EVENTS)
    return Budget(budget.false_alerts, max(1, round(events)))


def arl0_events(budget: Budget, n_detectors: float) -> float:
    """Mean events between false alarms of each of ``n_detectors`` detectors of a model.

    The budget is per events, as `in_events` returns it.  A detector that sees a share of the
    events counts as that share of a detector.

    >>> arl0_events(Budget(false_alerts=2.0, per_events=1_000_000), 6)
    3000000.0
    """
    return max(1, n_detectors) * budget.per_events / budget.false_alerts


def page_hinkley_threshold(channel: ChannelReference, arl0_events: float) -> float:
    """Threshold of the two-sided cumulative sum, in standard deviations of a block mean.

    Siegmund (1985), for allowance k: ARL0 = (exp(2k(h + 1.166)) - 2k(h + 1.166) - 1) / 4k^2
    blocks, which is h = ln(4k^2 ARL0) / 2k - 1.166.  Tails heavier than the normal ones lower the
    exponent 2k to ``channel.theta``, the root of E exp(theta (z - k)) = 1 (Lorden, 1971; Wald's
    identity).
    """
    k = channel.allowance
    h = math.log(4 * k * k * _blocks(channel, arl0_events)) / (2 * k) - _OVERSHOOT
    return h * 2 * k / channel.theta


def adwin_delta(channel: ChannelReference, arl0_events: float) -> float:
    """ADWIN's delta that makes it fire once in ``arl0_events`` events of the reference.

    Dependence between blocks inflates the variance by ``channel.vif``.  ADWIN estimates the
    variance itself and does not see this, so the factor enters as a power of delta.
    """
    rate = _ADWIN_RATE[adwin_clock(channel.block)]
    delta = min(0.5, rate / _blocks(channel, arl0_events))
    if channel.tau > 1:
        power = channel.vif * (1 + math.sqrt(2 / channel.n_blocks))
        delta = _ADWIN_CEILING * (delta / _ADWIN_CEILING) ** power
    return max(delta, 1e-300)


def _blocks(channel: ChannelReference, arl0_events: float) -> float:
    return max(_MIN_BLOCKS, arl0_events * channel.widening / channel.block)
