"""Episodes: signal -> suspected -> started -> ongoing -> recovered.

A detector's signal is only a suspicion: its data were chosen because they looked odd.  It is
confirmed on events that came after it, by their distance from the reference, where the values that
became invalid do not explain it; an episode stays open, and silent, until it has returned.

::

               signal                confirmed on fresh events
    quiet ----------------> suspected -------------------------> open --+
      ^                        |                                  |  ^  | severity rises:
      |   last look, no effect |                                  |  |  | "ongoing"
      +------------------------+                                  |  +--+
      |             3 clear windows: "recovered"                  |
      +-----------------------------------------------------------+
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from stream_monitor.alerts.given_back import GivenBack, InvalidEvents
from stream_monitor.alerts.policy import EpisodePolicy
from stream_monitor.contracts import RANK, DetectorName, Direction, Phase, Severity
from stream_monitor.ingest.batch import Ints
from stream_monitor.reference.season import BinCalendar
from stream_monitor.windows.distance import psi_adjusted


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


class Verdict(NamedTuple):
    """A phase of an episode, decided at ``offset`` from ``n_events`` fresh events.

    ``total`` is the sum of their fixed-point values (0 where they are no numbers), ``bins`` counts
    them by distance bin, and ``expected_total`` is the sum of the losses to expect of them.
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
    again: bool = False  # `RepeatingTrack`


class Track:
    """The episodes of one series and kind, fed with distance-bin codes in log order."""

    def __init__(
        self,
        reference_bins: Sequence[int],
        tau: float,
        policy: EpisodePolicy,
        calendar: BinCalendar | None = None,
        freedom: int | None = None,
        validity: tuple[int, int] = (1, 0),  # events of the reference, valid and invalid
    ) -> None:
        self._reference = list(reference_bins)
        self._calendar = calendar
        self._tau = tau
        self._policy = policy
        self._invalid = GivenBack(validity, policy, calendar)
        n_bins = len(self._reference) if freedom is None else freedom + 1
        self.window_events = policy.window_events(n_bins, tau)
        self._n_looks = policy.n_looks(self.window_events)
        self.dismissed = 0
        self._rest()

    def _rest(self) -> None:
        self.state: Literal["quiet", "suspected", "open"] = "quiet"
        self.suspicion: Suspicion | None = None
        self._look = 0
        self._clear = self._waited = 0
        self._worst: Severity = "low"
        self._start_counting()

    def _start_counting(self) -> None:
        self._counts = np.zeros(len(self._reference), dtype=np.int64)
        self._slots = np.zeros(0 if self._calendar is None else self._calendar.n_slots, np.int64)
        self._n = 0
        self._total = 0
        self._expected_total = 0
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
    ) -> list[Verdict]:
        """Walk over ``codes`` (n,), the distance bins of consecutive events, and decide.

        ``values`` are their fixed-point values (n,) or None, ``losses`` those to expect of them.
        ``suspicions`` are in log order; ``invalid`` are the events among these that have no bin.
        """
        verdicts: list[Verdict] = []
        position, waiting = 0, 0
        while True:
            if self.state == "quiet":
                while waiting < len(suspicions) and suspicions[waiting].seen < position:
                    waiting += 1
                if waiting == len(suspicions):
                    return verdicts
                self.suspicion = suspicions[waiting]
                self.state = "suspected"
                self._start_counting()
                position = self.suspicion.seen
            target = (
                self._policy.first_look_events << self._look
                if self.state == "suspected"
                else self.window_events
            )
            end = min(len(codes), position + target - self._n)
            self._count(
                codes[position:end],
                times_ms[position:end],
                None if values is None else values[position:end],
                None if losses is None else losses[position:end],
            )
            if invalid is not None and self.state == "suspected":
                self._invalid.count(invalid, position, None if self._n < target else end)
            position = end
            if self._n < target:
                return verdicts
            at = int(offsets[end - 1]), int(times_ms[end - 1])
            verdict = self._test(*at) if self.state == "suspected" else self._follow(*at)
            if verdict is not None:
                verdicts.append(verdict)

    def _count(
        self, codes: Ints, times_ms: Ints, values: Ints | None, losses: Ints | None = None
    ) -> None:
        if not len(codes):
            return
        self._counts += np.bincount(codes, minlength=len(self._reference))
        self._n += len(codes)
        if self._calendar is not None:
            slots = self._calendar.slots_of(times_ms)
            self._slots += np.bincount(slots, minlength=len(self._slots))
        if values is not None:
            self._total += int(values.sum())
        if losses is not None:
            self._expected_total += int(losses.sum())

    def _distance(self) -> tuple[float, float]:
        """Effect and p-value against the reference at the times of day that were counted."""
        return psi_adjusted(self._counts.tolist(), self._expected(), self._tau)

    def _is_explained(self) -> bool:
        """Whether there is no change left when what became invalid is given back."""
        least = self._invalid.least_distance(self._counts.tolist(), self._expected, self._tau)
        return least is not None and not self._is_change(*least)

    def _is_change(self, effect: float, p_value: float) -> bool:
        # Of looks without end chance must not gain one: the sum of all these is finite.
        n_looks = self._n_looks * (1 + self._waited) ** 2
        return p_value < self._policy.significance / n_looks and effect >= self._policy.min_effect

    def _expected(self, more: Ints | int = 0) -> list[int]:
        calendar = self._calendar
        return self._reference if calendar is None else calendar.expected(self._slots + more)

    def _verdict(self, phase: Phase, effect: float, p_value: float, at: tuple[int, int]) -> Verdict:
        if self.suspicion is None:
            raise RuntimeError("an episode without a suspicion cannot have a phase")
        return Verdict(
            phase,
            self.suspicion,
            effect,
            p_value,
            self._n,
            self._total,
            tuple(self._counts.tolist()),
            *at,
            severity=self._worst,
            expected_total=self._expected_total,
        )

    def _test(self, offset: int, time_ms: int) -> Verdict | None:
        """One look at the fresh events of a suspicion."""
        effect, p_value = self._distance()
        changed = self._is_change(effect, p_value)
        explained = changed and self._is_explained()
        if changed and not explained:
            self._worst = self._policy.severity(effect)
            verdict = self._verdict("started", effect, p_value, (offset, time_ms))
            self.state, self._clear = "open", 0
            self._start_counting()
            return verdict
        if explained and self._n >= self.window_events:
            self._waited += 1  # no detector need signal again for what is left afterwards
            self._start_counting()
            return None
        self._look += 1
        if self._look >= self._n_looks:
            self._rest()
            self.dismissed += 1
        return None

    def _follow(self, offset: int, time_ms: int) -> Verdict | None:
        """A full window of an open episode: has the distance returned, or risen?"""
        effect, p_value = self._distance()
        verdict = None
        severity = self._policy.severity(effect)
        self._clear = self._clear + 1 if effect < self._policy.min_effect / 2 else 0
        if self._clear >= self._policy.clear_windows:
            verdict = self._verdict("recovered", effect, p_value, (offset, time_ms))
            self._rest()
        elif RANK[severity] > RANK[self._worst]:
            self._worst = severity
            verdict = self._verdict("ongoing", effect, p_value, (offset, time_ms))
        self._start_counting()
        return verdict

    def end(self, phase: Phase, offset: int, time_ms: int) -> Verdict | None:
        """End whatever is open from outside (superseded); a suspicion is dropped silently."""
        verdict = None
        if self.state == "open":
            effect, p_value = self._distance()
            verdict = self._verdict(phase, effect, p_value, (offset, time_ms))
        self._rest()
        return verdict

    def drop_suspicion(self) -> None:
        """Forget a suspicion: another rule has explained it."""
        if self.state == "suspected":
            self._rest()

    def snapshot(self) -> list[Any]:
        """All that changes, as plain data."""
        return [
            self.state,
            None if self.suspicion is None else list(self.suspicion._replace(seen=0)),
            self._look,
            self._clear,
            self._worst,
            self.dismissed,
            self._n,
            self._total,
            [] if self.state == "quiet" else self._counts.tolist(),
            [] if self.state == "quiet" else self._slots.tolist(),
            self._expected_total,
            [*self._invalid.snapshot(), self._waited],
        ]

    def restore(self, data: Sequence[Any]) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit this series."""
        state, suspicion, look, clear, worst, dismissed, n, total, counts, *more = data
        slots = more[0] if more else []  # stored before there were seasons
        if state not in ("quiet", "suspected", "open") or worst not in RANK:
            raise ValueError(f"unknown episode state {state!r}, severity {worst!r}")
        if (suspicion is None) != (state == "quiet"):
            raise ValueError("an episode is open without a suspicion, or the reverse")
        if state != "quiet" and (len(counts) != len(self._reference) or sum(counts) != n):
            raise ValueError("episode counts do not fit the reference bins")
        if state != "quiet" and slots and (len(slots) != len(self._slots) or sum(slots) != n):
            raise ValueError("episode counts do not fit the calendar of the reference")
        self.state = state
        self.suspicion = None if suspicion is None else Suspicion(*suspicion)
        self._look, self._clear, self._worst = look, clear, worst
        self.dismissed = dismissed
        self._start_counting()
        if state != "quiet":
            self._counts = np.array(counts, dtype=np.int64)
            self._slots = np.array(slots or self._slots, dtype=np.int64)
            self._n, self._total = n, total
            self._expected_total = more[1] if len(more) > 1 else 0
            *invalid, self._waited = more[2] if len(more) > 2 else (0, [], 0)
            self._invalid.restore(invalid)
