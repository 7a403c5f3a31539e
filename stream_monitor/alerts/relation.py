"""A watched relation: whether two features depend on each other as they did in the reference.

One channel, of the product of their scores, raises suspicions; fresh events confirm them by the
cells of both features, raked to the margins of these events.  Only events that have both values
count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stream_monitor.alerts.again import RepeatingTrack
from stream_monitor.alerts.breaks import Onset
from stream_monitor.alerts.episode import Suspicion, Verdict, floats
from stream_monitor.alerts.policy import EpisodePolicy
from stream_monitor.alerts.tally import Tally
from stream_monitor.contracts import Phase
from stream_monitor.drift.channel import Channel
from stream_monitor.ingest.batch import Ints
from stream_monitor.reference.feature import FeatureReference
from stream_monitor.reference.fixed_point import Floats
from stream_monitor.reference.relation import Joint, RelationReference, joined
from stream_monitor.reference.transform import Transformed
from stream_monitor.windows.cells import dependence_distance, freedom_of, raked


class RelationTrack(RepeatingTrack):
    """The episodes of one relation."""

    def __init__(self, relation: RelationReference, policy: EpisodePolicy) -> None:
        self._n_columns = len(relation.second_starts)
        cells = relation.cells
        freedom = freedom_of(len(cells), self._n_columns)
        super().__init__(cells, relation.tau, policy, relation.calendar, freedom)

    def _compared(self, tally: Tally) -> tuple[Floats, Floats]:
        return floats(tally.counts), raked(tally.counts, self._expected(tally), self._n_columns)

    def _distance(self, tally: Tally) -> tuple[float, float]:
        return dependence_distance(
            tally.counts.tolist(), self._expected(tally), self._n_columns, self._tau
        )


class RelationSeries:
    """Detectors and episodes of one relation; ``told`` is how an episode began that was told."""

    def __init__(
        self,
        relation: RelationReference,
        first: FeatureReference,
        second: FeatureReference,
        arl0_events: float,
        policy: EpisodePolicy,
    ) -> None:
        self.relation = relation
        self.told: Suspicion | None = None
        self.closed = -1  # offset at which what was told of it ended last
        self._arl0 = arl0_events
        self._joint = Joint(first, second, relation.first_starts, relation.second_starts)
        self.channel = Channel(relation.channel, arl0_events)
        self.track = RelationTrack(relation, policy)

    def observe(
        self,
        first: Transformed,
        second: Transformed,
        offsets: Ints,
        times_ms: Ints,
        onset: Onset,
    ) -> list[Verdict]:
        """Take n consecutive events: both features' values, and where and when they are (n,)."""
        both, one, other = joined(first, second)
        positions = None if both is None else np.flatnonzero(both)
        where, when = (offsets, times_ms) if both is None else (offsets[both], times_ms[both])
        values = products = self._joint.products(one, other)
        season = self.relation.channel.season
        if season is not None:
            values = season.residuals(products, when)
        suspicions = [
            Suspicion(
                signal.position + 1,
                signal.detector,
                signal.channel,
                signal.direction,
                int(where[signal.position]),
                int(when[signal.position]),
                *onset(
                    signal.position if positions is None else int(positions[signal.position]),
                    signal.onset_events,
                ),
            )
            for signal in self.channel.observe(values)
        ]
        if self.track.state == "quiet" and not suspicions:
            return []
        cells = self._joint.cells(one, other)
        return self.track.observe(cells, where, when, products, suspicions)

    def end(self, phase: Phase, offset: int, time_ms: int) -> Verdict | None:
        """End from outside what is open; ``None`` where nobody was told of it.

        Resolved by a person, or superseded, the detectors begin anew on the reference.
        """
        drifts = self.track.state != "quiet"
        verdict = self.track.end(phase, offset, time_ms)
        told = self.told is not None
        self.hush(offset)
        if phase == "resolved" or drifts:
            self.channel = Channel(self.relation.channel, self._arl0)
        return verdict if told else None

    def hush(self, offset: int) -> None:
        """What was told of it is over at ``offset``, whatever becomes of the episode itself."""
        if self.told is not None:
            self.told, self.closed = None, offset

    def over(self, told: Suspicion, offset: int, time_ms: int) -> Verdict:
        """What was told ends, and nothing was counted for that."""
        bins = (0,) * len(self.relation.cells)
        return Verdict("superseded", told, 0.0, 1.0, 0, 0, bins, offset, time_ms)

    def level(self) -> int:
        """0: nothing; 1: suspected, or withheld; 2: an episode is open."""
        if self.told is not None:
            return 2
        return int(self.track.state != "quiet" and not self.track.is_checked)

    def snapshot(self) -> list[Any]:
        """All that changes, as plain data."""
        told = None if self.told is None else list(self.told._replace(seen=0))
        return [self.channel.snapshot(), self.track.snapshot(), told, self.closed]

    def restore(self, data: Sequence[Any]) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit."""
        channel, track, told, *closed = data  # stored before ends were noted
        self.channel = Channel.restore(self.relation.channel, self._arl0, channel)
        self.track.restore(track)
        if told and self.track.state != "open":
            raise ValueError(f"{self.relation.name}: an episode was told of that is not open")
        if told is True:  # stored before it was kept
            told = self.track.suspicion
        self.told = Suspicion(*told) if told else None
        self.closed = closed[0] if closed else -1
