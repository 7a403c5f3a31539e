"""Changes of a stream, and how much information about each an event carries."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from tests.benchmarks.detection.streams import (
    MIX,
    N_REFERENCE,
    SEASON_SHARE,
    Column,
    Floats,
    Stream,
    cuts_of,
    seen,
    shares_of,
)

_FINE: Final = np.linspace(-8, 8, 3201)  # stands for a continuous latent axis


class Change(NamedTuple):
    """A change that lasts; shift and spread are those of the latent values.

    ``ramp_events``: the shift grows to its size over so many events.  ``swap`` exchanges the
    shares of the second and third category, 25 % and 20 %.  ``missing`` and ``unseen`` are the
    shares of such values afterwards, ``missing_before`` before.  ``hidden``: so many of all events,
    those of the lowest values or the first categories, are missing, or sent under a new name.
    ``odd`` is the share of values that are something else afterwards: ``odd_value``, or without
    one anything from 1e9 on.  ``times`` multiplies values.
    """

    name: str
    shift: float = 0.0
    spread: float = 1.0
    ramp_events: int = 0
    swap: bool = False
    missing_before: float = 0.0
    missing: float = 0.0
    unseen: float = 0.0
    hidden: float = 0.0
    odd: float = 0.0
    odd_value: float | None = None
    times: float = 1.0


def column_of(
    stream: Stream, change: Change | None, z: Floats, start: int, rng: np.random.Generator
) -> Column:
    """What is sent for latent ``z`` (n,), of which the change happens at index ``start``."""
    if change is None:
        return seen(stream, z)
    z = z.copy()
    after = np.arange(len(z)) >= start
    size = np.full(len(z), change.shift)
    if change.ramp_events:
        size *= np.clip((np.arange(len(z)) - start) / change.ramp_events, 0, 1)
    z[after] = z[after] * change.spread + size[after]
    column = seen(stream, z)
    chance = rng.random(len(z))
    gone = after & (z < ndtri(change.hidden))
    if isinstance(column, np.ndarray):
        lost = chance < np.where(after, change.missing, change.missing_before)
        column = np.where(after, change.times * column, column)
        if change.odd:
            anything = rng.uniform(1e9, 1e10, len(z))
            odd = anything if change.odd_value is None else change.odd_value
            column = np.where(after & (rng.random(len(z)) < change.odd), odd, column)
        return np.where(gone | lost, np.nan, column)
    if change.swap:
        # Every fifth of the category with 25 % turns into the one with 20 %: 5 points move.
        moved = after & (chance < 0.2)
        return ["c2" if m and v == "c1" else v for m, v in zip(moved, column, strict=True)]
    gone |= after & (chance < change.unseen)
    return ["new" if g else v for g, v in zip(gone, column, strict=True)]


def divergence(stream: Stream, change: Change) -> float:
    """Kullback-Leibler divergence per event, of after from before, as if events were independent.

    0 where it is not one number (a ramp).
    """
    if change.ramp_events:
        return 0.0
    if change.missing:
        return _of_shares(
            (1 - change.missing, change.missing), (1 - change.missing_before, change.missing_before)
        )
    if change.odd:  # against one event in as many as the reference has
        return _of_shares((1 - change.odd, change.odd), (1 - 1 / N_REFERENCE, 1 / N_REFERENCE))
    if change.times != 1.0:  # of the part that is not zero, an exponential one
        return (change.times - 1 - math.log(change.times)) * 0.05
    return math.inf if change.unseen or change.hidden else _of_latent(stream, change)


def _of_latent(stream: Stream, change: Change) -> float:
    shares = shares_of(stream.shape)
    if change.swap:
        first, second, third, *rest = MIX
        return _of_shares((first, second - 0.05, third + 0.05, *rest), MIX)
    shift, spread = change.shift, change.spread
    if stream.dependence == "season":  # with the season known, a shift is larger
        shift /= math.sqrt(1 - SEASON_SHARE)
    if shares is not None:
        cuts = cuts_of(shares)
    elif stream.shape == "zero-inflated":
        cuts = np.concatenate(([ndtri(0.7)], _FINE[ndtri(0.7) < _FINE]))
    else:
        cuts = _FINE
    return _of_shares(_masses((cuts - shift) / spread), _masses(cuts))


def lorden_bound(stream: Stream, change: Change, arl0_events: float) -> float | None:
    """The shortest mean delay any detector can have with ``arl0_events`` between false alarms.

    ln(ARL0) / KL events (Lorden, "Procedures for reacting to a change in distribution", 1971),
    times the autocorrelation time.  ``None`` where it is not known.
    """
    kl = divergence(stream, change)
    if not 0 < kl < math.inf or (stream.autocorrelation_time > 1 and change.spread != 1):
        return None
    return math.log(arl0_events) / kl * stream.autocorrelation_time


def _masses(cuts: Floats) -> Floats:
    return np.diff(np.concatenate(([0.0], ndtr(cuts), [1.0])))


def _of_shares(after: Floats | tuple[float, ...], before: Floats | tuple[float, ...]) -> float:
    p, q = np.asarray(after), np.asarray(before)
    known = (p > 1e-13) & (q > 1e-13)
    return float(np.sum(p[known] * np.log(p[known] / q[known])))
