"""One monitored signal: its detectors, and the checks that their detections start.

A feature has up to five checks: ``data`` (location, spread and shape of its valid values),
``validity`` (missing, invalid, unknown category) and, where it is numeric, ``unit``, ``constant``
and ``range`` (values out of range, or one that repeats).  While a feature is sent in a wrong unit,
or is constant, its values are no evidence about the population, so the data check does not receive
them; nor does it receive values out of range.  Where values became invalid, it reports only what
these do not explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np

from stream_monitor.checks.data_quality import DataQualityRules, DataQualityState, rule_of
from stream_monitor.checks.version_events import Onset
from stream_monitor.contracts import Phase
from stream_monitor.detectors.channel import ChannelState
from stream_monitor.detectors.detection import Detection
from stream_monitor.detectors.signal_detectors import SignalDetectors
from stream_monitor.episodes.error_rate_tracker import tracker_for
from stream_monitor.episodes.lifecycle import EpisodeTracker, TrackerState
from stream_monitor.episodes.missing_values import InvalidEvents
from stream_monitor.episodes.phase_decision import PhaseDecision, Suspicion
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.episodes.recovery import RecoveryProgress
from stream_monitor.ingest.batch import Bools, Ints
from stream_monitor.reference.bounds import ValueBounds
from stream_monitor.reference.expected_loss import ExpectedLossTable
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.transform import Transform, Transformed

CheckName = Literal["data", "validity", "unit", "constant", "range", "concept", "prediction"]

_INVALID_RUN: Final = 50
_INVALID_PREDICTIONS: Final = 10  # a model must not return invalid predictions for long
_DECREASE_ARL0_FACTOR: Final = 10
"""The test for a decrease of the loss has a tenth of the false alarms of one detector."""


class SignalDecision(NamedTuple):
    """A phase that one check of a signal decided."""

    check: CheckName
    decision: PhaseDecision


class TrackerEvents(NamedTuple):
    """The input of an episode tracker: consecutive valid events (n,)."""

    codes: Ints
    offsets: Ints
    times_ms: Ints
    values: Ints | None
    losses: Ints | None
    invalid: InvalidEvents | None
    suspicions: Sequence[Suspicion]

    def only(self, kept: Bools) -> TrackerEvents:
        """Return the events that a mask (n,) selects."""
        seen = np.concatenate(([0], np.cumsum(kept)))
        return TrackerEvents(
            self.codes[kept],
            self.offsets[kept],
            self.times_ms[kept],
            None if self.values is None else self.values[kept],
            None if self.losses is None else self.losses[kept],
            None if self.invalid is None else self.invalid.restricted_to(kept),
            [s._replace(seen=int(seen[s.seen])) for s in self.suspicions],
        )


class SignalState(msgspec.Struct, array_like=True):
    """The state of a signal; ``invalid_run`` is the number of consecutive invalid values."""

    detectors: dict[str, ChannelState]
    main: TrackerState
    validity: TrackerState
    rules: DataQualityState
    invalid_run: int


class MonitoredSignal:
    """Detectors and episodes of one feature, of the prediction, or of the loss."""

    def __init__(
        self,
        reference: FeatureReference,
        main_check: Literal["data", "prediction", "concept"],
        arl0_events: float,
        policy: EpisodePolicy,
        expected: ExpectedLossTable | None = None,
        *,
        importance: float = 1.0,
        kind: type[EpisodeTracker] = EpisodeTracker,
        bounds: ValueBounds | None = None,
    ) -> None:
        """Start with the reference.

        ``expected`` is the loss to expect of each prediction.  ``importance``, up to 1, weighs the
        severity of drift; that of broken data is the same in any feature, because any model may be
        trained on it later.  ``kind`` is the class of the trackers.  With ``bounds`` the range of
        the values is watched.
        """
        self.reference = reference
        self.expected = expected
        self.transform = Transform(reference)
        self.main_check = main_check
        self.detectors = SignalDetectors(reference, self.transform, arl0_events)
        self.importance = importance
        decrease_arl0 = _DECREASE_ARL0_FACTOR * arl0_events if main_check == "concept" else None
        self.main = tracker_for(reference, policy.weighed(importance), kind, decrease_arl0)
        n_invalid = reference.n_invalid
        self.validity = kind([reference.n_events - n_invalid, n_invalid], 1.0, policy)
        self.rules = DataQualityRules(
            reference, self.transform, arl0_events, bounds, watched=main_check == "data"
        )
        self._invalid_run = 0
        self._invalid_limit = _INVALID_PREDICTIONS if main_check == "prediction" else _INVALID_RUN
        self._usually_valid = n_invalid < reference.n_events / 2

    def observe(
        self, values: Transformed, offsets: Ints, times_ms: Ints, onset: Onset
    ) -> list[SignalDecision]:
        """Apply n consecutive events; ``offsets`` and ``times_ms`` have shape (n,)."""
        signals = self.detectors.observe(values, times_ms)
        valid = values.valid
        all_valid = len(values.index) == len(valid)
        positions = None if all_valid else np.flatnonzero(valid)
        findings = self._observe_validity(values, all_valid, signals, offsets, times_ms, onset)

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
        broken = self.rules.open
        changes = self.rules.observe(values)
        needed = bool(suspicions) or self.main.needs_events
        if not needed and not changes:
            return findings
        codes = self.transform.bin[values.index].astype(np.int64) if needed else None
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
                part = TrackerEvents(
                    codes[keep],
                    where[keep],
                    when[keep],
                    None if values.scaled is None else values.scaled[keep],
                    None if losses is None else losses[keep],
                    None if invalid is None else invalid.part(start, end),
                    [s._replace(seen=s.seen - start) for s in suspicions if start < s.seen <= end],
                )
                if broken and self.rules.odd is not None:
                    part = part.only(~self.rules.odd.latest[keep])
                decisions = self.main.observe(
                    part.codes,
                    part.offsets,
                    part.times_ms,
                    part.values,
                    part.suspicions,
                    part.losses,
                    part.invalid,
                )
                findings += [SignalDecision(self.main_check, decision) for decision in decisions]
            drifts = self.main.state == "open"
            if change is not None and not self.rules.suppresses(change, drifts=drifts):
                name = rule_of(change)
                decision = self.rules.decision(change, positions, offsets, times_ms, onset)
                findings.append(SignalDecision(name, decision))
                (broken.add if change.broken else broken.discard)(name)
                if change.broken and name != "range":
                    self.main.drop_suspicion()
            start = end
        return findings

    def _suspicion(
        self, signal: Detection, seen: int, offsets: Ints, times_ms: Ints, onset: Onset
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
        signals: Sequence[Detection],
        offsets: Ints,
        times_ms: Ints,
        onset: Onset,
    ) -> list[SignalDecision]:
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
                    i + 1,
                    "rule",
                    "validity",
                    "up",
                    int(offsets[i]),
                    int(times_ms[i]),
                    *onset(i, self._invalid_limit - 1),
                )
                for i in self._outages(values)
            ]
            suspicions.sort(key=lambda suspicion: suspicion.seen)
        if self.validity.state == "quiet" and not suspicions:
            return []
        codes = (~values.valid).astype(np.int64)
        decisions = self.validity.observe(codes, offsets, times_ms, None, suspicions)
        return [SignalDecision("validity", decision) for decision in decisions]

    def _outages(self, values: Transformed) -> list[int]:
        """The rows where runs of invalid values reached the limit; fresh events confirm them."""
        good = np.flatnonzero(values.valid)
        edges = np.concatenate(([-1 - self._invalid_run], good, [len(values.valid)]))
        runs = np.diff(edges) - 1
        self._invalid_run = int(runs[-1])
        reached = edges[:-1][runs >= self._invalid_limit] + self._invalid_limit
        return [int(i) for i in reached if i >= 0]  # a negative one was reported by an earlier call

    def supersede(self, offset: int, time_ms: int) -> list[SignalDecision]:
        """End all episodes and suspicions: the version is idle, or its reference is replaced.

        The detectors then restart on the reference: they have adapted to the change, and would not
        report it when the version returns with it.
        """
        drifts = self.level() > 0
        names: tuple[CheckName, ...] = (self.main_check, "validity", "unit", "constant", "range")
        ended = [self._end(name, "superseded", offset, time_ms) for name in names]
        if drifts:
            self._restart_detectors()
        return [finding for finding in ended if finding is not None]

    def resolve(self, name: CheckName, offset: int, time_ms: int) -> SignalDecision | None:
        """End the episode of one check on a person's command; ``None`` where none is open.

        The detectors restart on the reference: if the series still drifts, they report it again in
        a new episode.  The unit counts as correct from then on; if it is not, the values are far
        from the reference, which is an episode of data.
        """
        finding = self._end(name, "resolved", offset, time_ms)
        if finding is not None:
            self._restart_detectors()
        return finding

    def _restart_detectors(self) -> None:
        arl0_events = self.detectors.arl0_events
        self.detectors = SignalDetectors(self.reference, self.transform, arl0_events)
        self._invalid_run = 0

    def _end(
        self, name: CheckName, phase: Phase, offset: int, time_ms: int
    ) -> SignalDecision | None:
        if name in ("unit", "constant", "range"):
            decision = self.rules.end(name, phase, offset, time_ms)
        else:
            track = self.validity if name == "validity" else self.main
            decision = track.end(phase, offset, time_ms)
        if decision is None:
            return None
        return SignalDecision(name, decision)

    def open_checks(self) -> frozenset[CheckName]:
        """The checks that have an open episode."""
        names: list[CheckName] = []
        if self.main.state == "open":
            names.append(self.main_check)
        if self.validity.state == "open":
            names.append("validity")
        return frozenset(names) | self.rules.open

    def progress(self, name: CheckName) -> RecoveryProgress | None:
        """The recovery progress of the open episode of a check, where it is known."""
        if name == "validity":
            return self.validity.progress
        return self.main.progress if name == self.main_check else None

    def level(self) -> int:
        """0: no change; 1: a suspicion; 2: an open episode."""
        suspected = any(
            track.state == "suspected" and not track.is_unprompted
            for track in (self.main, self.validity)
        )
        return 2 if self.open_checks() else int(suspected)

    def snapshot(self) -> SignalState:
        """The state of the detectors and of all checks."""
        return SignalState(
            self.detectors.snapshot(),
            self.main.snapshot(),
            self.validity.snapshot(),
            self.rules.snapshot(),
            self._invalid_run,
        )

    def restore(self, state: SignalState) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit."""
        self.detectors.restore(state.detectors)
        self.main.restore(state.main)
        self.validity.restore(state.validity)
        self.rules.restore(state.rules)
        self._invalid_run = state.invalid_run
