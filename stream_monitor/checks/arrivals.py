"""Events and labels of one model in a batch of records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from stream_monitor.checks.delay_history import log_delay
from stream_monitor.ingest.batch import EventBatch, Ints

_NONE = np.zeros(0, dtype=np.int64)


class Arrivals(NamedTuple):
    """Events (n,), labels (m,) and joined labels (k,), each in offset order.

    ``version_index`` is the index of an event's version in ``versions``; ``labels`` and ``joined``
    are offsets, ``delays`` logarithms.
    """

    offsets: Ints
    times_ms: Ints
    version_index: Ints
    versions: Sequence[str]
    labels: Ints
    joined: Ints
    delays: Ints

    def __bool__(self) -> bool:
        return bool(len(self.offsets) or len(self.labels))


NO_ARRIVALS = Arrivals(_NONE, _NONE, _NONE, (), _NONE, _NONE, _NONE)


def arrivals_of(
    batches: Sequence[EventBatch], labels: Iterable[int], delays: Iterable[tuple[int, int]]
) -> Arrivals:
    """Return the arrivals in batches, offsets of labels, and (offset, delay) of joined labels."""
    label_offsets = np.array(sorted(labels), dtype=np.int64)
    known = [(offset, log_delay(delay_ms)) for offset, delay_ms in delays if delay_ms]
    pairs = np.array(known, dtype=np.int64).reshape(-1, 2)
    if not batches:
        return NO_ARRIVALS._replace(labels=label_offsets, joined=pairs[:, 0], delays=pairs[:, 1])
    sizes = [len(batch) for batch in batches]
    offsets = np.concatenate([batch.offsets for batch in batches])
    times_ms = np.concatenate([batch.times_ms for batch in batches])
    version_index = np.repeat(np.arange(len(batches), dtype=np.int64), sizes)
    if len(batches) > 1:
        order = np.argsort(offsets, kind="stable")
        offsets, times_ms, version_index = offsets[order], times_ms[order], version_index[order]
    versions = [batch.version for batch in batches]
    return Arrivals(
        offsets, times_ms, version_index, versions, label_offsets, pairs[:, 0], pairs[:, 1]
    )
