"""An open window: the statistics of its events so far."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.transform import bin_positions
from stream_monitor.statistics.bin_comparison import compare_bins
from stream_monitor.statistics.distance import rounded_effect
from stream_monitor.statistics.fixed_point import FIXED_POINT
from stream_monitor.windows.closed_window import ClosedFeature, ClosedWindow
from stream_monitor.windows.feature_statistics import FeatureStatistics


class OpenWindow(msgspec.Struct, array_like=True):
    """Events with event time in [start_ms, start_ms + size), with their first and last offset.

    ``expected_total`` is the sum of the expected losses, in fixed point, of ``n_estimated`` events.
    """

    start_ms: int
    first_offset: int
    last_offset: int
    n_events: int
    features: dict[str, FeatureStatistics]
    n_estimated: int = 0
    expected_total: int = 0

    def merge(self, other: OpenWindow) -> None:
        """Add the events of another part of the same window."""
        self.first_offset = min(self.first_offset, other.first_offset)
        self.last_offset = max(self.last_offset, other.last_offset)
        self.n_events += other.n_events
        self.n_estimated += other.n_estimated
        self.expected_total += other.expected_total
        for name, statistics in self.features.items():
            statistics.merge(other.features[name])

    def close(
        self, profile: ReferenceProfile, size_ms: int, closed_offset: int, partition: int
    ) -> ClosedWindow:
        """Close this window at the record at ``closed_offset``, and compare it."""
        return ClosedWindow(
            model=profile.model,
            version=profile.version,
            start_ms=self.start_ms,
            end_ms=self.start_ms + size_ms,
            first_offset=self.first_offset,
            last_offset=self.last_offset,
            closed_offset=closed_offset,
            n_events=self.n_events,
            features={
                name: _closed(
                    statistics, profile.features[name], self.start_ms, size_ms, len(self.features)
                )
                for name, statistics in self.features.items()
            },
            partition=partition,
            n_estimated=self.n_estimated,
            estimated_loss=(
                self.expected_total / self.n_estimated / FIXED_POINT if self.n_estimated else None
            ),
        )

    def require_fit(self, size_ms: int, n_bins: Mapping[str, int]) -> None:
        """Raise ValueError unless this is a window of this size of a profile with such bins."""
        if self.start_ms % size_ms:
            raise ValueError("windows: the stored window has another size")
        if self.features.keys() != n_bins.keys():
            raise ValueError(f"window {self.start_ms}: its features are not those of the profile")
        for name, statistics in self.features.items():
            statistics.require_fit(n_bins[name], self.n_events)
        if (
            not 0 <= self.n_estimated <= self.n_events
            or not 0 <= self.expected_total <= self.n_estimated * FIXED_POINT
        ):
            raise ValueError(f"window {self.start_ms}: the stored expected losses are invalid")


def _closed(
    statistics: FeatureStatistics,
    reference: FeatureReference,
    start_ms: int,
    size_ms: int,
    n_features: int,
) -> ClosedFeature:
    """The closed statistics of a feature; with a season, compared with the same times of day."""
    bins: list[int] = statistics.bins.tolist()
    calendar = reference.calendar
    if calendar is None:
        usual, tau = list(reference.bin_counts), reference.tau
    else:
        usual, tau = calendar.expected(calendar.between(start_ms, start_ms + size_ms)), calendar.tau
    found = compare_bins(
        bins, usual, tau, positions=bin_positions(reference), n_features=n_features
    )
    return ClosedFeature(
        count=statistics.count,
        invalid=statistics.invalid,
        bins=bins,
        psi=found.psi,
        effect=rounded_effect(found.effect, 12),
        jensen_shannon=found.jensen_shannon,
        mean=statistics.mean(reference),
        sd=statistics.sd(reference),
        minimum=_unscaled(statistics.minimum, reference),
        maximum=_unscaled(statistics.maximum, reference),
        wasserstein=found.wasserstein,
        ks=found.ks,
        ks_p=found.ks_p,
        chi_square=found.chi_square,
        chi_square_p=found.chi_square_p,
        drifted=found.drifted,
    )


def _unscaled(scaled: int | None, reference: FeatureReference) -> float | None:
    if scaled is None:
        return None
    return scaled / FIXED_POINT * reference.scale + reference.centre
