"""A closed bucket of the append clock, with its counts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from stream_monitor.episodes.finding import AlertSource


class TrafficBucket(NamedTuple):
    """The counts of one bucket, and the record whose append time ended it.

    ``source`` names the version in service at its end.  ``seen`` is false where events may be
    missing because the monitor did not run.  ``at`` and ``end`` are offset and event time of the
    first record of the bucket and of the record that ended it; ``last_event`` and ``last_label``
    those of the last ones before ``end``; ``clock_ms``, ``event_clock_ms`` and ``label_clock_ms``
    are the append clock at these three.  ``delays`` sums the logarithms of the ``n_delays`` label
    delays.  ``arl0`` is in events.  ``by_version`` has the events of each version, ``lasts``
    offset, event time and append clock at the last event of each.  ``is_silent``: an episode of
    silence is open.
    """

    source: AlertSource
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
    is_silent: bool = False
