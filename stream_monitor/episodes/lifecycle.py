"""Episodes: signal -> suspected -> started -> ongoing -> recovered.

A detector's signal is only a suspicion: its data were chosen because they looked odd.  It is
confirmed on events that came after it, by their distance from the reference, where the values that
became invalid do not explain it.  An episode stays open until there is evidence that its series
is back (`recovery`), or until what is left is no change; then fresh events are tested once more, as
after a signal: what looked like the reference may be a third population.

::

               signal                confirmed on fresh events
    quiet ----------------> suspected -------------------------> open --+
      ^                        |                                  |  ^  | severity rises:
      |   last look, no effect |                                  |  |  | "ongoing"
      +------------------------+                                  |  +--+
      |   evidence, or 3 windows without effect: "recovered"      |
      +-----------------------------------------------------------+
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from stream_monitor.contracts import SEVERITY_RANK, DetectorName, Direction, Phase, Severity
from stream_monitor.episodes.bin_counts import BinCounts
from stream_monitor.episodes.missing_values import InvalidEvents, MissingValueAdjustment
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.episodes.recovery import RecoveryProgress, RecoveryTest
from stream_monitor.ingest.batch import Ints
from stream_monitor.reference.season import BinCalendar
from stream_monitor.statistics.distance import psi_adjusted
from stream_monitor.statistics.fixed_point import Floats

UnpromptedTest: TypeAlias = Literal["recovered", "fall"]
"""Why events are tested though no detector signalled: after a recovery; for a lower loss."""
_REMEMBERED: Final = 8  # windows: what drift looks like in an episode


class Suspicion(NamedTuple):
    """A signal as an episode sees it.

    ``seen`` is how many coded events of the batch lie at or before it: fresh events start there.
    """

    seen: int
    detector: DetectorName
    channel: str
    direction: Direction
    offset: int
    time_ms: int
    onset_offset: int
    onset_ms: int


class PhaseDecision(NamedTuple):
    """A phase of an episode, decided at ``offset`` from ``n_events`` fresh events.

    ``total`` is the sum of their fixed-point values (0 where they are no numbers), ``bins`` counts
    them by distance bin, and ``expected_total`` is the sum of the losses to expect of them.
    ``clear`` of an "ongoing" one says how far the episode is on its way to its end: 0 events where
    it was, and is no longer.  ``since`` is the offset after which the events were counted;
    ``slots`` are how many of them lie in each slot of the calendar, if the reference has one.
    """

    phase: Phase
    suspicion: Suspicion
    effect: float
    p_value: float
    n_events: int
    total: int
    bins: tuple[int, ...]
    offset: int
    time_ms: int
    cause: str | None = None
    severity: Severity | None = None
    expected_total: int = 0
    repeats: bool = False  # `RepeatingEpisodeTracker`
    progress: RecoveryProgress | None = None
    since: int = -1
    slots: tuple[int, ...] = ()


class EpisodeTracker:
    """The episodes of one series and kind, fed with distance-bin codes in log order."""

    def __init__(
        self,
        reference_bins: Sequence[int],
        tau: float,
        policy: EpisodePolicy,
        calendar: BinCalendar | None = None,
        freedom: int | None = None,
        validity: tuple[int, int] = (1, 0),  # events of the reference, valid and invalid
        decrease_arl0: float | None = None,
    ) -> None:
        """With ``decrease_arl0`` a fall of the values is looked for without a signal, too.

        It is how many events lie between two that chance finds, and a loss it is meant for: one
        that is lower than the reference for good is no longer described by it.
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
        self._tally = self._new_tally()  # since the suspicion, or of the present step
        self._window = self._new_tally()
        self._recovery = RecoveryTest(self._new_tally(), tau, policy.step_events(tau))
        self.dismissed = 0
        self._reset()

    def _new_tally(self) -> BinCounts:
        return BinCounts(len(self._reference), self._calendar)

    def _reset(self) -> None:
        self.state: Literal["quiet", "suspected", "open"] = "quiet"
        self.suspicion: Suspicion | None = None
        self._test_number = 0
        self._windows_without_effect = self._extra_windows = 0
        self._max_severity: Severity = "low"
        self._unprompted_test: UnpromptedTest | None = None
        self._progress_reported = self._increased = False
        self._since = -1  # the offset before the window
        self._recovery.begin()
        self._start_counting()

    def _start_counting(self) -> None:
        self._tally.clear()
        self._window.clear()
        self._invalid.clear()

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
        """Walk over ``codes`` (n,), the distance bins of consecutive events, and decide.

        ``values`` are their fixed-point values (n,) or None, ``losses`` those to expect of them.
        ``suspicions`` are in log order; ``invalid`` are the events among these that have no bin.
        """
        decisions: list[PhaseDecision] = []
        position = 0
        while True:
            if (
                self.state == "quiet"
                and self._decrease_significance is not None
                and position < len(codes)
            ):
                self._test_for_decrease(int(offsets[position]), int(times_ms[position]))
            new = self._next(suspicions, position)
            if new is not None:
                self._suspect(new)
                position = new.seen
            elif self.state == "quiet":
                return decisions
            target = self._target
            end = min(len(codes), position + target - self._tally.n)
            self._tally.count(
                codes[position:end],
                times_ms[position:end],
                None if values is None else values[position:end],
                None if losses is None else losses[position:end],
            )
            full = self._tally.n == target
            if invalid is not None and self.state == "suspected":
                self._invalid.count(invalid, position, end if full else None)
            position = end
            if not full:
                return decisions
            at = int(offsets[end - 1]), int(times_ms[end - 1])
            decisions += self._test(*at) if self.state == "suspected" else self._observe_open(*at)

    @property
    def needs_events(self) -> bool:
        """Whether it has to see events though no detector signalled."""
        return self.state != "quiet" or self._decrease_significance is not None

    @property
    def is_unprompted(self) -> bool:
        """Whether fresh events are tested though no detector signalled."""
        return self._unprompted_test is not None

    @property
    def _target(self) -> int:
        """How many events the next decision takes."""
        if self.state == "open":
            return self._recovery.step_events
        return self._policy.first_test_events << self._test_number

    def _next(self, suspicions: Sequence[Suspicion], position: int) -> Suspicion | None:
        """The first suspicion from ``position`` on that begins anew, before any decision."""
        if self.state == "open" or not suspicions:
            return None
        quiet = self.state == "quiet"
        for suspicion in suspicions:
            if suspicion.seen < position:
                continue
            n = self._tally.n + suspicion.seen - position
            if quiet or (self._starts_new_suspicion(n) and n < self._target):
                return suspicion
        return None

    def _starts_new_suspicion(self, n: int) -> bool:
        """Whether a signal after ``n`` fresh events of a suspicion begins another one.

        What came in a full window showed nothing, and would only hide what begins now.
        """
        return self.is_unprompted or n >= self.window_events

    def _suspect(self, suspicion: Suspicion) -> None:
        if self.state == "suspected" and not self.is_unprompted:
            self.dismissed += 1
        self._reset()
        self.state, self.suspicion, self._since = "suspected", suspicion, suspicion.offset

    def _compared(self, tally: BinCounts) -> tuple[Floats, Floats]:
        """The cells (k,) of what was counted, and of what the reference lets expect."""
        return floats(tally.counts), floats(self._expected(tally))

    def _distance(self, tally: BinCounts) -> tuple[float, float]:
        """Effect and p-value against the reference at the times of day that were counted."""
        return psi_adjusted(tally.counts.tolist(), self._expected(tally), self._tau)

    def _is_explained(self) -> bool:
        """Whether there is no change left when what became invalid is given back."""
        tally = self._tally
        least = self._invalid.least_distance(
            tally.counts.tolist(), lambda more: self._expected(tally, more), self._tau
        )
        return least is not None and not self._is_change(*least)

    def _is_change(self, effect: float, p_value: float) -> bool:
        # Of looks without end chance must not gain one: the sum of all these is finite.
        n_interim_tests = self._n_tests * (1 + self._extra_windows) ** 2
        significance = self._policy.significance
        if self._unprompted_test == "fall" and self._decrease_significance is not None:
            significance = self._decrease_significance
        return p_value < significance / n_interim_tests and effect >= self._policy.min_effect

    def _expected(self, tally: BinCounts, more: Ints | int = 0) -> list[int]:
        calendar = self._calendar
        return self._reference if calendar is None else calendar.expected(tally.slots + more)

    def _decision(
        self,
        phase: Phase,
        effect: float,
        p_value: float,
        at: tuple[int, int],
        tally: BinCounts,
        progress: RecoveryProgress | None = None,
    ) -> PhaseDecision:
        if self.suspicion is None:
            raise RuntimeError("an episode without a suspicion cannot have a phase")
        return PhaseDecision(
            phase,
            self.suspicion,
            effect,
            p_value,
            tally.n,
            tally.total,
            tuple(tally.counts.tolist()),
            *at,
            severity=self._max_severity,
            expected_total=tally.expected_total,
            progress=progress,
            since=self._since,
            slots=tuple(tally.slots.tolist()),
        )

    def _test(self, offset: int, time_ms: int) -> list[PhaseDecision]:
        """One look at the fresh events of a suspicion."""
        effect, p_value = self._distance(self._tally)
        changed = self._is_change(effect, p_value)
        if changed and self._unprompted_test == "fall":
            changed = not self._is_higher(self._tally)
        explained = changed and self._is_explained()
        if changed and not explained:
            return [self._open(effect, p_value, (offset, time_ms))]
        if explained and self._tally.n >= self.window_events:
            self._extra_windows += 1  # no detector need signal again for what is left afterwards
            self._since = offset
            self._start_counting()
            return []
        self._test_number += 1
        if self._test_number >= self._n_tests:
            self.dismissed += not self.is_unprompted
            self._reset()
        return []

    def _open(self, effect: float, p_value: float, at: tuple[int, int]) -> PhaseDecision:
        self._max_severity = self._policy.severity(effect)
        self._increased = self._is_higher(self._tally)
        if self.suspicion is not None and (
            self.is_unprompted or self._decrease_significance is not None
        ):
            better = self._is_better(self._tally)
            direction: Direction = "up" if self._increased else "better" if better else "down"
            self.suspicion = self.suspicion._replace(direction=direction)
        decision = self._decision("started", effect, p_value, at, self._tally)
        self.state, self._windows_without_effect, self._unprompted_test = "open", 0, None
        self._recovery.begin()
        self._recovery.start_from(*self._compared(self._tally))
        self._since = at[0]
        self._start_counting()
        return decision

    def _is_higher(self, tally: BinCounts) -> bool:
        seen, expected = self._compared(tally)
        return _mean_cell(seen) > _mean_cell(expected)

    def _is_better(self, tally: BinCounts) -> bool:
        """Whether a loss is lower than that of the reference; what is no loss never is."""
        return self._decrease_significance is not None and not self._is_higher(tally)

    def _observe_open(self, offset: int, time_ms: int) -> list[PhaseDecision]:
        """A step of an open episode: is there evidence that it is over, or has it grown worse?"""
        at = offset, time_ms
        recovery, step = self._recovery, self._tally
        self._window.add(step)
        if recovery.is_known and recovery.step(step, *self._compared(step)):
            effect, p_value = self._distance(recovery.clear)
            if self._is_change(effect, p_value):  # not as it was in the episode: drift all the same
                if (
                    self._decrease_significance is not None
                    and self._is_higher(recovery.clear) != self._increased
                ):
                    return self._reverse_direction(effect, p_value, at)
                recovery.start_from(*self._compared(recovery.clear))
            elif effect < self._policy.min_effect or p_value >= self._policy.significance:
                decision = self._decision("recovered", effect, p_value, at, recovery.clear)
                self._retest(*at)
                return [decision]
        step.clear()
        decisions = self._progress(at)
        if self._window.n >= self.window_events:
            decisions += self._close_window(at)
            self._window.clear()
            self._since = offset
        return decisions

    def _reverse_direction(
        self, effect: float, p_value: float, at: tuple[int, int]
    ) -> list[PhaseDecision]:
        """A loss that was lower is higher now, or the reverse: one is over, the other begins."""
        clear = self._recovery.clear
        over = self._decision("recovered", effect, p_value, at, clear)
        self._tally.clear()
        self._tally.add(clear)
        turned = self._tally
        self._tally = self._new_tally()
        self._retest(*at)
        self._tally = turned
        return [over, self._open(effect, p_value, at)]

    def _progress(self, at: tuple[int, int]) -> list[PhaseDecision]:
        """Say once that half of the way to the end is done."""
        progress = self.progress
        if self._progress_reported or progress is None or 2 * progress.n_events < progress.n_needed:
            return []
        self._progress_reported = True
        clear = self._recovery.clear
        return [self._decision("ongoing", *self._distance(clear), at, clear, progress)]

    def _close_window(self, at: tuple[int, int]) -> list[PhaseDecision]:
        """A full window of an open episode: is what is left no change, or is it worse?"""
        effect, p_value = self._distance(self._window)
        severity = self._policy.severity(effect)
        self._windows_without_effect = (
            self._windows_without_effect + 1 if effect < self._policy.min_effect / 2 else 0
        )
        if self._windows_without_effect >= self._policy.clear_windows:
            decision = self._decision("recovered", effect, p_value, at, self._window)
            self._retest(*at)
            return [decision]
        drifts = not self._recovery.evidence
        if drifts and self._is_change(effect, p_value):
            remembered = _REMEMBERED * self.window_events
            self._recovery.learn(*self._compared(self._window), remembered)
        no_longer = RecoveryProgress(0, 0) if drifts and self._progress_reported else None
        if drifts:
            self._progress_reported = False
        worse = SEVERITY_RANK[severity] > SEVERITY_RANK[self._max_severity]
        if not worse and no_longer is None:
            return []
        self._max_severity = severity if worse else self._max_severity
        clear = None if worse else no_longer
        return [self._decision("ongoing", effect, p_value, at, self._window, clear)]

    def _test_for_decrease(self, offset: int, time_ms: int) -> None:
        """From this event on, until a detector signals."""
        self.state, self._unprompted_test, self._since = "suspected", "fall", offset - 1
        self.suspicion = Suspicion(0, "rule", "location", "down", offset, time_ms, offset, time_ms)

    def _retest(self, offset: int, time_ms: int) -> None:
        """After a recovery: test what comes as if a detector had signalled here.

        The detectors have learnt the episode's level; of what may be left they would not tell.
        """
        suspicion = self.suspicion
        if suspicion is None:
            raise RuntimeError("an episode without a suspicion cannot recover")
        self._reset()
        self.state, self._unprompted_test, self._since = "suspected", "recovered", offset
        self.suspicion = suspicion._replace(
            seen=0,
            detector="rule",
            offset=offset,
            time_ms=time_ms,
            onset_offset=offset,
            onset_ms=time_ms,
        )

    @property
    def progress(self) -> RecoveryProgress | None:
        """How far an open episode is on its way to its end; ``None``: nothing is clear yet."""
        return self._recovery.progress if self.state == "open" else None

    def end(self, phase: Phase, offset: int, time_ms: int) -> PhaseDecision | None:
        """End whatever is open from outside (superseded); a suspicion is dropped silently."""
        decision = None
        if self.state == "open":
            self._window.add(self._tally)
            distance = self._distance(self._window)
            decision = self._decision(phase, *distance, (offset, time_ms), self._window)
        self._reset()
        return decision

    def drop_suspicion(self) -> None:
        """Forget a suspicion: another rule has explained it."""
        if self.state == "suspected":
            self._reset()

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        tally = self._tally
        quiet = self.state == "quiet"
        return [
            self.state,
            None if self.suspicion is None else list(self.suspicion._replace(seen=0)),
            self._test_number,
            self._windows_without_effect,
            self._max_severity,
            self.dismissed,
            tally.n,
            tally.total,
            [] if quiet else tally.counts.tolist(),
            [] if quiet else tally.slots.tolist(),
            tally.expected_total,
            [*self._invalid.snapshot(), self._extra_windows],
            []
            if quiet
            else [
                self._unprompted_test,
                self._progress_reported,
                self._since,
                self._window.snapshot(),
                self._recovery.snapshot(),
                self._increased,
            ],
        ]

    def restore(self, data: Sequence[Any]) -> None:
        """Restore from `snapshot`.  Raises ValueError where it does not fit this series."""
        state, suspicion, look, small, worst, dismissed, n, total, counts, *more = data
        slots = more[0] if more else []  # stored before there were seasons
        if state not in ("quiet", "suspected", "open") or worst not in SEVERITY_RANK:
            raise ValueError(f"unknown episode state {state!r}, severity {worst!r}")
        if (suspicion is None) != (state == "quiet"):
            raise ValueError("an episode is open without a suspicion, or the reverse")
        self._reset()
        self.state = state
        self.suspicion = None if suspicion is None else Suspicion(*suspicion)
        self._since = -1 if self.suspicion is None else self.suspicion.offset
        self._test_number, self._windows_without_effect, self._max_severity = look, small, worst
        self.dismissed = dismissed
        if state == "quiet":
            return
        expected_total = more[1] if len(more) > 1 else 0
        self._tally.restore([n, total, expected_total, counts, slots])
        *invalid, self._extra_windows = more[2] if len(more) > 2 else (0, [], 0)
        self._invalid.restore(invalid)
        if len(more) > 3 and more[3]:
            (
                self._unprompted_test,
                self._progress_reported,
                self._since,
                window,
                recovery,
                self._increased,
            ) = more[3]
            self._window.restore(window)
            seen, _ = self._compared(self._window)
            self._recovery.restore(recovery, len(seen))
        elif state == "open":  # stored when an episode was followed by windows alone
            self._window.add(self._tally)
            self._tally.clear()
        if self._tally.n >= self._target:
            raise ValueError("an episode that has more events than its next decision takes")


def floats(counts: Sequence[int] | Ints) -> Floats:
    """Counts of cells, (k,)."""
    return np.asarray(counts, dtype=np.float64)


def _mean_cell(cells: Floats) -> float:
    return float(cells @ np.arange(len(cells)) / max(1.0, float(cells.sum())))
