"""The events of one model on the append clock: none for too long, too few, too many.

::

    slot over ──► no event ──► run of empty slots beyond chance and beyond what was seen ──► silence
              └─► count ─────► windows (`traffic.volume`) against the usual rate ──────────► volume

While there is silence, nothing is said of the volume, and nothing is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from stream_monitor.alerts.traffic import (
    Finding,
    Point,
    Source,
    ended,
    followed,
    severity_of,
    started,
    worse,
)
from stream_monitor.alerts.traffic_wording import silence, silence_over, volume, volume_over
from stream_monitor.contracts import DriftAlert, Phase
from stream_monitor.traffic.chance import Extremes, log_chance
from stream_monitor.traffic.leading import Leading
from stream_monitor.traffic.rate import Expected, Rate, plain
from stream_monitor.traffic.slot import Slot
from stream_monitor.traffic.spec import DAY_MS, VolumeSpec
from stream_monitor.traffic.volume import WINDOWS, Change, Volume

_SPAN_MS: Final = 14 * DAY_MS
_LEAST_ARL0_MS: Final = 180 * DAY_MS  # however many events a budget counts in
_LEAST_RUN: Final = 2  # empty slots
_BACK: Final = 3  # events without another silence between them end one
_MINUTE_MS: Final = 60_000


class EventFlow:
    """The usual rate, the silence and the volume of one model."""

    def __init__(self, spec: VolumeSpec) -> None:
        self._spec = spec
        self._begin()
        self._gaps = Extremes(_SPAN_MS // spec.slot_ms)
        self._run, self._run_slots, self._back = 0, 0, 0
        self._since_ms, self._back_ms = 0, 0
        self.silence: DriftAlert | None = None
        self.leading = Leading()

    def _begin(self) -> None:
        self._rate, self._volume = Rate(self._spec), Volume(self._spec)
        self._complete_since = -1  # slots, when the whole period was known
        self._changed: DriftAlert | None = None
        self._scale = 0

    @property
    def events_per_week(self) -> float | None:
        """The mean of what is usual; ``None`` where it is too early to say, or nothing comes."""
        per_slot = self._rate.per_slot()
        if self._rate.slots < self._spec.baseline_slots or per_slot <= 0:
            return None
        return per_slot * 7 * DAY_MS / self._spec.slot_ms

    def open(self) -> list[DriftAlert]:
        """The latest alerts of the open episodes."""
        return [alert for alert in (self.silence, self._changed) if alert is not None]

    def close(self, slot: Slot, source: Source) -> list[DriftAlert]:
        """A slot is over."""
        if not slot.seen:
            self._run, self._run_slots = (0, 0) if slot.n_events else (self._run, self._run_slots)
            self._rate.enter(slot.number)
            return []
        expected = self._rate.expected(slot.number)
        was_silent = self.silence is not None
        alerts = self._silence(slot, expected, source)
        if was_silent or self.silence is not None:
            self._rate.silent(slot.number)
            return alerts
        return alerts + self._level(slot, expected, source)

    def _silence(self, slot: Slot, expected: Expected, source: Source) -> list[DriftAlert]:
        """Empty slots in a row: their expected events, against chance and what was seen."""
        missing_one = self.leading.close(slot.by_version, expected)
        if slot.n_events and missing_one is None:
            return self._events_came(slot)
        self._run += round(expected.low * (1.0 if missing_one is None else missing_one.share))
        self._run_slots += 1
        missing = plain(self._run)
        limit = self._gaps.limit(log_chance(slot.arl0))
        if missing <= limit or self._run_slots < _LEAST_RUN:
            return []
        self._back = 0
        young = self._rate.slots - self._run_slots < self._spec.baseline_slots
        if self.silence is not None or young:
            return []
        version, last, last_clock_ms = None, slot.last_event, slot.event_clock_ms
        if missing_one is not None:
            version = missing_one.version
            source = source._replace(version=version)
            *at, last_clock_ms = slot.lasts.get(version, (*last, last_clock_ms))
            last = at[0], at[1]
        silent_ms = slot.clock_ms - last_clock_ms
        usual = plain(expected.middle) / self._spec.slot_ms
        finding = Finding(
            silence(silent_ms, usual, version), "high", 0.5 / (missing + 0.5), missing, 0,
            usual * _MINUTE_MS, 0.0,
        )  # fmt: skip
        onset, end = Point(*last), Point(*slot.end)
        self.silence = started(source, "volume", "silence", "down", onset, end, finding)
        self._since_ms = last_clock_ms
        self._volume.forget_slots()
        self._rate.drop_cell()
        return [self.silence]

    def _events_came(self, slot: Slot) -> list[DriftAlert]:
        run, self._run, self._run_slots = plain(self._run), 0, 0
        if self.silence is None:
            self._gaps.learn(slot.number, run, slot.n_events)
            return []
        if not self._back:
            self._back_ms = slot.number * self._spec.slot_ms
        self._back += slot.n_events
        if self._back < _BACK:
            return []
        told, self.silence = self.silence, None
        says = silence_over(max(0, self._back_ms - self._since_ms))
        finding = Finding(says, "high", 1.0, 0.0, self._back)
        return [followed(told, "recovered", Point(*slot.end), finding)]

    def _level(self, slot: Slot, expected: Expected, source: Source) -> list[DriftAlert]:
        """As many events as usual?  What is usual is learnt, as long as it is."""
        rate = self._rate
        known = rate.complete
        over = False
        if known:
            over = self._volume.take(slot.number, slot.n_events, expected, slot.at)
        if self._changed is not None:
            rate.enter(slot.number)
            return self._follow(self._changed, slot)
        rate.learn(slot.number, slot.n_events)
        if not known:
            return []
        if self._complete_since < 0:
            self._complete_since = rate.slots
        judged = rate.slots - self._complete_since >= self._spec.baseline_slots
        judged = judged and 2 * self._run_slots < WINDOWS[0]  # else it is silence
        change = self._volume.judge(slot.number, self._chances(slot.arl0), day=over, judged=judged)
        if change is None:
            return []
        onset = Point(*change.onset)
        finding = self._finding(change, onset.time_ms)
        self._changed = started(
            source, "volume", "volume", change.direction, onset, Point(*slot.end), finding
        )
        self._scale = change.scale
        rate.drop_cell()
        return [self._changed]

    def _follow(self, told: DriftAlert, slot: Slot) -> list[DriftAlert]:
        """An open change of volume: is it over, or worse?"""
        now, over = self._volume.now(self._scale, down=told.direction == "down")
        phase: Phase = "recovered" if over else "ongoing"
        finding = self._finding(now, told.onset_ms, phase)
        if not over and not worse(finding, told):
            return []
        alert = followed(told, phase, Point(*slot.end), finding)
        self._changed = None if over else alert
        return [alert]

    def _finding(self, change: Change, onset_ms: int, phase: Phase = "started") -> Finding:
        window_ms = change.n_slots * self._spec.slot_ms
        usual, now = change.expected / window_ms, change.n_events / window_ms
        if phase == "recovered":
            says = volume_over(usual, now)
        else:
            says = volume(usual, now, onset_ms, worse=phase == "ongoing")
        return Finding(
            says, severity_of(change.ratio), change.ratio, change.deviance, change.n_events,
            usual * _MINUTE_MS, now * _MINUTE_MS,
        )  # fmt: skip

    def _chances(self, arl0: float) -> list[float]:
        """The share of each length of window: a third of the slots between two false alarms."""
        slots = max(arl0 / max(self._rate.per_slot(), 1e-9), _LEAST_ARL0_MS / self._spec.slot_ms)
        lengths = (*WINDOWS, 24 * self._spec.cell_slots)
        return [log_chance(len(lengths) * slots / length) for length in lengths]

    def supersede(self, at: Point) -> list[DriftAlert]:
        """The model is forgotten: what is open ends."""
        alerts = [ended(alert, "superseded", at) for alert in self.open()]
        self.silence = self._changed = None
        return alerts

    def resolve(self, channel: str, slot: int, at: Point) -> list[DriftAlert]:
        """A person ends an episode: such a silence is usual now, or the volume is learnt anew."""
        told = self.silence if channel == "silence" else self._changed
        if told is None:
            return []
        if channel == "silence":
            self.silence = None
            self._gaps.learn(slot, plain(self._run))
        else:
            self._begin()
        return [ended(told, "resolved", at)]

    def snapshot(self) -> list[Any]:
        """All that changes, as plain data."""
        return [
            self._rate.snapshot(), self._volume.snapshot(), self._complete_since, self._scale,
            self._gaps.snapshot(), self._run, self._run_slots, self._back,
            self._since_ms, self._back_ms,
            *(msgspec.to_builtins(alert) for alert in (self.silence, self._changed)),
            self.leading.snapshot(),
        ]  # fmt: skip

    def restore(self, data: Sequence[Any]) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit."""
        rate, volume_, since, scale, gaps, *more = data
        run, (silent, changed), leading = more[:5], more[5:7], more[7:]
        for of_versions in leading:  # stored before it was known which one leads
            self.leading.restore(of_versions)
        self._rate.restore(rate)
        self._volume.restore(volume_)
        self._complete_since, self._scale = since, scale
        self._gaps.restore(gaps)
        self._run, self._run_slots, self._back, self._since_ms, self._back_ms = run
        self.silence = msgspec.convert(silent, DriftAlert | None)
        self._changed = msgspec.convert(changed, DriftAlert | None)
