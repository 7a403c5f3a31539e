"""Detects that a model's leading version stopped while other versions still serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from stream_monitor.checks.seasonal_rate import SCALE, ExpectedCount

_MEMORY: Final = 64  # buckets
_TAKEN: Final = 4  # others that get a quarter of its events have replaced it
_FEW: Final = 3  # events
_MAX_VERSIONS: Final = 64  # the versions with the most events


class SilentLeader(NamedTuple):
    """A leading version without events in a bucket; ``share`` is its part of the model's events."""

    version: str
    share: float


class LeadingVersion(msgspec.Struct, array_like=True):
    """Mean events per bucket by version, in fixed point.

    A version with at least half of the events leads.  In a bucket without its events the model
    counts as silent, unless the others have a quarter of its usual events in addition to their own:
    then they have replaced it.  ``others`` and ``bound`` sum the events of the others and what they
    must exceed, since the last event of the leading version.
    """

    usual: dict[str, int] = {}
    others: int = 0
    bound: int = 0

    @property
    def versions(self) -> frozenset[str]:
        """The versions with recent events."""
        return frozenset(self.usual)

    def close(self, counts: Mapping[str, int], expected: ExpectedCount) -> SilentLeader | None:
        """Close a bucket with the number of events of each version.

        >>> leading, minute = LeadingVersion(), ExpectedCount(60 * SCALE, 65 * SCALE, 70 * SCALE)
        >>> for _ in range(30):
        ...     assert leading.close({"1": 60, "2": 5}, minute) is None
        >>> leading.close({"2": 6}, minute).version, leading.close({"2": 50}, minute)
        ('1', None)
        """
        n_events, total = sum(counts.values()), sum(self.usual.values())
        lead = max(self.usual, key=lambda version: (self.usual[version], version), default="")
        mine = self.usual.get(lead, 0)
        if not n_events:
            return None
        if not total or counts.get(lead) or 2 * mine < total:
            self.others = self.bound = 0
            self._learn(counts)
            return None
        level = min(total, expected.low)
        self.others += n_events * SCALE
        self.bound += level * (total - mine + mine // _TAKEN) // total
        if self.others > self.bound + _FEW * SCALE:
            self.others = self.bound = 0
            self.usual = {version: n * SCALE for version, n in sorted(counts.items())}
            return None
        return SilentLeader(lead, mine / total)

    def _learn(self, counts: Mapping[str, int]) -> None:
        if not self.usual:
            self.usual = {version: n * SCALE for version, n in sorted(counts.items())}
            return
        means: dict[str, int] = {}
        for version in sorted(self.usual.keys() | counts.keys()):
            mean = self.usual.get(version, 0)
            means[version] = mean + (counts.get(version, 0) * SCALE - mean) // _MEMORY
        most = sorted(means, key=lambda version: (-means[version], version))[:_MAX_VERSIONS]
        self.usual = {version: means[version] for version in sorted(most) if means[version] > 0}
