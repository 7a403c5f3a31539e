"""The settings of windows."""

from __future__ import annotations

import msgspec


class WindowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Tumbling windows in event time, aligned to the Unix epoch, half-open: [start, end).

    A window closes once the watermark has passed its end by ``grace_ms``.  If the version has no
    event for ``idle_close_ms`` of the append clock, that clock may close it instead of the
    watermark.  ``max_open`` bounds the memory.  Raises ValueError where the grace keeps more open.
    """

    size_ms: int = 3_600_000
    grace_ms: int = 300_000
    idle_close_ms: int = 60_000
    max_open: int = 48

    def __post_init__(self) -> None:
        if self.size_ms < 1 or self.grace_ms < 0 or self.idle_close_ms < 1:
            raise ValueError("windows: size and idle_close must be positive, grace not negative")
        if self.most_open > self.max_open:
            raise ValueError(
                f"windows: a grace of {self.grace_ms} ms keeps {self.most_open} windows of "
                f"{self.size_ms} ms open; make them longer, or raise max_open ({self.max_open})"
            )

    @property
    def most_open(self) -> int:
        """The largest number of open windows: those that start in (watermark - lag, watermark].

        >>> WindowSpec(size_ms=60_000, grace_ms=300_000).most_open
        6
        """
        return 1 + -(-self.grace_ms // self.size_ms)
