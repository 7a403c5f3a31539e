"""The retrain policy: the limits of retraining."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

DAY_MS: Final = 24 * 3_600_000
_MIN_GROWTH_ROWS: Final = 2_500
"""After a change the training rows begin small, and would double every few hundred events."""


class RetrainPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits on retraining, and on its data.  All times are event time.

    Drift of inputs below ``min_severity``, and of predictions, asks for no retrain.  After a
    finished job no retrain of the model starts for ``cooldown_ms``, and a model has at most
    ``max_retrains_per_day`` jobs in 24 h, so that a producer of drift cannot occupy the trainer.  A
    job waits for ``min_labelled_events`` since the onset, at most ``give_up_after_ms``.  It reads
    ``lookback_records`` before the onset and trains on at most ``max_rows``.  The newest
    ``holdout_rows`` evaluate the challenger; afterwards it is fitted again on all rows.

    Rows since the onset of producers whose events alone show a rise of the error do not train, up
    to ``max_excluded_source_share`` of these rows; with 0 all rows train.  If the error of the
    other producers did not rise, there is no retrain.

    Without drift a retrain starts when the training rows of the newest version and the labelled
    events since are ``growth_factor`` times these rows: more data make a better model, each
    doubling by a similar factor (learning curves are power laws: Hestness et al., "Deep learning
    scaling is predictable, empirically", 2017).  Where such a retrain is proved better with recent
    rows only, the concept moves, and the next one comes after half as many events: `rows_to_grow`.

    Raises:
        ValueError: a number is out of range.
    """

    cooldown_ms: int = 600_000
    max_retrains_per_day: int = 24
    min_severity: Literal["low", "medium", "high"] = "medium"
    min_labelled_events: int = 1_000
    give_up_after_ms: int = 30 * DAY_MS
    lookback_records: int = 40_000
    max_rows: int = 200_000
    holdout_rows: int = 500
    max_excluded_source_share: float = 0.5
    growth_factor: float = 2.0

    def __post_init__(self) -> None:
        for name in ("max_retrains_per_day", "min_labelled_events", "max_rows", "holdout_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, is {getattr(self, name)}")
        for name in ("cooldown_ms", "give_up_after_ms", "lookback_records"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, is {getattr(self, name)}")
        if not 0 <= self.max_excluded_source_share <= 0.5:
            raise ValueError(
                f"max_excluded_source_share must be between 0 and 0.5, because a majority defines "
                f"what is normal; it is {self.max_excluded_source_share}"
            )


def rows_to_grow(asked: int, fresh: int, trained: int, *, is_better: bool) -> int:
    """Return the rows that have to grow by the policy's factor after a retrain for growth.

    It was requested with ``asked`` rows, ``fresh`` of them new; the chosen window has ``trained``.
    More data of one concept help by each doubling.  If the older rows did not help
    (``trained < asked``) and the version is proved better, the concept has moved in ``fresh``
    events, and half of these are awaited: an interval that halves or doubles by what the last one
    has shown stays within a factor of two of the best.

    >>> rows_to_grow(12_000, 6_000, 12_000, is_better=True)
    12000
    >>> rows_to_grow(14_000, 7_000, 5_000, is_better=False)
    14000
    >>> rows_to_grow(14_000, 7_000, 5_000, is_better=True)
    2500
    """
    if is_better and trained < asked:
        return min(trained, fresh) // 2
    return max(trained, asked)


def is_grown(training_rows: int, fresh_rows: int, policy: RetrainPolicy) -> bool:
    """Whether there are enough labelled events since the newest version to fit without drift.

    >>> policy = RetrainPolicy(growth_factor=2.0)
    >>> is_grown(6_000, 5_999, policy), is_grown(6_000, 6_000, policy)
    (False, True)
    >>> is_grown(1_000, 2_000, policy)
    False
    """
    return fresh_rows >= max((policy.growth_factor - 1) * training_rows, _MIN_GROWTH_ROWS)
