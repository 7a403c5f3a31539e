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
from producer.names import separated
from stream_monitor.alerts.again import RepeatingTrack
from stream_monitor.alerts.policy import EpisodePolicy
from stream_monitor.alerts.series import Decision, Series, TrackName
from stream_monitor.contracts import ENDED
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.reference.loss import scores_of
from stream_monitor.reference.profile import ReferenceProfile, SegmentReference
from stream_monitor.reference.segment import segment_name
from stream_monitor.reference.values import codes
from stream_monitor.watched.series import feature_key
from stream_monitor.watched.trail import Trail

PREDICTION: Final = "prediction"


class Whole(NamedTuple):
    """What is known of a series of the whole version around a batch: before it, and in it.

    ``closed_before`` is the offset at which an episode of it ended last.
    """

    open_before: frozenset[TrackName]
    decisions: Sequence[Decision]
    closed_before: int = -1

    def was_open(self, since: int, offset: int) -> bool:
        """Whether an episode was open after the record at ``since``, or once that at ``offset``."""
        tracks, closed = set(self.open_before), self.closed_before
        for track, verdict in self.decisions:
            if verdict.offset > offset:
                continue
            if verdict.phase in ENDED:
                tracks.discard(track)
                closed = max(closed, verdict.offset)
            else:
                tracks.add(track)
        return bool(tracks) or closed > since


class WatchedSegment:
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
        self.series: dict[str, Series] = {
            segment_key(reference.name, name): Series(
                reference.features[name],
                "data",
                arl0_events,
                policy,
                importance=weights.get(name, 1.0),
                kind=RepeatingTrack,
            )
            for name in sorted(reference.features)
        }
        if reference.prediction is not None:
            key = segment_key(reference.name, None)
            self.series[key] = Series(
                reference.prediction, "prediction", arl0_events, policy, kind=RepeatingTrack
            )
            self._whole_of[key] = PREDICTION
        self._trail = Trail()
        self._withheld: set[tuple[str, str]] = set()

    def observe(
        self,
        batch: EventBatch,
        rows: Ints,
        profile: ReferenceProfile,
        whole: Mapping[str, Whole],
    ) -> Iterator[tuple[str, list[Decision]]]:
        """Take the events at ``rows`` of a batch; gives each series with what is to be told."""
        offsets, times_ms = batch.offsets[rows], batch.times_ms[rows]
        self._trail.observe(offsets, times_ms)
        places = rows.tolist()
        for key, series in self.series.items():
            name = self._whole_of[key]
            if name == PREDICTION:
                decisions = self._observe_predictions(series, batch, rows, profile)
            else:
                column = batch.features.column(series.reference.name)
                values = series.transform.apply([column[i] for i in places])
                decisions = series.observe(values, offsets, times_ms, self._trail.at)
            yield key, list(self._told(key, decisions, whole[name]))

    def _observe_predictions(
        self, series: Series, batch: EventBatch, rows: Ints, profile: ReferenceProfile
    ) -> list[Decision]:
        """Take the predictions at ``rows``; an event without one has none to take."""
        places = [i for i, row in enumerate(rows) if batch.predictions[row] is not UNSET]
        said = rows[places]
        mine = [cast("Prediction", batch.predictions[i]) for i in said.tolist()]
        values = series.transform.apply(scores_of(mine, profile.task, profile.positive))
        return series.observe(
            values, batch.offsets[said], batch.times_ms[said],
            lambda position, back: self._trail.at(places[position], back),
        )  # fmt: skip

    def _told(self, key: str, decisions: Iterable[Decision], whole: Whole) -> Iterator[Decision]:
        for decision in decisions:
            track, verdict = decision
            mine = key, track
            withheld = mine in self._withheld
            # Tells it already, or did while these events were counted.
            hidden = whole.was_open(verdict.since, verdict.offset)
            started = verdict.phase == "started" and not verdict.again
            if verdict.phase in ENDED:
                self._withheld.discard(mine)
                if not withheld:
                    yield decision
            elif hidden and (withheld or started):
                self._withheld.add(mine)
            elif withheld and verdict.clear is None:
                self._withheld.discard(mine)
                yield Decision(track, verdict._replace(phase="started"))
            elif not withheld and not verdict.again:
                yield decision

    def supersede(self, offset: int, time_ms: int) -> Iterator[tuple[str, list[Decision]]]:
        """The version was replaced: what is open ends; what was withheld ends in silence."""
        nothing = Whole(frozenset(), ())
        for key, series in self.series.items():
            ended = list(self._told(key, series.supersede(offset, time_ms), nothing))
            yield key, ended

    def resolve(
        self, whole_key: str, track: TrackName, offset: int, time_ms: int
    ) -> Iterator[tuple[str, list[Decision]]]:
        """A person ended an episode of the whole: that of its part here is over, too."""
        nothing = Whole(frozenset(), ())
        for key, series in self.series.items():
            if self._whole_of[key] == whole_key:
                decision = series.resolve(track, offset, time_ms)
                ended = [] if decision is None else [decision]
                yield key, list(self._told(key, ended, nothing))

    def snapshot(self) -> list[Any]:
        """What changes beside the series."""
        return [self._trail.snapshot(), sorted(map(list, self._withheld))]

    def restore(self, data: Sequence[Any]) -> None:
        """Continue from `snapshot`."""
        trail, withheld, *_ = data  # more was stored before windows said when they began
        self._trail.restore(trail)
        self._withheld = {(key, track) for key, track in withheld}


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
    rest = PREDICTION if feature is None else f"feature/{separated(feature, '/')}"
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
    said, feature = batch.segments.column(attribute), batch.features.column(attribute)
    return [f if s is None else s for s, f in zip(said, feature, strict=True)]
