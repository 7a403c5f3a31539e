"""The checks of declared segments: the features and the predictions of a part of the traffic.

While all traffic drifts in a feature, its segments drift too: an episode of a segment is explained
by one of all traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, cast

import numpy as np
from msgspec import UNSET

from producer.events import Prediction, Value
from producer.names import escape_separators
from stream_monitor.checks.check import Check, CheckContext
from stream_monitor.checks.feature import feature_key
from stream_monitor.checks.monitored_signal import MonitoredSignal
from stream_monitor.checks.signal_check import SignalCheck
from stream_monitor.checks.version_events import VersionEvents
from stream_monitor.episodes.finding import AlertSource, ExplainedBy, Finding
from stream_monitor.episodes.repeating_tracker import RepeatingEpisodeTracker
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.reference.loss import scores_of
from stream_monitor.reference.profile import SegmentReference
from stream_monitor.reference.segment_reference import segment_name
from stream_monitor.reference.values import codes

PREDICTION: Final = "prediction"


def segment_checks(context: CheckContext) -> Iterator[Check[VersionEvents]]:
    """The checks of all declared segments: the features by name, then the prediction."""
    weights = context.profile.weights()
    for segment in context.profile.segments:
        for name, reference in sorted(segment.features.items()):
            signal = MonitoredSignal(
                reference,
                "data",
                context.arl0_events,
                context.policy,
                importance=weights.get(name, 1.0),
                kind=RepeatingEpisodeTracker,
            )
            yield SegmentFeatureCheck(context.source, segment.name, name, signal)
        if segment.prediction is not None:
            signal = MonitoredSignal(
                segment.prediction,
                "prediction",
                context.arl0_events,
                context.policy,
                kind=RepeatingEpisodeTracker,
            )
            yield SegmentPredictionCheck(context, segment.name, signal)


class SegmentFeatureCheck(SignalCheck[VersionEvents]):
    """The checks of one feature in one segment."""

    def __init__(
        self, source: AlertSource, segment: str, feature: str, signal: MonitoredSignal
    ) -> None:
        super().__init__(source, segment_key(segment, feature), signal, segment)
        self.explained_by = ExplainedBy((feature_key(feature),))
        self._part = segment

    def observe(self, batch: VersionEvents) -> list[Finding]:
        """Apply the events of the segment; returns the phases of episodes that they decided."""
        events = batch.segments[self._part]
        column = batch.batch.features.column(self.signal.reference.name)
        values = self.signal.transform.apply([column[i] for i in events.rows.tolist()])
        return self.findings_of(
            self.signal.observe(values, events.offsets, events.times_ms, events.onset)
        )


class SegmentPredictionCheck(SignalCheck[VersionEvents]):
    """The checks of the prediction in one segment."""

    def __init__(self, context: CheckContext, segment: str, signal: MonitoredSignal) -> None:
        super().__init__(context.source, segment_key(segment, None), signal, segment)
        self.explained_by = ExplainedBy((PREDICTION,))
        self._part, self._profile = segment, context.profile

    def observe(self, batch: VersionEvents) -> list[Finding]:
        """Apply the predictions of the segment; returns the phases that they decided."""
        events, predictions = batch.segments[self._part], batch.batch.predictions
        rows = events.rows
        places = [i for i, row in enumerate(rows) if predictions[row] is not UNSET]
        mine = [cast("Prediction", predictions[i]) for i in rows[places].tolist()]
        scores = scores_of(mine, self._profile.task, self._profile.positive)
        return self.findings_of(
            self.signal.observe(
                self.signal.transform.apply(scores),
                events.offsets[places],
                events.times_ms[places],
                lambda position, back: events.onset(places[position], back),
            )
        )


def segment_key(segment: str, feature: str | None) -> str:
    """The unique series of a feature, or of the prediction, in a segment.

    A value that ends in ``/feature`` would make the prediction look like a feature of that name;
    ``%`` is appended to it.

    >>> segment_key("origin=EWR", "temp"), segment_key("origin=EWR", None)
    ('segment/origin=EWR/feature/temp', 'segment/origin=EWR/prediction')
    >>> segment_key("a=x/feature", None), segment_key("a=x", "prediction")
    ('segment/a=x/feature%/prediction', 'segment/a=x/feature/prediction')
    """
    text = f"{segment}%" if segment.rstrip("%").endswith("/feature") else segment
    rest = PREDICTION if feature is None else f"feature/{escape_separators(feature, '/')}"
    return f"segment/{text}/{rest}"


def rows_of(segments: Iterable[SegmentReference], batch: EventBatch) -> dict[str, Ints]:
    """Return the rows of each segment's events in a batch, (m,), by segment name."""
    values: dict[str, dict[str, int]] = {}
    for segment in segments:
        of_attribute = values.setdefault(segment.attribute, {})
        of_attribute[segment.value] = len(of_attribute)
    return {
        segment_name(attribute, value): rows
        for attribute, index_of in values.items()
        for value, rows in _split(batch, attribute, index_of)
    }


def _split(
    batch: EventBatch, attribute: str, index_of: dict[str, int]
) -> Iterator[tuple[str, Ints]]:
    found = codes(_column(batch, attribute), index_of)
    for value, index in index_of.items():
        yield value, np.flatnonzero(found == index)


def _column(batch: EventBatch, attribute: str) -> Sequence[Value]:
    """The values of an attribute: those that events name, else those of the feature."""
    named, feature = batch.segments.column(attribute), batch.features.column(attribute)
    return [f if s is None else s for s, f in zip(named, feature, strict=True)]
