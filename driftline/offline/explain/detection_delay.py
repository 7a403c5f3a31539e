"""How long a change of a given size takes to become an alert.  Pure.

The signal of the fastest detector, and then the look at fresh events that confirms it.  Each is
reckoned on expected values, so that about half of the changes are found sooner: 30 to 75 % were
where events are independent (30 runs a cell, 6 shapes, 200 to 10,000 events).  Where they depend
on each other it is up to a fifth too hopeful (AR 0.9).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from scipy.special import chdtrc, chdtri
from scipy.stats import ncx2

from driftline.offline.explain.simulated_shift import ShiftedFeature
from stream_monitor.detectors.adwin_state import MIN_WINDOW_LENGTH, adwin_clock
from stream_monitor.detectors.calibration import adwin_delta, page_hinkley_threshold
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.channel_calibration import Z_LIMIT
from stream_monitor.reference.feature_reference import ChannelReference
from stream_monitor.statistics.distance import psi_adjusted
from stream_monitor.statistics.fixed_point import Floats

_OVERSHOOT: Final = 1.166  # Siegmund (1985), as in the calibration
_LONGEST: Final = 1 << 40


class ExpectedSignal(NamedTuple):
    """``blocks`` of ``block`` events until a detector signals; infinite: it never does.

    ``drift`` is by how much each block brings it nearer, in standard deviations of a block's mean.
    """

    blocks: float
    block: int
    drift: float


def expected_signal(channel: ChannelReference, arl0_events: float, move: float) -> ExpectedSignal:
    """When the faster detector of the channel signals a move of its mean."""
    scale = channel.sd if channel.season is None else channel.sd * channel.season.sds.mean()
    z = min(abs(move) / float(scale), Z_LIMIT)
    return min(
        ExpectedSignal(
            _page_hinkley_blocks(channel, arl0_events, z), channel.block, z - channel.allowance
        ),
        ExpectedSignal(_adwin_blocks(channel, arl0_events, z), channel.block, z),
        key=lambda signal: signal.blocks,
    )


def events_to_signal(channel: ChannelReference, arl0_events: float, move: float) -> float:
    """Events until a detector of the channel signals a move of its mean; infinite: none does."""
    return channel.block * expected_signal(channel, arl0_events, move).blocks


def _page_hinkley_blocks(channel: ChannelReference, arl0_events: float, z: float) -> float:
    """The mean time of a cumulative sum with drift z - k (Siegmund, 1985)."""
    drift = z - channel.allowance
    if drift <= 0:
        return math.inf
    reach = 2 * drift * (page_hinkley_threshold(channel, arl0_events) + _OVERSHOOT)
    return (math.expm1(-reach) + reach) / (2 * drift * drift)


def _adwin_blocks(channel: ChannelReference, arl0_events: float, z: float) -> float:
    """The fewest fresh blocks whose mean lies beyond ADWIN's bound (Bifet & Gavalda, 2007)."""
    if channel.adwin is None or z <= 0:
        return math.inf
    delta, clock = adwin_delta(channel, arl0_events), adwin_clock(channel.block)

    def is_cut(fresh: int) -> bool:
        old = channel.n_blocks
        log = math.log(2 * math.log(old + fresh) / delta)
        share = fresh / (old + fresh)
        variance = 1 + share * (1 - share) * z * z
        unit = 1 / (old - MIN_WINDOW_LENGTH + 1) + 1 / (fresh - MIN_WINDOW_LENGTH + 1)
        bound = math.sqrt(2 * unit * variance * log) + 2 / 3 * unit * log / channel.adwin_scale
        return z > bound

    low, high = MIN_WINDOW_LENGTH, 2 * MIN_WINDOW_LENGTH
    while not is_cut(high):
        low, high = high, 2 * high
        if high > _LONGEST:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_cut(middle) else (middle, high)
    return high + clock / 2


def events_to_confirmation(
    shifted: ShiftedFeature, reference_bins: tuple[int, ...], tau: float, policy: EpisodePolicy
) -> float:
    """Fresh events until a look confirms the suspicion; infinite: it would be dismissed."""
    looks = policy.n_interim_tests(policy.window_events(len(reference_bins), tau))
    for look in range(looks):
        events = policy.first_test_events << look
        effect, p_value = _expected(shifted.shares, events, reference_bins, tau)
        if p_value < policy.significance / looks and effect >= policy.min_effect:
            return events
    return math.inf


def confirmation_interval(
    shifted: ShiftedFeature,
    reference_bins: tuple[int, ...],
    tau: float,
    policy: EpisodePolicy,
    tail: float,
) -> tuple[float, float]:
    """The looks by which a share ``tail`` of such changes, and all but as many, are confirmed.

    The statistic of a look is a noncentral chi-square one.  What no look confirms so surely takes
    all of them; the first is infinite where even that is too much to hope for.
    """
    looks = policy.n_interim_tests(policy.window_events(len(reference_bins), tau))
    freedom = max(1, len(reference_bins) - 1)
    low = math.inf
    for look in range(looks):
        events = policy.first_test_events << look
        effect, unit = _true_effect(shifted.shares, events, reference_bins, tau)
        least = max(
            float(chdtri(freedom, policy.significance / looks)), freedom + policy.min_effect / unit
        )
        chance = float(ncx2.sf(least, freedom, max(0.0, effect) / unit))
        if chance >= tail:
            low = min(low, events)
        if chance >= 1 - tail:
            return low, events
    return low, policy.first_test_events << (looks - 1)


def _expected(
    shares: Floats, events: int, reference_bins: tuple[int, ...], tau: float
) -> tuple[float, float]:
    """Effect and p-value as they are on average, noise included.

    So many events that rounding to whole ones does not matter give the effect; the p-value is that
    of the expected index: the effect and what as few events as these add to it by chance.
    """
    effect, unit = _true_effect(shares, events, reference_bins, tau)
    freedom = len(reference_bins) - 1
    return effect, float(chdtrc(freedom, effect / unit + freedom)) if freedom else 1.0


def _true_effect(
    shares: Floats, events: int, reference_bins: tuple[int, ...], tau: float
) -> tuple[float, float]:
    """The effect without noise, and what noise adds to it for each degree of freedom."""
    exact = np.rint(shares * _LONGEST).astype(np.int64).tolist()
    many = [count * (_LONGEST // max(1, sum(reference_bins))) for count in reference_bins]
    effect, _ = psi_adjusted(exact, many, 1.0)
    return effect, tau * (1 / events + 1 / max(1, sum(reference_bins)))
