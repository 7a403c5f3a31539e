"""The retrain policy: the limits of retraining."""

from __future__ import annotations

from typing import Final

import msgspec

DAY_MS: Final = 24 * 3_600_000


class RetrainPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to retrain, and on how much.  All times are event time.

    After a finished job no retrain of the model starts for ``cooldown_ms``, and a model has at most
    ``max_retrains_per_day`` jobs in 24 h, so that a producer of drift cannot occupy the trainer.  A
    job waits for ``min_labelled_events`` since the onset, at most ``give_up_after_ms``.  It reads
    ``lookback_records`` before the onset and trains on at most ``max_rows``.  The last
    ``holdout_ratio`` of the rows since the onset is the holdout.

    Raises:
        ValueError: a number is out of range.
    """

    cooldown_ms: int = 3 * DAY_MS
    max_retrains_per_day: int = 3
    min_labelled_events: int = 2_000
    give_up_after_ms: int = 30 * DAY_MS
    lookback_records: int = 40_000
    max_rows: int = 200_000
    holdout_ratio: float = 0.3

    def __post_init__(self) -> None:
        for name in ("max_retrains_per_day", "min_labelled_events", "max_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, is {getattr(self, name)}")
        for name in ("cooldown_ms", "give_up_after_ms", "lookback_records"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, is {getattr(self, name)}")
        if not 0 < self.holdout_ratio < 1:
            raise ValueError(f"holdout_ratio must be between 0 and 1, is {self.holdout_ratio}")
