"""A closed bucket of the append clock, with its counts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class TrafficBucket(NamedTuple):
    """What came in a slot, and the record whose append time ended it.

    ``seen`` is false where somebody may have sent and nobody was watching.  ``at`` and ``end`` are
    offset and event time of the first record of the slot and of the one that ended it;
    ``last_event`` and ``last_label`` those of the last ones before ``end``, ``clock_ms``,
    ``event_clock_ms`` and ``label_clock_ms`` the append clock at these three.  ``delays`` sums the
    logarithms of the ``n_delays`` label delays.  ``arl0`` is in events.  ``by_version`` has the
    events of each version, ``lasts`` offset, event time and append clock at the last one of each.
    """

    number: int
    seen: bool
    n_events: int
    n_labels: int
    delays: int
    n_delays: int
    at: tuple[int, int]
    end: tuple[int, int]
    clock_ms: int
    last_event: tuple[int, int]
    event_clock_ms: int
    last_label: tuple[int, int]
    label_clock_ms: int
    arl0: float
    by_version: Mapping[str, int] = MappingProxyType({})
    lasts: Mapping[str, tuple[int, int, int]] = MappingProxyType({})
