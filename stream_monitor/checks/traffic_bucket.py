"""A closed bucket of the append clock, with its counts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from stream_monitor.episodes.finding import AlertSource, EventPosition


class TrafficBucket(NamedTuple):
    """The counts of one bucket, and the record whose append time ended it.

    ``source`` names the version in service at its end.  ``seen`` is false where events may be
    missing because the monitor did not run.  ``at`` is the first record of the bucket, ``end`` the
    record that ended it; ``last_event`` and ``last_label`` are the last ones before it;
    ``clock_ms``, ``event_clock_ms`` and ``label_clock_ms`` are the append clock at these three.
    ``delays`` sums the logarithms of the ``n_delays`` label delays.  ``arl0`` is in events.
    ``by_version`` has the events of each version, ``lasts`` offset, event time and append clock at
    the last event of each.  ``is_silent``: an episode of silence is open.
    """

    source: AlertSource
    number: int
    seen: bool
    n_events: int
    n_labels: int
    delays: int
    n_delays: int
    at: EventPosition
    end: EventPosition
    clock_ms: int
    last_event: EventPosition
    event_clock_ms: int
    last_label: EventPosition
    label_clock_ms: int
    arl0: float
    by_version: Mapping[str, int] = MappingProxyType({})
    lasts: Mapping[str, tuple[int, int, int]] = MappingProxyType({})
    is_silent: bool = False
