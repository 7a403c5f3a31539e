"""The thresholds of each channel, derived from the alert budget.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from stream_monitor.core.alert_budget import arl0_per_detector
from stream_monitor.detectors.calibration import (
    Budget,
    adwin_delta,
    in_events,
    page_hinkley_threshold,
)
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.profile import ReferenceProfile


class EffectiveBudget(msgspec.Struct, frozen=True, kw_only=True):
    """The effective budget of a model: ``false_alerts`` in ``per_events`` of its events.

    With the ``unit`` "weeks" it was converted from a budget ``per_weeks``, at the reference's
    ``events_per_week``.  With ``per_weeks`` and the ``unit`` "events", the reference has no number
    of events a week, so the budget holds per events.
    """

    unit: Literal["events", "weeks"]
    false_alerts: float
    per_events: int
    per_weeks: float | None
    events_per_week: float | None


def rate_fix(*, from_rows: bool, timed: bool) -> str:
    """Return advice on giving a reference its number of events a week.

    ``from_rows``: the reference is built from rows now; ``timed``: these have times.

    >>> rate_fix(from_rows=True, timed=False)
    '--time COLUMN'
    """
    if from_rows and timed:
        return "use rows over ten seconds or more: these have nearly the same time"
    if from_rows:
        return "--time COLUMN"
    return "run driftline profile build with --time or --events-per-week, and profile send"


def effective_budget(profile: ReferenceProfile, budget: Budget) -> EffectiveBudget:
    """The budget that holds for the events of ``profile``."""
    weeks, rate = budget.per_weeks, profile.events_per_week
    return EffectiveBudget(
        unit="events" if weeks is None or rate is None else "weeks",
        false_alerts=budget.false_alerts,
        per_events=in_events(budget, rate).per_events,
        per_weeks=weeks,
        events_per_week=rate,
    )


class ChannelCalibration(msgspec.Struct, frozen=True, kw_only=True):
    """The thresholds of one channel of one series.

    ``block`` events are averaged, because values depend on each other over ``tau`` events.
    ``page_hinkley`` is the threshold in standard deviations of such a mean, ``adwin_delta``
    that of ADWIN.  Each detector is calibrated to one false alarm in ``arl0_events`` events.
    """

    series: str
    channel: str
    block: int
    tau: float
    page_hinkley: float
    adwin_delta: float | None
    arl0_events: float
    short: bool


def references_of(profile: ReferenceProfile) -> Iterator[tuple[str, FeatureReference]]:
    """All watched series of a model: features by name, then the prediction and the loss."""
    yield from sorted(profile.features.items())
    if profile.prediction is not None:
        yield "prediction", profile.prediction
    expected = profile.expected_loss
    if expected is not None:
        if expected.confidence is not None:
            yield "confidence", expected.confidence
        yield "loss", expected.outcome
    elif profile.loss is not None:
        yield "loss", profile.loss


def calibration_of(profile: ReferenceProfile, budget: Budget) -> list[ChannelCalibration]:
    """Every channel with its thresholds: features, prediction, loss, then correlations."""
    arl0 = arl0_per_detector(profile, budget)
    channels = [
        (name, channel, reference.short)
        for name, reference in references_of(profile)
        for channel in reference.channels
    ]
    channels += [(one.name, one.channel, one.short) for one in profile.correlations]
    return [
        ChannelCalibration(
            series=name,
            channel=channel.channel,
            block=channel.block,
            tau=round(channel.tau, 2),
            page_hinkley=round(page_hinkley_threshold(channel, arl0), 3),
            adwin_delta=adwin_delta(channel, arl0) if channel.stationary else None,
            arl0_events=arl0,
            short=short,
        )
        for name, channel, short in channels
    ]
