"""Calibrates one channel on its reference: block length, spread, tail and ADWIN state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np

from stream_monitor.detectors.adwin_state import AdwinState, adwin_clock, dump, new
from stream_monitor.detectors.calibration import adwin_delta
from stream_monitor.reference.feature_reference import ChannelName, ChannelReference
from stream_monitor.reference.season import Season
from stream_monitor.statistics.dependence import (
    SKEW_BLOCK_FACTOR,
    autocorrelation_time,
    block_length,
    block_means,
    kurtosis,
    power_of_two,
    skewness,
    variance_inflation,
)
from stream_monitor.statistics.fixed_point import Bools, Floats

ValueChannel: TypeAlias = Literal[
    "location", "spread", "mix", "product", "residual", "rest", "rest_spread"
]
Z_LIMIT: Final = 8.0
"""Limit to which standardised block means are clipped, so that one block cannot decide alone."""

_ADWIN_SCALE: Final = 10.0  # at this scale ADWIN's rate of false alarms is linear in its delta
_SKEWED: Final = 0.25
_NOMINAL_ARL0: Final = 1e6
# Of the cumulative sums, in sd of a block mean.  ADWIN finds changes smaller than twice that.
_ALLOWANCE: Final = 0.75
_DEPENDENT_ALLOWANCE: Final = 0.5  # ADWIN is less sensitive there
_VALIDITY_ALLOWANCE: Final = 1.0  # outages are large changes
_UNSEEN: Final = 3.0  # rule of three: an event absent from n may have probability 3/n
_MAX_VALIDITY_BLOCK: Final = 128
_RARE_EVENTS: Final = 20
_MIN_EFFECTIVE: Final = 100
_MIN_THETA: Final = 0.05
_MAX_JUMP: Final = 500.0  # exp of it is still a float


def required_block(values: Floats) -> tuple[float, int]:
    """Autocorrelation time of a channel's reference values, and the block length it requires."""
    tau = autocorrelation_time(values)
    return tau, block_length(len(values), tau, skewness(values))


def arl_widening(n: int, tau: float) -> float:
    """The factor on the time between false alarms that compensates for a short reference.

    With fewer than 100 autocorrelation times the sd of a block mean is too uncertain.  Measured:
    with 50 up to 2 times the requested false alarms, with 16 up to 13 times.
    """
    effective = n / tau
    return 1.0 if effective >= _MIN_EFFECTIVE else 10.0 * (_MIN_EFFECTIVE / effective) ** 2


def fit_channel(
    channel: ValueChannel,
    values: Floats,
    block: int,
    max_deviation: float,
    widening: float,
    season: Season | None = None,
) -> ChannelReference:
    """Calibrate on the reference values (n,) of a channel, in their order in time.

    ``max_deviation`` is the largest possible distance from the mean: a channel that hardly moved
    gets the sd that three such values in n would give it.  ``widening`` is that of the feature.
    With a ``season`` the values are its residuals.  The error of a slot's mean is in all events of
    the slot; it adds 1/P of the variance, for P periods.
    """
    n = len(values)
    tau = autocorrelation_time(values)
    blocks = block_means(values, block)
    n_blocks = len(blocks)
    mean = float(blocks.mean())
    vif = variance_inflation(blocks)
    # Remaining dependence, and one standard error of a variance: conservative if n is small.
    uncertainty = 1 + math.sqrt(max(0.0, kurtosis(blocks) - 1) / n_blocks)
    variance = float(blocks.var()) * vif * uncertainty
    if season is not None:
        variance *= season.uncertainty
    skew = skewness(values)
    share = min(0.5, _UNSEEN / n)
    if (floor := max_deviation * max_deviation * share / block) > variance:
        variance = floor
        skew = max(abs(skew), _bernoulli_skew(share))
    sd = math.sqrt(variance)
    fitted = _calibrated(channel, mean, sd, blocks, block, tau, vif, skew, widening)
    return msgspec.structs.replace(fitted, season=season)


def fit_validity(invalid: Bools, widening: float) -> ChannelReference:
    """Calibrate the channel that is 1 where a value is missing, invalid or unseen; (n,)."""
    n = len(invalid)
    values = invalid.astype(np.float64)
    hits = int(np.count_nonzero(invalid))
    share = hits / n
    if hits < _RARE_EVENTS:
        share = (hits + _UNSEEN) / n
    elif n - hits < _RARE_EVENTS:
        share = 1 - (n - hits + _UNSEEN) / n
    rarer = min(share, 1 - share)
    skew = _bernoulli_skew(rarer)
    tau = autocorrelation_time(values) if _RARE_EVENTS <= hits <= n - _RARE_EVENTS else 1.0
    wanted = max(8.0, SKEW_BLOCK_FACTOR * skew * skew, 2 * tau if tau > 1 else 0.0)
    block = min(power_of_two(wanted), _MAX_VALIDITY_BLOCK, power_of_two(n // 2 + 1) // 2)
    blocks = block_means(values, block)
    vif = variance_inflation(blocks) if tau > 1 else 1.0
    sd = math.sqrt(share * (1 - share) / block) * (1 + 0.5 * math.sqrt(2 / (n * rarer)))
    if tau > 1:  # outages come in runs, which the binomial formula leaves out
        sd = max(sd, float(blocks.std())) * math.sqrt(vif)
    return _calibrated("validity", share, sd, blocks, block, tau, vif, skew, widening)


def _calibrated(
    channel: ChannelName,
    mean: float,
    sd: float,
    blocks: Floats,
    block: int,
    tau: float,
    vif: float,
    skew_of_events: float,
    widening: float,
) -> ChannelReference:
    z = np.clip((blocks - mean) / sd, -Z_LIMIT, Z_LIMIT)
    skew = max(abs(skewness(z)), abs(skew_of_events) * math.sqrt(tau / block))
    allowance = _DEPENDENT_ALLOWANCE
    if tau == 1:
        allowance = _VALIDITY_ALLOWANCE if channel == "validity" else _ALLOWANCE
    scale = _ADWIN_SCALE if skew < _SKEWED else 1.0
    fitted = ChannelReference(
        channel=channel,
        mean=mean,
        sd=sd,
        block=block,
        tau=tau,
        skew=skew,
        theta=tail_exponent(z, skew, allowance),
        vif=vif,
        adwin_scale=scale,
        n_blocks=len(blocks),
        adwin=None,
        widening=widening,
        allowance=allowance,
    )
    adwin = _primed(z * scale, fitted)
    return msgspec.structs.replace(fitted, adwin=adwin, stationary=adwin is not None)


def _primed(values: Floats, channel: ChannelReference) -> AdwinState | None:
    """The state of ADWIN after the whole reference; ``None`` where it finds a change in it."""
    adwin: Any = new(adwin_delta(channel, _NOMINAL_ARL0), adwin_clock(channel.block))
    for value in values.tolist():
        adwin.update(value)
        if adwin.drift_detected:
            return None
    return dump(adwin)


def tail_exponent(z: Floats, skew: float, allowance: float) -> float:
    """The exponent theta of the false-alarm rate of a cumulative sum over ``z``, at most 2k.

    The root of mean(exp(theta (z - k))) = 1, for both signs of z (Lorden, 1971), and, where it is
    skewed, of (exp(theta J) - 1 - theta J) / J^2 = theta k, which is that root for a compound
    Poisson sum with jumps J: a finite reference may not contain its tail.
    """
    theta = 2 * allowance
    for signed in (z, -z):

        def mean_log(x: float, signed: Floats = signed) -> float:
            return math.log(float(np.mean(np.exp(x * (signed - allowance)))))

        theta = min(theta, _positive_root(mean_log, theta))
    if skew > _SKEWED:
        jump = min(skew * (1 + 1 / math.sqrt(len(z))), _MAX_JUMP)

        def poisson(x: float) -> float:
            return (math.expm1(x * jump) - x * jump) / jump**2 - x * allowance

        theta = min(theta, _positive_root(poisson, theta))
    return max(theta, _MIN_THETA)


def _positive_root(function: Callable[[float], float], at_most: float) -> float:
    """The root in (0, at_most] of a convex function that is 0 at 0 and decreases there."""
    lowest = 1e-3
    if function(at_most) <= 0:
        return at_most
    if function(lowest) >= 0:
        return lowest
    from scipy.optimize import brentq  # noqa: PLC0415 - a tenth of a worker's start

    return float(brentq(function, lowest, at_most))


def _bernoulli_skew(share: float) -> float:
    return (1 - 2 * share) / math.sqrt(share * (1 - share))
