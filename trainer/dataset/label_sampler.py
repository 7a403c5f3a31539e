"""Samples labelled events above a rate, by the hash of their ids.

The rate is that of the append clock, so that the sample is a function of the records.
"""

from __future__ import annotations

from typing import Final

from trainer.dataset.collector import hash_rank

BUCKET_MS: Final = 10_000
_HASH_RANGE: Final = 1 << 64


class LabelSampler:
    """Samples about ``max_per_s`` labelled events a second, at a ratio that is a power of 1/2.

    Within `BUCKET_MS` of the append clock the share is halved as often as the number of events
    doubles beyond the limit.
    """

    def __init__(self, max_per_s: int) -> None:
        self._limit = max_per_s * BUCKET_MS // 1_000
        self._bucket = -1
        self._n_events = 0
        self._halvings = 0

    @property
    def share(self) -> float:
        """The share of labelled events that is sampled now."""
        return 2.0**-self._halvings

    def keeps(self, event_id: str, append_ms: int) -> bool:
        """Count a labelled event; return whether it is in the sample.

        >>> sampler = LabelSampler(1)
        >>> sum(sampler.keeps(str(i), 0) for i in range(40)), sampler.share
        (18, 0.25)
        """
        bucket = append_ms // BUCKET_MS
        if bucket > self._bucket:
            self._bucket, self._n_events, self._halvings = bucket, 0, 0
        self._n_events += 1
        while self._n_events > self._limit << self._halvings:
            self._halvings += 1
        return hash_rank(event_id) < _HASH_RANGE >> self._halvings
