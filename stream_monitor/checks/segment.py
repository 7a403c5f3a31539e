"""The declared segments of a watched version: each sees its own events, and tells what is its own.

While the whole version drifts in a feature, its segments do so too, and saying it again of each
would be noise: an episode that opens in a segment while one of the whole is open is withheld.  It
is told where it lasts for a window, or grows worse in one, that began after that one had ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import numpy as np
from msgspec import UNSET

from producer.events import Prediction, Value
from producer.names import escape_separators
from stream_monitor.checks.monitored_signal import CheckName, Finding, MonitoredSignal, feature_key
from stream_monitor.checks.offset_index import OffsetIndex
from stream_monitor.contracts import ENDED_PHASES
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.episodes.repeating_tracker import RepeatingEpisodeTracker
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.reference.loss import scores_of
from stream_monitor.reference.profile import ReferenceProfile, SegmentReference
from stream_monitor.reference.segment_reference import segment_name
from stream_monitor.reference.values import codes

PREDICTION: Final = "prediction"


class WholeVersionState(NamedTuple):
    """What is known of a series of the whole version around a batch: before it, and in it.

    ``closed_before`` is the offset at which an episode of it ended last.
    """

    open_before: frozenset[CheckName]
    findings: Sequence[Finding]
    closed_before: int = -1

    def was_open(self, since: int, offset: int) -> bool:
        """Whether an episode was open after the record at ``since``, or once that at ``offset``."""
        tracks, closed = set(self.open_before), self.closed_before
        for track, decision in self.findings:
            if decision.offset > offset:
                continue
            if decision.phase in ENDED_PHASES:
                tracks.discard(track)
                closed = max(closed, decision.offset)
            else:
                tracks.add(track)
        return bool(tracks) or closed > since


class SegmentChecks:
    """The series of one segment."""

    def __init__(
        self,
        reference: SegmentReference,
        arl0_events: float,
        policy: EpisodePolicy,
        weights: Mapping[str, float],
    ) -> None:
        self.reference = reference
        self._whole_of = {
            segment_key(reference.name, name): feature_key(name)
            for name in sorted(reference.features)
        }
        self.series: dict[str, MonitoredSignal] = {
            segment_key(reference.name, name): MonitoredSignal(
                reference.features[name],
                "data",
                arl0_events,
                policy,
                importance=weights.get(name, 1.0),
                kind=RepeatingEpisodeTracker,
            )
            for name in sorted(reference.features)
        }
        if reference.prediction is not None:
            key = segment_key(reference.name, None)
            self.series[key] = MonitoredSignal(
                reference.prediction,
                "prediction",
                arl0_events,
                policy,
                kind=RepeatingEpisodeTracker,
            )
            self._whole_of[key] = PREDICTION
        self._event_offsets = OffsetIndex()
        self._suppressed: set[tuple[str, str]] = set()

    def observe(
        self,
        batch: EventBatch,
        rows: Ints,
        profile: ReferenceProfile,
        whole: Mapping[str, WholeVersionState],
    ) -> Iterator[tuple[str, list[Finding]]]:
        """Take the events at ``rows`` of a batch; gives each series with what is to be told."""
        offsets, times_ms = batch.offsets[rows], batch.times_ms[rows]
        self._event_offsets.observe(offsets, times_ms)
        places = rows.tolist()
        for key, series in self.series.items():
            name = self._whole_of[key]
            if name == PREDICTION:
                findings = self._observe_predictions(series, batch, rows, profile)
            else:
                column = batch.features.column(series.reference.name)
                values = series.transform.apply([column[i] for i in places])
                findings = series.observe(values, offsets, times_ms, self._event_offsets.at)
            yield key, list(self._reportable(key, findings, whole[name]))

    def _observe_predictions(
        self, series: MonitoredSignal, batch: EventBatch, rows: Ints, profile: ReferenceProfile
    ) -> list[Finding]:
        """Take the predictions at ``rows``; an event without one has none to take."""
        places = [i for i, row in enumerate(rows) if batch.predictions[row] is not UNSET]
        predicted = rows[places]
        mine = [cast("Prediction", batch.predictions[i]) for i in predicted.tolist()]
        values = series.transform.apply(scores_of(mine, profile.task, profile.positive))
        return series.observe(
            values,
            batch.offsets[predicted],
            batch.times_ms[predicted],
            lambda position, back: self._event_offsets.at(places[position], back),
        )

    def _reportable(
        self, key: str, findings: Iterable[Finding], whole: WholeVersionState
    ) -> Iterator[Finding]:
        for finding in findings:
            track, decision = finding
            mine = key, track
            suppressed = mine in self._suppressed
            # Tells it already, or did while these events were counted.
            hidden = whole.was_open(decision.since, decision.offset)
            started = decision.phase == "started" and not decision.again
            if decision.phase in ENDED_PHASES:
                self._suppressed.discard(mine)
                if not suppressed:
                    yield finding
            elif hidden and (suppressed or started):
                self._suppressed.add(mine)
            elif suppressed and decision.clear is None:
                self._suppressed.discard(mine)
                yield Finding(track, decision._replace(phase="started"))
            elif not suppressed and not decision.again:
                yield finding

    def supersede(self, offset: int, time_ms: int) -> Iterator[tuple[str, list[Finding]]]:
        """The version was replaced: what is open ends; what was withheld ends in silence."""
        nothing = WholeVersionState(frozenset(), ())
        for key, series in self.series.items():
            ended = list(self._reportable(key, series.supersede(offset, time_ms), nothing))
            yield key, ended

    def resolve(
        self, whole_key: str, track: CheckName, offset: int, time_ms: int
    ) -> Iterator[tuple[str, list[Finding]]]:
        """A person ended an episode of the whole: that of its part here is over, too."""
        nothing = WholeVersionState(frozenset(), ())
        for key, series in self.series.items():
            if self._whole_of[key] == whole_key:
                finding = series.resolve(track, offset, time_ms)
                ended = [] if finding is None else [finding]
                yield key, list(self._reportable(key, ended, nothing))

    def snapshot(self) -> list[Any]:
        """What changes beside the series."""
        return [self._event_offsets.snapshot(), sorted(map(list, self._suppressed))]

    def restore(self, data: Sequence[Any]) -> None:
        """Continue from `snapshot`."""
        trail, suppressed, *_ = data  # more was stored before windows said when they began
        self._event_offsets.restore(trail)
        self._suppressed = {(key, track) for key, track in suppressed}


def segment_key(segment: str, feature: str | None) -> str:
    """The series of a feature, or of the prediction, in a segment; no other series is called so.

    A value that ends in ``/feature`` would make the prediction look like a feature of that name:
    it gets a sign more.

    >>> segment_key("origin=EWR", "temp"), segment_key("origin=EWR", None)
    ('segment/origin=EWR/feature/temp', 'segment/origin=EWR/prediction')
    >>> segment_key("a=x/feature", None), segment_key("a=x", "prediction")
    ('segment/a=x/feature%/prediction', 'segment/a=x/feature/prediction')
    """
    text = f"{segment}%" if segment.rstrip("%").endswith("/feature") else segment
    rest = PREDICTION if feature is None else f"feature/{escape_separators(feature, '/')}"
    return f"segment/{text}/{rest}"


def rows_of(segments: Iterable[SegmentReference], batch: EventBatch) -> dict[str, Ints]:
    """Where the events of each segment stand in a batch, by its name; (n_segment,)."""
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
    """What each event says of itself; a feature where it says nothing."""
    predicted, feature = batch.segments.column(attribute), batch.features.column(attribute)
    return [f if s is None else s for s, f in zip(predicted, feature, strict=True)]
