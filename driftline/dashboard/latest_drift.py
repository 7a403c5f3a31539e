"""PSI, chi-square and level of each signal in the latest closed window of a version.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.windows.closed_window import ClosedWindow
from stream_monitor.windows.drift_level import (
    DriftLimits,
    SeriesDrift,
    drift_of_window,
    drift_of_windows,
)


def newest_windows(windows: Sequence[ClosedWindow]) -> list[ClosedWindow]:
    """The windows with the latest start: one of each partition that has closed it."""
    start_ms = max((window.start_ms for window in windows), default=0)
    return [window for window in windows if window.start_ms == start_ms]


def drift_of_latest(
    windows: Sequence[ClosedWindow], profile: ReferenceProfile | None, limits: DriftLimits
) -> list[SeriesDrift]:
    """Each signal in the latest window of one version, by name; partitions are one sample.

    A window of one partition has the figures that the monitor's metrics show.  A signal whose
    reference is unknown, or is not the one of its windows, has its largest drift of a partition.
    """
    newest = newest_windows(windows)
    found: dict[str, SeriesDrift] = {}
    for window in newest:
        for drift in drift_of_window(window, limits):
            known = found.get(drift.series)
            if known is None or drift.effect > known.effect:
                found[drift.series] = drift
    if len(newest) > 1 and profile is not None:
        references = profile.features
        width = {name: len(reference.bin_counts) for name, reference in references.items()}
        fitting = {
            name
            for name in found
            if all(
                len(window.features[name].bins) == width.get(name)
                for window in newest
                if name in window.features
            )
        }
        parts = [
            msgspec.structs.replace(
                window, features={k: v for k, v in window.features.items() if k in fitting}
            )
            for window in newest
        ]
        found |= {drift.series: drift for drift in drift_of_windows(parts, references, limits)}
    return [found[name] for name in sorted(found)]
