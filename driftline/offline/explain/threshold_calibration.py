"""How the budget became thresholds, channel by channel.  Pure."""

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
    """The budget that holds for a model: ``false_alerts`` in ``per_events`` of its events.

    ``unit`` says what that was made of: a budget ``per_weeks`` at ``events_per_week``, those of the
    reference, or one per events.  With ``per_weeks`` and ``unit`` "events" a budget per week was
    stated, and the reference does not know how many events a week has.
    """

    unit: Literal["events", "weeks"]
    false_alerts: float
    per_events: int
    per_weeks: float | None
    events_per_week: float | None


def rate_fix(*, from_rows: bool, timed: bool) -> str:
    """What makes a reference know its events a week: one from rows, or one that was made before.

    >>> rate_fix(from_rows=True, timed=False)
    '--time COLUMN'
    """
    if from_rows and timed:
        return "rows of ten seconds and more: the times of these are all of one moment, or nearly"
    if from_rows:
        return "--time COLUMN"
    return "driftline profile build with --time or --events-per-week, and profile send"


def effective_budget(profile: ReferenceProfile, budget: Budget) -> EffectiveBudget:
    """What became of the budget that was stated."""
    weeks, rate = budget.per_weeks, profile.events_per_week
    return EffectiveBudget(
        unit="events" if weeks is None or rate is None else "weeks",
        false_alerts=budget.false_alerts,
        per_events=in_events(budget, rate).per_events,
        per_weeks=weeks,
        events_per_week=rate,
    )


class ChannelCalibration(msgspec.Struct, frozen=True, kw_only=True):
    """One channel of one series.

    ``block`` events make one mean, for values depend on each other over ``tau`` events;
    ``page_hinkley`` is the threshold in standard deviations of such a mean, ``adwin_delta``
    ADWIN's.  Each detector is calibrated to one false alarm in ``arl0_events`` events.
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
    """All that is watched of a model: features by name, then the prediction and the loss."""
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
    """Every channel with its thresholds: features, prediction, loss, then relations."""
    arl0 = arl0_per_detector(profile, budget)
    channels = [
        (name, channel, reference.short)
        for name, reference in references_of(profile)
        for channel in reference.channels
    ]
    channels += [(one.name, one.channel, one.short) for one in profile.relations]
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
