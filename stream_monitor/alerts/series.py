"""One watched series: its detectors, and the episodes their signals may open.

A feature has up to five tracks: ``data`` (location, spread and shape of its valid values),
``validity`` (missing, invalid, unseen) and, where it is numeric, ``unit``, ``constant`` and
``range`` (odd values: outside all that was seen, or one that repeats).  While a feature is sent in
a wrong unit, or is stuck, its values say nothing of the population, so the data track does not see
them; nor does it see odd ones while they come.  Where values became invalid, it tells only of what
those cannot explain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from stream_monitor.alerts.breaks import Breaks, Onset, name_of
from stream_monitor.alerts.episode import Suspicion, Track, Verdict
from stream_monitor.alerts.given_back import InvalidEvents
from stream_monitor.alerts.outcome import track_for
from stream_monitor.alerts.policy import EpisodePolicy
from stream_monitor.alerts.recovery import Clear
from stream_monitor.contracts import ENDED, Phase
from stream_monitor.drift.series import SeriesDetectors
from stream_monitor.drift.signal import Signal
from stream_monitor.ingest.batch import Bools, Ints
from stream_monitor.reference.bounds import ValueBounds
from stream_monitor.reference.expected_loss import LossTable
from stream_monitor.reference.profile import FeatureReference
from stream_monitor.reference.transform import Transform, Transformed

TrackName = Literal["data", "validity", "unit", "constant", "range", "concept", "prediction"]

_INVALID_RUN: Final = 50
_INVALID_PREDICTIONS: Final = 10  # a model that answers nonsense should not do so for long
_FALLS: Final = 10
"""Times as many events as between two false alarms of a detector: a fall of the loss that no
detector finds costs a tenth of what one of them may spend."""


class Decision(NamedTuple):
    """A verdict of one of the tracks of a series."""

    track: TrackName
    verdict: Verdict


class Events(NamedTuple):
    """Consecutive valid events (n,), as a track takes them."""

    codes: Ints
    offsets: Ints
    times_ms: Ints
    values: Ints | None
    losses: Ints | None
    invalid: InvalidEvents | None
    suspicions: Sequence[Suspicion]

    def only(self, kept: Bools) -> Events:
        """Those of them that are kept (n,)."""
        seen = np.concatenate(([0], np.cumsum(kept)))
        return Events(
            self.codes[kept],
            self.offsets[kept],
            self.times_ms[kept],
            None if self.values is None else self.values[kept],
            None if self.losses is None else self.losses[kept],
            None if self.invalid is None else self.invalid.beside(kept),
            [s._replace(seen=int(seen[s.seen])) for s in self.suspicions],
        )


class Series:
    """Detectors and episodes of one feature, of the prediction, or of the loss.

    ``expected`` says of a prediction what loss it lets expect.  ``importance``, of 1, weighs how
    bad drift is; broken data is as bad in any feature, for nobody knows who learns from it next.
    ``kind`` are its tracks.  With ``bounds`` the range of its values is watched.
    """

    def __init__(
        self,
        reference: FeatureReference,
        main_track: Literal["data", "prediction", "concept"],
        arl0_events: float,
        policy: EpisodePolicy,
        expected: LossTable | None = None,
        *,
        importance: float = 1.0,
        kind: type[Track] = Track,
        bounds: ValueBounds | None = None,
    ) -> None:
        self.reference = reference
        self.expected = expected
        self.transform = Transform(reference)
        self.main_track = main_track
        self.detectors = SeriesDetectors(reference, self.transform, arl0_events)
        self.importance = importance
        fall_arl0 = _FALLS * arl0_events if main_track == "concept" else None
        self.main = track_for(reference, policy.weighed(importance), kind, fall_arl0)
        n_invalid = reference.n_invalid
        self.validity = kind([reference.n_events - n_invalid, n_invalid], 1.0, policy)
        self.breaks = Breaks(
            reference, self.transform, arl0_events, bounds, watched=main_track == "data"
        )
        self.closed = -1  # offset at which one of its episodes ended last
        self._invalid_run = 0
        self._invalid_limit = _INVALID_PREDICTIONS if main_track == "prediction" else _INVALID_RUN
        self._usually_valid = n_invalid < reference.n_events / 2

    def observe(
        self, values: Transformed, offsets: Ints, times_ms: Ints, onset: Onset
    ) -> list[Decision]:
        """Take n consecutive events; ``offsets`` and ``times_ms`` have shape (n,)."""
        signals = self.detectors.observe(values, times_ms)
        valid = values.valid
        all_valid = bool(valid.all())
        positions = None if all_valid else np.flatnonzero(valid)
        decisions = self._observe_validity(values, all_valid, signals, offsets, times_ms, onset)

        suspicions = [
            self._suspicion(
                signal,
                signal.position + 1
                if positions is None
                else int(np.searchsorted(positions, signal.position, "right")),
                offsets,
                times_ms,
                onset,
            )
            for signal in signals
            if signal.channel != "validity"
        ]
        where = offsets if positions is None else offsets[positions]
        when = times_ms if positions is None else times_ms[positions]
        broken = self.breaks.open
        changes = self.breaks.observe(values)
        needed = bool(suspicions) or self.main.is_busy
        codes = self.transform.bin[values.index] if needed else None
        losses = self.expected.losses[values.index] if needed and self.expected else None
        invalid = (
            InvalidEvents.among(valid, positions, times_ms)
            if needed and positions is not None
            else None
        )
        start = 0
        for change in (*changes, None):
            end = len(where) if change is None else change.seen
            if broken <= {"range"} and codes is not None and (start < end or change is None):
                keep = slice(start, end)
                part = Events(
                    codes[keep], where[keep], when[keep],
                    None if values.scaled is None else values.scaled[keep],
                    None if losses is None else losses[keep],
                    None if invalid is None else invalid.part(start, end),
                    [s._replace(seen=s.seen - start) for s in suspicions if start < s.seen <= end],
                )  # fmt: skip
                if broken and self.breaks.odd is not None:
                    part = part.only(~self.breaks.odd.latest[keep])
                verdicts = self.main.observe(
                    part.codes, part.offsets, part.times_ms, part.values, part.suspicions,
                    part.losses, part.invalid,
                )  # fmt: skip
                decisions += [Decision(self.main_track, verdict) for verdict in verdicts]
            drifts = self.main.state == "open"
            if change is not None and not self.breaks.withholds(change, drifts=drifts):
                name = name_of(change)
                verdict = self.breaks.verdict(change, positions, offsets, times_ms, onset)
                decisions.append(Decision(name, verdict))
                (broken.add if change.broken else broken.discard)(name)
                if change.broken and name != "range":
                    self.main.drop_suspicion()
            start = end
        self._note_ends(decisions)
        return decisions

    def _note_ends(self, decisions: Iterable[Decision]) -> None:
        ends = [d.verdict.offset for d in decisions if d.verdict.phase in ENDED]
        self.closed = max([self.closed, *ends])

    def _suspicion(
        self, signal: Signal, seen: int, offsets: Ints, times_ms: Ints, onset: Onset
    ) -> Suspicion:
        return Suspicion(
            seen,
            signal.detector,
            signal.channel,
            signal.direction,
            int(offsets[signal.position]),
            int(times_ms[signal.position]),
            *onset(signal.position, signal.onset_events),
        )

    def _observe_validity(
        self,
        values: Transformed,
        all_valid: bool,  # noqa: FBT001
        signals: Sequence[Signal],
        offsets: Ints,
        times_ms: Ints,
        onset: Onset,
    ) -> list[Decision]:
        suspicions = [
            self._suspicion(signal, signal.position + 1, offsets, times_ms, onset)
            for signal in signals
            if signal.channel == "validity"
        ]
        if all_valid and len(values.valid):
            self._invalid_run = 0
        elif self._usually_valid:
            suspicions += [
                Suspicion(
                    i + 1, "rule", "validity", "up", int(offsets[i]), int(times_ms[i]),
                    *onset(i, self._invalid_limit - 1),
                )
                for i in self._outages(values)
            ]  # fmt: skip
            suspicions.sort(key=lambda suspicion: suspicion.seen)
        if self.validity.state == "quiet" and not suspicions:
            return []
        codes = (~values.valid).astype(np.int64)
        verdicts = self.validity.observe(codes, offsets, times_ms, None, suspicions)
        return [Decision("validity", verdict) for verdict in verdicts]

    def _outages(self, values: Transformed) -> list[int]:
        """Where runs of invalid values reached the limit: what follows tells whether it lasts."""
        good = np.flatnonzero(values.valid)
        edges = np.concatenate(([-1 - self._invalid_run], good, [len(values.valid)]))
        runs = np.diff(edges) - 1
        self._invalid_run = int(runs[-1])
        reached = edges[:-1][runs >= self._invalid_limit] + self._invalid_limit
        return [int(i) for i in reached if i >= 0]  # a negative one was reported when it got there

    def supersede(self, offset: int, time_ms: int) -> list[Decision]:
        """The version is idle, or its reference goes: close what is open, or suspected.

        Its detectors begin anew on the reference then: they know the change already, and would
        never signal it again when the version comes back with it.
        """
        drifts = self.level() > 0
        names: tuple[TrackName, ...] = (self.main_track, "validity", "unit", "constant", "range")
        ended = [self._end(name, "superseded", offset, time_ms) for name in names]
        if drifts:
            self._begin_anew()
        return [decision for decision in ended if decision is not None]

    def resolve(self, name: TrackName, offset: int, time_ms: int) -> Decision | None:
        """A person ends the episode of one track; ``None`` where none is open.

        The detectors begin anew on the reference, as if the series had just been given it: if it
        still drifts, they signal again, and a new episode tells so.  A broken unit is taken for
        mended; if it is not, the values lie far off the reference, which is an episode of data.
        """
        decision = self._end(name, "resolved", offset, time_ms)
        if decision is not None:
            self._begin_anew()
        return decision

    def _begin_anew(self) -> None:
        arl0_events = self.detectors.arl0_events
        self.detectors = SeriesDetectors(self.reference, self.transform, arl0_events)
        self._invalid_run = 0

    def _end(self, name: TrackName, phase: Phase, offset: int, time_ms: int) -> Decision | None:
        if name in ("unit", "constant", "range"):
            verdict = self.breaks.end(name, phase, offset, time_ms)
        else:
            track = self.validity if name == "validity" else self.main
            verdict = track.end(phase, offset, time_ms)
        if verdict is None:
            return None
        decision = Decision(name, verdict)
        self._note_ends([decision])
        return decision

    def open_tracks(self) -> frozenset[TrackName]:
        """The tracks that have an open episode."""
        names: list[TrackName] = []
        if self.main.state == "open":
            names.append(self.main_track)
        if self.validity.state == "open":
            names.append("validity")
        return frozenset(names) | self.breaks.open

    def progress(self, name: TrackName) -> Clear | None:
        """How far the open episode of a track is on its way to its end, where that is known."""
        if name == "validity":
            return self.validity.progress
        return self.main.progress if name == self.main_track else None

    def level(self) -> int:
        """0: nothing; 1: suspected; 2: an episode is open."""
        suspected = any(
            track.state == "suspected" and not track.is_checked
            for track in (self.main, self.validity)
        )
        return 2 if self.open_tracks() else int(suspected)

    def snapshot(self) -> list[Any]:
        """All that changes, as plain data."""
        units, unit, constant, stuck, *odd = self.breaks.snapshot()
        return [
            self.detectors.snapshot(),
            self.main.snapshot(),
            self.validity.snapshot(),
            units,
            unit,
            self._invalid_run,
            constant,
            stuck,
            self.closed,
            *odd,
        ]

    def restore(self, data: Sequence[Any]) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit."""
        detectors, main, validity, units, unit, invalid_run, *more = data
        # Stored before a constant was watched, before ends were noted, before ranges were.
        of_before: tuple[Any, ...] = (None, None, -1, None, None, False)
        constant, stuck, self.closed, *odd = [*more, *of_before[len(more) :]]
        self.detectors = SeriesDetectors.restore(
            self.reference, self.transform, self.detectors.arl0_events, detectors
        )
        self.main.restore(main)
        self.validity.restore(validity)
        self.breaks.restore((units, unit, constant, stuck, *odd))
        self._invalid_run = int(invalid_run)
