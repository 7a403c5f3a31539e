"""The settings of the label join."""

from __future__ import annotations

import msgspec


class LabelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the label join: the wait for a label, and the number of waiting records.

    Beyond ``max_pending`` only a sample of ids waits.  It is halved each time, and doubled once a
    quarter of ``max_pending`` waits or less.  ``chunk_events`` offsets are one part of the state.
    """

    horizon_ms: int = 7 * 24 * 3_600_000
    max_pending: int = 200_000
    chunk_events: int = 1024

    def __post_init__(self) -> None:
        if self.horizon_ms < 1 or self.max_pending < 1 or self.chunk_events < 1:
            raise ValueError("labels: horizon, max_pending and chunk_events must be positive")
