"""The lifecycle of a statistical episode: suspected, started, ongoing, recovered.

A detection is only a suspicion: its events were chosen because they deviate.  It is confirmed on
events that came after it, by their distance from the reference, unless newly invalid values explain
the distance.  An episode ends when there is evidence that the series matches its reference again
(`recovery`), or when the remaining change is too small to count.  Then fresh events are tested once
more, as after a detection: they may come from a third population.

::

              detection              confirmed on fresh events
  "quiet" ----------------> suspected -------------------------> open --+
      ^                        |                                  |  ^  | severity rises:
      |  last test, no change  |                                  |  |  | "ongoing"
      +------------------------+                                  |  +--+
      |   evidence, or 3 windows without effect: "recovered"      |
      +-----------------------------------------------------------+
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from stream_monitor.contracts import SEVERITY_RANK, Direction, Phase, Severity
from stream_monitor.episodes.bin_counts import BinCounts, floats, mean_cell
from stream_monitor.episodes.missing_values import (
    InvalidCounts,
    InvalidEvents,
    MissingValueAdjustment,
)
from stream_monitor.episodes.phase_decision import PhaseDecision, Suspicion
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.episodes.recovery import RecoveryProgress, RecoveryState, RecoveryTest
from stream_monitor.ingest.batch import Ints
from stream_monitor.reference.season import BinCalendar
from stream_monitor.statistics.distance import psi_adjusted
from stream_monitor.statistics.fixed_point import Floats

UnpromptedTest: TypeAlias = Literal["recovered", "fall"]
"""Why events are tested without a detection: after a recovery; for a lower loss."""
_REMEMBERED: Final = 8  # windows that describe the drift of an episode


class EpisodeState(msgspec.Struct, array_like=True):
    """The state of a tracker, from a suspicion to the end of its episode.

    ``counts`` are the fresh events since the suspicion, or of the present step of an open episode;
    ``window`` those of its present window, after the offset ``since``.  ``dismissed`` counts the
    dismissed suspicions.
    """

    counts: BinCounts
    window: BinCounts
    recovery: RecoveryState
    invalid: InvalidCounts
    dismissed: int = 0
    stage: Literal["quiet", "suspected", "open"] = "quiet"
    suspicion: Suspicion | None = None
    test_number: int = 0
    windows_without_effect: int = 0
    extra_windows: int = 0
    max_severity: Severity = "low"
    unprompted_test: UnpromptedTest | None = None
    progress_reported: bool = False
    increased: bool = False
    since: int = -1


TrackerState: TypeAlias = int | EpisodeState
"""The state as stored; without a suspicion only the number of dismissed ones."""


class EpisodeTracker:
    """The episodes of one series and check, from distance-bin codes in offset order."""

    def __init__(
        self,
        reference_bins: Sequence[int],
        tau: float,
        policy: EpisodePolicy,
        calendar: BinCalendar | None = None,
        freedom: int | None = None,
        validity: tuple[int, int] = (1, 0),  # valid and invalid events of the reference
        decrease_arl0: float | None = None,
    ) -> None:
        """Start without a suspicion.

        With ``decrease_arl0`` events are also tested without a detection, for a decrease of the
        values.  It is the mean number of events between two decreases that chance finds.  It is
        meant for a loss, whose reference is out of date once the loss is lower for good.
        """
        self._reference = list(reference_bins)
        self._calendar = calendar
        self._tau = tau
        self._policy = policy
        self._invalid = MissingValueAdjustment(validity, policy, calendar)
        n_bins = len(self._reference) if freedom is None else freedom + 1
        self.window_events = policy.window_events(n_bins, tau)
        self._n_tests = policy.n_interim_tests(self.window_events)
        self._decrease_significance: float | None = None
        if decrease_arl0 is not None:
            round_events = policy.first_test_events << self._n_tests
            self._decrease_significance = min(policy.significance, round_events / decrease_arl0)
        self._n_slots = 0 if calendar is None else calendar.n_slots
        self._recovery = RecoveryTest(self._no_counts(), tau, policy.step_events(tau))
        self._now = EpisodeState(
            self._no_counts(), self._no_counts(), self._recovery.state, self._invalid.state
        )

    def _no_counts(self) -> BinCounts:
        return BinCounts.empty(len(self._reference), self._n_slots)

    @property
    def state(self) -> Literal["quiet", "suspected", "open"]:
        """Whether a suspicion is tested, or an episode is open."""
        return self._now.stage

    @property
    def suspicion(self) -> Suspicion | None:
        """The suspicion that is tested, or that started the open episode."""
        return self._now.suspicion

    @property
    def dismissed(self) -> int:
        """The number of dismissed suspicions."""
        return self._now.dismissed

    def _reset(self) -> None:
        """Return to the start, without a suspicion."""
        before = self._now
        self._recovery.begin()
        self._now = EpisodeState(
            before.counts, before.window, self._recovery.state, before.invalid, before.dismissed
        )
        self._start_counting()

    def _start_counting(self) -> None:
        self._now.counts.clear()
        self._now.window.clear()
        self._invalid.clear()
        self._now.invalid = self._invalid.state

    def observe(
        self,
        codes: Ints,
        offsets: Ints,
        times_ms: Ints,
        values: Ints | None,
        suspicions: Sequence[Suspicion],
        losses: Ints | None = None,
        invalid: InvalidEvents | None = None,
    ) -> list[PhaseDecision]:
        """Apply ``codes`` (n,), the distance bins of consecutive events; returns the decisions.

        ``values`` are their fixed-point values (n,) or None, ``losses`` the expected losses.
        ``suspicions`` are in offset order; ``invalid`` are the events among these without a bin.
        """
        decisions: list[PhaseDecision] = []
        position = 0
        while True:
            if (
                self._now.stage == "quiet"
                and self._decrease_significance is not None
                and position < len(codes)
            ):
                self._test_for_decrease(int(offsets[position]), int(times_ms[position]))
            new = self._next(suspicions, position)
            if new is not None:
                self._suspect(new)
                position = new.seen
            elif self._now.stage == "quiet":
                return decisions
            target = self._target
            end = min(len(codes), position + target - self._now.counts.n)
            self._now.counts.count(
                codes[position:end],
                times_ms[position:end],
                None if values is None else values[position:end],
                None if losses is None else losses[position:end],
                self._calendar,
            )
            full = self._now.counts.n == target
            if invalid is not None and self._now.stage == "suspected":
                self._invalid.count(invalid, position, end if full else None)
            position = end
            if not full:
                return decisions
            at = int(offsets[end - 1]), int(times_ms[end - 1])
            decisions += (
                self._test(*at) if self._now.stage == "suspected" else self._observe_open(*at)
            )

    @property
    def needs_events(self) -> bool:
        """Whether the tracker needs events without a detection."""
        return self._now.stage != "quiet" or self._decrease_significance is not None

    @property
    def is_unprompted(self) -> bool:
        """Whether fresh events are tested without a detection."""
        return self._now.unprompted_test is not None

    @property
    def _target(self) -> int:
        """The number of events that the next decision needs."""
        if self._now.stage == "open":
            return self._recovery.step_events
        return self._policy.first_test_events << self._now.test_number

    def _next(self, suspicions: Sequence[Suspicion], position: int) -> Suspicion | None:
        """The first suspicion from ``position`` on that restarts the test before its decision."""
        if self._now.stage == "open" or not suspicions:
            return None
        is_suspected = self._now.stage == "suspected"
        for suspicion in suspicions:
            if suspicion.seen < position:
                continue
            n = self._now.counts.n + suspicion.seen - position
            if not is_suspected or (self._starts_new_suspicion(n) and n < self._target):
                return suspicion
        return None

    def _starts_new_suspicion(self, n: int) -> bool:
        """Whether a detection after ``n`` fresh events of a suspicion starts another one.

        A full window without a change would only hide a change that begins now.
        """
        return self.is_unprompted or n >= self.window_events

    def _suspect(self, suspicion: Suspicion) -> None:
        if self._now.stage == "suspected" and not self.is_unprompted:
            self._now.dismissed += 1
        self._reset()
        now = self._now
        now.stage, now.since = "suspected", suspicion.offset
        now.suspicion = suspicion._replace(seen=0)

    def _compared(self, counts: BinCounts) -> tuple[Floats, Floats]:
        """The counts by cell (k,), and the counts that the reference lets expect."""
        return floats(counts.counts), floats(self._expected(counts))

    def _distance(self, counts: BinCounts) -> tuple[float, float]:
        """Effect and p-value against the reference at the times of day that were counted."""
        return psi_adjusted(counts.counts.tolist(), self._expected(counts), self._tau)

    def _is_explained(self) -> bool:
        """Whether no change remains after the missing-value adjustment."""
        counts = self._now.counts
        least = self._invalid.least_distance(
            counts.counts.tolist(), lambda more: self._expected(counts, more), self._tau
        )
        return least is not None and not self._is_change(*least)

    def _is_change(self, effect: float, p_value: float) -> bool:
        # Tests without end must not add up to a certain false alarm: the sum of these is finite.
        n_interim_tests = self._n_tests * (1 + self._now.extra_windows) ** 2
        significance = self._policy.significance
        if self._now.unprompted_test == "fall" and self._decrease_significance is not None:
            significance = self._decrease_significance
        return p_value < significance / n_interim_tests and effect >= self._policy.min_effect

    def _expected(self, counts: BinCounts, more: Ints | int = 0) -> list[int]:
        calendar = self._calendar
        return self._reference if calendar is None else calendar.expected(counts.slots + more)

    def _decision(
        self,
        phase: Phase,
        effect: float,
        p_value: float,
        at: tuple[int, int],
        counts: BinCounts,
        progress: RecoveryProgress | None = None,
    ) -> PhaseDecision:
        if self._now.suspicion is None:
            raise RuntimeError("an episode without a suspicion cannot have a phase")
        return PhaseDecision(
            phase,
            self._now.suspicion,
            effect,
            p_value,
            counts.n,
            counts.total,
            tuple(counts.counts.tolist()),
            *at,
            severity=self._now.max_severity,
            expected_total=counts.expected_total,
            progress=progress,
            since=self._now.since,
            slots=tuple(counts.slots.tolist()),
        )

    def _test(self, offset: int, time_ms: int) -> list[PhaseDecision]:
        """One interim test of the fresh events of a suspicion."""
        effect, p_value = self._distance(self._now.counts)
        changed = self._is_change(effect, p_value)
        if changed and self._now.unprompted_test == "fall":
            changed = not self._is_higher(self._now.counts)
        explained = changed and self._is_explained()
        if changed and not explained:
            return [self._open(effect, p_value, (offset, time_ms))]
        if explained and self._now.counts.n >= self.window_events:
            self._now.extra_windows += 1  # what remains is tested without another detection
            self._now.since = offset
            self._start_counting()
            return []
        self._now.test_number += 1
        if self._now.test_number >= self._n_tests:
            self._now.dismissed += not self.is_unprompted
            self._reset()
        return []

    def _open(self, effect: float, p_value: float, at: tuple[int, int]) -> PhaseDecision:
        self._now.max_severity = self._policy.severity(effect)
        self._now.increased = self._is_higher(self._now.counts)
        if self._now.suspicion is not None and (
            self.is_unprompted or self._decrease_significance is not None
        ):
            better = self._is_better(self._now.counts)
            direction: Direction = "up" if self._now.increased else "better" if better else "down"
            self._now.suspicion = self._now.suspicion._replace(direction=direction)
        decision = self._decision("started", effect, p_value, at, self._now.counts)
        self._now.stage, self._now.windows_without_effect, self._now.unprompted_test = (
            "open",
            0,
            None,
        )
        self._recovery.begin()
        self._recovery.start_from(*self._compared(self._now.counts))
        self._now.since = at[0]
        self._start_counting()
        return decision

    def _is_higher(self, counts: BinCounts) -> bool:
        seen, expected = self._compared(counts)
        return mean_cell(seen) > mean_cell(expected)

    def _is_better(self, counts: BinCounts) -> bool:
        """Whether a loss is lower than that of the reference; false for other signals."""
        return self._decrease_significance is not None and not self._is_higher(counts)

    def _observe_open(self, offset: int, time_ms: int) -> list[PhaseDecision]:
        """A step of an open episode: decide whether it has ended, or is worse."""
        at = offset, time_ms
        recovery, step = self._recovery, self._now.counts
        self._now.window.add(step)
        if recovery.is_known and recovery.step(step, *self._compared(step)):
            effect, p_value = self._distance(recovery.clear)
            if self._is_change(
                effect, p_value
            ):  # not the drift of the episode, but not the reference either
                if (
                    self._decrease_significance is not None
                    and self._is_higher(recovery.clear) != self._now.increased
                ):
                    return self._reverse_direction(effect, p_value, at)
                recovery.start_from(*self._compared(recovery.clear))
            elif effect < self._policy.min_effect or p_value >= self._policy.significance:
                decision = self._decision("recovered", effect, p_value, at, recovery.clear)
                self._retest(*at)
                return [decision]
        step.clear()
        decisions = self._progress(at)
        if self._now.window.n >= self.window_events:
            decisions += self._close_window(at)
            self._now.window.clear()
            self._now.since = offset
        return decisions

    def _reverse_direction(
        self, effect: float, p_value: float, at: tuple[int, int]
    ) -> list[PhaseDecision]:
        """End an episode of a lower loss and start one of a higher loss, or the reverse."""
        clear = self._recovery.clear
        ended = self._decision("recovered", effect, p_value, at, clear)
        self._now.counts.clear()
        self._now.counts.add(clear)
        turned = self._now.counts
        self._now.counts = self._no_counts()
        self._retest(*at)
        self._now.counts = turned
        return [ended, self._open(effect, p_value, at)]

    def _progress(self, at: tuple[int, int]) -> list[PhaseDecision]:
        """Report once that half of the expected recovery events came."""
        progress = self.progress
        if (
            self._now.progress_reported
            or progress is None
            or 2 * progress.n_events < progress.n_needed
        ):
            return []
        self._now.progress_reported = True
        clear = self._recovery.clear
        return [self._decision("ongoing", *self._distance(clear), at, clear, progress)]

    def _close_window(self, at: tuple[int, int]) -> list[PhaseDecision]:
        """A full window of an open episode: decide whether it has ended, or is worse."""
        effect, p_value = self._distance(self._now.window)
        severity = self._policy.severity(effect)
        self._now.windows_without_effect = (
            self._now.windows_without_effect + 1 if effect < self._policy.min_effect / 2 else 0
        )
        if self._now.windows_without_effect >= self._policy.clear_windows:
            decision = self._decision("recovered", effect, p_value, at, self._now.window)
            self._retest(*at)
            return [decision]
        drifts = not self._recovery.evidence
        if drifts and self._is_change(effect, p_value):
            remembered = _REMEMBERED * self.window_events
            self._recovery.learn(*self._compared(self._now.window), remembered)
        no_longer = RecoveryProgress(0, 0) if drifts and self._now.progress_reported else None
        if drifts:
            self._now.progress_reported = False
        worse = SEVERITY_RANK[severity] > SEVERITY_RANK[self._now.max_severity]
        if not worse and no_longer is None:
            return []
        self._now.max_severity = severity if worse else self._now.max_severity
        clear = None if worse else no_longer
        return [self._decision("ongoing", effect, p_value, at, self._now.window, clear)]

    def _test_for_decrease(self, offset: int, time_ms: int) -> None:
        """Test events from this one on for a decrease, until a detection."""
        self._now.stage, self._now.unprompted_test, self._now.since = (
            "suspected",
            "fall",
            offset - 1,
        )
        self._now.suspicion = Suspicion(
            0, "rule", "location", "down", offset, time_ms, offset, time_ms
        )

    def _retest(self, offset: int, time_ms: int) -> None:
        """After a recovery, test the next events as after a detection.

        The detectors have adapted to the level of the episode and would not report a change that
        remains.
        """
        suspicion = self._now.suspicion
        if suspicion is None:
            raise RuntimeError("an episode without a suspicion cannot recover")
        self._reset()
        self._now.stage, self._now.unprompted_test, self._now.since = (
            "suspected",
            "recovered",
            offset,
        )
        self._now.suspicion = suspicion._replace(
            seen=0,
            detector="rule",
            offset=offset,
            time_ms=time_ms,
            onset_offset=offset,
            onset_ms=time_ms,
        )

    @property
    def progress(self) -> RecoveryProgress | None:
        """The recovery progress of an open episode; ``None`` without recovery events."""
        return self._recovery.progress if self._now.stage == "open" else None

    def end(self, phase: Phase, offset: int, time_ms: int) -> PhaseDecision | None:
        """End an open episode as resolved or superseded; a suspicion is dropped silently."""
        decision = None
        if self._now.stage == "open":
            self._now.window.add(self._now.counts)
            distance = self._distance(self._now.window)
            decision = self._decision(phase, *distance, (offset, time_ms), self._now.window)
        self._reset()
        return decision

    def drop_suspicion(self) -> None:
        """Drop a suspicion that another rule has explained."""
        if self._now.stage == "suspected":
            self._reset()

    def snapshot(self) -> TrackerState:
        """The state as it is stored."""
        return self._now.dismissed if self._now.stage == "quiet" else self._now

    def restore(self, state: TrackerState) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit this series."""
        if self._now.stage != "quiet":
            self._reset()
        if isinstance(state, int):
            self._now.dismissed = state
            return
        if state.suspicion is None or state.stage == "quiet":
            raise ValueError("a suspicion is missing")
        for counts in (state.counts, state.window):
            counts.check_fit(len(self._reference), self._n_slots)
        self._now = state
        self._invalid.restore(state.invalid)
        self._recovery.restore(state.recovery, len(self._compared(state.window)[0]))
        if state.counts.n >= self._target:
            raise ValueError("an episode has more events than its next decision takes")
