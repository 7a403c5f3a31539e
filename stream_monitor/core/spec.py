"""The settings of the core, frozen."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from producer.limits import Limits
from stream_monitor.checks.traffic_spec import TrafficSpec
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.labels.join import LabelSpec
from stream_monitor.reference.fit import MIN_EVENTS
from stream_monitor.windows.tumbling import WindowSpec

ReferenceEvents: TypeAlias = Annotated[int, msgspec.Meta(ge=MIN_EVENTS)]
"""A number of events that is enough for a reference."""


class MonitorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of `PartitionMonitor`.

    The first ``warm_up_events`` of a version without a profile become its reference, its first
    ``warm_up_labels`` joined labels the reference of its loss.  Repeated ids are recognised within
    the last ``dedup_window_chunks`` chunks; a micro-batch has at most ``micro_batch_chunks``
    chunks.  A version without an event for ``idle_ms`` of the append clock is idle: its episodes
    end, unless it is the version that serves.  At most ``max_models``, and ``max_versions`` of
    each, are watched; a new one beyond the limit evicts an idle one.  State depends on all of
    these: a replay with other settings gives other results.
    """

    budget: Budget = Budget()
    windows: WindowSpec = WindowSpec()
    labels: LabelSpec = LabelSpec()
    limits: Limits = Limits()
    episodes: EpisodePolicy = EpisodePolicy()
    traffic: TrafficSpec = TrafficSpec()
    warm_up_events: ReferenceEvents = 2000
    warm_up_labels: ReferenceEvents = 1000
    dedup_window_chunks: int = 64
    micro_batch_chunks: int = 32
    max_models: int = 256
    max_versions: int = 16
    idle_ms: Annotated[int, msgspec.Meta(ge=1)] = 3_600_000

    @property
    def max_micro_batch_offsets(self) -> int:
        """The most offsets that a micro-batch spans."""
        return self.micro_batch_chunks * self.labels.chunk_events
