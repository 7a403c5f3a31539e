"""The product's own core on one feature: fitted on a reference, then fed events in log order."""

from __future__ import annotations

from typing import Final

from stream_monitor.checks.monitored_signal import MonitoredSignal
from stream_monitor.detectors.calibration import Budget, arl0_events
from stream_monitor.detectors.detection import Detection
from stream_monitor.detectors.signal_detectors import SignalDetectors
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.transform import Transformed
from tests.benchmarks.detection.streams import Column, Ints, times_ms

BUDGET: Final = Budget(false_alerts=1.0, per_events=1_000_000)
"""Of a model with this one feature; its channels share it, as in the product."""


class _Listening(SignalDetectors):
    """Keeps the signals that a series turns into episodes, or does not."""

    reported: list[Detection]

    def observe(self, transformed: Transformed, times_ms: Ints | None = None) -> list[Detection]:
        self.reported = super().observe(transformed, times_ms)
        return self.reported


class Watch:
    """One watched feature.  The offset of an event is how many came before it."""

    def __init__(self, reference: Column) -> None:
        fitted = fit_feature("x", reference, times_ms=times_ms(0, len(reference)))
        n_ranges = fitted.bounds is not None
        arl0 = arl0_events(BUDGET, 2 * (len(fitted.channels) + n_ranges))
        self.channel_arl0 = arl0 / 2
        self.series = MonitoredSignal(fitted, "data", arl0, EpisodePolicy(), bounds=fitted.bounds)
        self._detectors = _Listening(fitted, self.series.transform, arl0)
        self.series.detectors = self._detectors
        self._seen = len(reference)
        self.started: list[int] = []
        self.recovered: list[int] = []

    def observe(self, column: Column) -> tuple[list[int], list[int]]:
        """Positions in ``column`` of signals, and of decisions that an episode has started.

        The latter are also in ``started``, and those that one is over in ``recovered``.
        """
        first = self._seen
        self._seen += len(column)
        times = times_ms(first, len(column))
        offsets: Ints = times * 0 + range(first, self._seen)
        findings = self.series.observe(
            self.series.transform.apply(column),
            offsets,
            times,
            lambda position, back: (int(offsets[position]) - back, int(times[position])),
        )
        self.started, self.recovered = (
            [d.decision.offset - first for d in findings if d.decision.phase == phase]
            for phase in ("started", "recovered")
        )
        signals = [signal.position for signal in self._detectors.reported]
        signals += [
            d.decision.offset - first
            for d in findings
            if d.check == "range" and d.decision.phase == "started"
        ]
        return sorted(signals), self.started
