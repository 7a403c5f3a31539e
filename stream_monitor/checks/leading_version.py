"""Which version has most of a model's events, and whether it stopped while others trickle on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from stream_monitor.checks.seasonal_rate import SCALE, ExpectedCount

_MEMORY: Final = 64  # slots
_TAKEN: Final = 4  # so much of its events, as a divisor, come to the others if they took over
_FEW: Final = 3  # events
_MAX_VERSIONS: Final = 64  # that are remembered; the others had fewer events


class SilentLeader(NamedTuple):
    """The leading version had no event in a slot; ``share`` is its part of the model's events."""

    version: str
    share: float


class LeadingVersion:
    """Mean events a slot by version.

    A version that has half of the events at least leads.  In a slot without any of it the model is
    as good as silent, unless the others bring a quarter of what it brought beside their own: then
    they have taken over.
    """

    def __init__(self) -> None:
        self._usual: dict[str, int] = {}
        self._others, self._bound = 0, 0  # since its last event

    @property
    def versions(self) -> frozenset[str]:
        """Those that had events lately."""
        return frozenset(self._usual)

    def close(self, counts: Mapping[str, int], expected: ExpectedCount) -> SilentLeader | None:
        """A slot with so many events of each version is over.

        >>> leading, minute = LeadingVersion(), ExpectedCount(60 * SCALE, 65 * SCALE, 70 * SCALE)
        >>> for _ in range(30):
        ...     assert leading.close({"1": 60, "2": 5}, minute) is None
        >>> leading.close({"2": 6}, minute).version, leading.close({"2": 50}, minute)
        ('1', None)
        """
        n_events, total = sum(counts.values()), sum(self._usual.values())
        lead = max(self._usual, key=lambda version: (self._usual[version], version), default="")
        mine = self._usual.get(lead, 0)
        if not n_events:
            return None
        if not total or counts.get(lead) or 2 * mine < total:
            self._others = self._bound = 0
            self._learn(counts)
            return None
        level = min(total, expected.low)
        self._others += n_events * SCALE
        self._bound += level * (total - mine + mine // _TAKEN) // total
        if self._others > self._bound + _FEW * SCALE:
            self._others = self._bound = 0
            self._usual = {version: n * SCALE for version, n in counts.items()}
            return None
        return SilentLeader(lead, mine / total)

    def _learn(self, counts: Mapping[str, int]) -> None:
        if not self._usual:
            self._usual = {version: n * SCALE for version, n in counts.items()}
            return
        means: dict[str, int] = {}
        for version in sorted(self._usual.keys() | counts.keys()):
            mean = self._usual.get(version, 0)
            means[version] = mean + (counts.get(version, 0) * SCALE - mean) // _MEMORY
        most = sorted(means, key=lambda version: (-means[version], version))[:_MAX_VERSIONS]
        self._usual = {version: means[version] for version in most if means[version] > 0}

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [dict(sorted(self._usual.items())), self._others, self._bound]

    def restore(self, data: Any) -> None:
        """Restore from `snapshot`.  Raises ValidationError where it does not fit."""
        self._usual, self._others, self._bound = msgspec.convert(
            data, tuple[dict[str, int], int, int]
        )
