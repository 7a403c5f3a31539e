"""What the core is built from: frozen settings of every room."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from producer.limits import Limits
from stream_monitor.alerts.policy import EpisodePolicy
from stream_monitor.drift.calibration import Budget
from stream_monitor.labels.spec import LabelSpec
from stream_monitor.reference.fit import MIN_EVENTS
from stream_monitor.traffic.spec import VolumeSpec
from stream_monitor.windows.spec import WindowSpec

ReferenceEvents: TypeAlias = Annotated[int, msgspec.Meta(ge=MIN_EVENTS)]
"""As many as a reference needs, or more."""


class MonitorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of `PartitionMonitor`.

    ``warm_up_events`` of a version without a profile become its reference, ``loss_warm_up`` joined
    labels that of its loss.  The last ``seen_chunks`` chunks of ids are known as repeats when they
    come again; the log is worked on in columns of at most ``segment_chunks`` chunks.  A version
    without an event for ``idle_ms`` of the append clock is idle: its episodes end, unless it is the
    one that serves.  At most ``max_models``, and ``max_versions`` of each, are watched; a newcomer
    beyond takes the place of one that is idle.  State depends on all of these: change them, and a
    replay differs.
    """

    budget: Budget = Budget()
    windows: WindowSpec = WindowSpec()
    labels: LabelSpec = LabelSpec()
    limits: Limits = Limits()
    episodes: EpisodePolicy = EpisodePolicy()
    volume: VolumeSpec = VolumeSpec()
    warm_up_events: ReferenceEvents = 2000
    loss_warm_up: ReferenceEvents = 1000
    seen_chunks: int = 64
    segment_chunks: int = 4
    max_models: int = 256
    max_versions: int = 16
    idle_ms: Annotated[int, msgspec.Meta(ge=1)] = 3_600_000

    @property
    def segment_events(self) -> int:
        """How many offsets are worked on as columns at most."""
        return self.segment_chunks * self.labels.chunk_events
