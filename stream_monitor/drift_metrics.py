"""Prometheus metrics of the closed windows: PSI, chi-square and level of each signal.

Each is of the latest window that this process has closed, so a signal has no value after a restart
until its next window closes.  A signal in several partitions has its largest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from producer.names import escape
from stream_monitor.state.partition_state import PartitionState
from stream_monitor.windows.closed_window import ClosedWindow
from stream_monitor.windows.drift_level import LEVELS, DriftLimits, SeriesDrift, drift_of_window

MAX_PSI_SERIES: Final = 1_000
"""Signals of all models with a PSI, those with the largest one; the others are counted."""


def drift_metrics(
    states: Sequence[tuple[int, PartitionState]], limits: DriftLimits
) -> tuple[Metric, ...]:
    """The metrics of the latest closed window of each version."""
    of_series = ["model", "version", "series"]
    psi = GaugeMetricFamily(
        "driftline_psi",
        "Population stability index of the latest closed window against the reference",
        labels=of_series,
    )
    p_value = GaugeMetricFamily(
        "driftline_chi_square_p_value",
        "p-value of the chi-square test of the latest closed window against the reference",
        labels=of_series,
    )
    level = GaugeMetricFamily(
        "driftline_psi_level",
        "0 none, 1 warning, 2 critical: PSI without the bias of few events, by [psi]",
        labels=of_series,
    )
    left_out = GaugeMetricFamily(
        "driftline_psi_series_left_out", "Signals without a PSI here, because there are too many"
    )
    ended = GaugeMetricFamily(
        "driftline_window_end_timestamp_seconds",
        "End (event time) of the latest closed window",
        labels=["model", "version"],
    )
    events = GaugeMetricFamily(
        "driftline_window_events",
        "Events in the latest closed window, in the partitions of this process",
        labels=["model", "version"],
    )
    windows = [window for _, state in states for window in state.latest_windows()]
    found = _largest(windows, limits)
    for (model, version, series), drift in found[:MAX_PSI_SERIES]:
        labels = [escape(model), escape(version), series]
        psi.add_metric(labels, drift.psi)
        p_value.add_metric(labels, drift.chi_square_p)
        level.add_metric(labels, LEVELS.index(drift.level))
    left_out.add_metric([], max(0, len(found) - MAX_PSI_SERIES))
    by_version: dict[tuple[str, str], list[ClosedWindow]] = {}
    for window in windows:
        by_version.setdefault((window.model, window.version), []).append(window)
    for (model, version), of_version in list(by_version.items())[:MAX_PSI_SERIES]:
        end_ms = max(window.end_ms for window in of_version)
        n_events = sum(window.n_events for window in of_version if window.end_ms == end_ms)
        ended.add_metric([escape(model), escape(version)], end_ms / 1000)
        events.add_metric([escape(model), escape(version)], n_events)
    return psi, p_value, level, left_out, ended, events


def _largest(
    windows: Sequence[ClosedWindow], limits: DriftLimits
) -> list[tuple[tuple[str, str, str], SeriesDrift]]:
    """Each signal with the largest effect of its partitions; the largest signal first."""
    found: dict[tuple[str, str, str], SeriesDrift] = {}
    for window in windows:
        for drift in drift_of_window(window, limits):
            key = window.model, window.version, drift.series
            known = found.get(key)
            if known is None or drift.effect > known.effect:
                found[key] = drift
    return sorted(found.items(), key=lambda item: (-item[1].effect, item[0]))
