"""Exact counts of the predictions and labels of one model, by outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

_LEVELS: Final = 65
_BUCKETS: Final = 64


class LabelCounts:
    """Counts since the beginning of the partition.

    ``joined``: labels with their prediction; ``self_contained`` of them contained it themselves.
    ``expired``: predictions without a label within the horizon; ``unmatched``: labels without a
    prediction within it.  ``repeated``: predictions or labels whose id was already waiting.
    ``sampled_out`` predictions and ``labels_sampled_out`` labels are outside the sample.

    Predictions and joins are also counted by the level of their hash, its number of leading zeros:
    when the sample is halved, coverage is that of the ids still in it, and unbiased.  A level that
    is sampled again starts at zero, because its predictions that were removed could not be joined.
    """

    __slots__ = (
        "_delays",
        "_joined",
        "_kept",
        "expired",
        "joined",
        "labels_sampled_out",
        "repeated",
        "sampled_out",
        "self_contained",
        "unmatched",
    )

    def __init__(self) -> None:
        self.joined = 0
        self.self_contained = 0
        self.expired = 0
        self.unmatched = 0
        self.repeated = 0
        self.sampled_out = 0
        self.labels_sampled_out = 0
        self._kept = [0] * _LEVELS
        self._joined = [0] * _LEVELS
        self._delays = [0] * _BUCKETS

    def count_prediction(self, id_hash: int) -> None:
        """Count a prediction of the sample."""
        self._kept[64 - id_hash.bit_length()] += 1

    def count_predictions(self, ids: Iterable[int]) -> None:
        """Count predictions of the sample."""
        for bits, count in Counter(map(int.bit_length, ids)).items():
            self._kept[64 - bits] += count

    def count_labelled(self, id_hash: int) -> None:
        """Count a prediction of the sample that received its label."""
        self._joined[64 - id_hash.bit_length()] += 1

    def reset_level(self, level: int) -> None:
        """Start the counts of a level at zero: its ids are sampled again."""
        self._kept[level] = self._joined[level] = 0

    def count_delay(self, delay_ms: int) -> None:
        """Count a label by its delay after the prediction, in event time."""
        self._delays[min(delay_ms.bit_length(), _BUCKETS - 1)] += 1

    def coverage(self, halvings: int) -> float:
        """Share of the predictions in the sample that got a label so far; 0 without any."""
        kept = sum(self._kept[halvings:])
        return sum(self._joined[halvings:]) / kept if kept else 0.0

    def delay_quantile_ms(self, share: float) -> int | None:
        """An upper bound, within a factor of 2, of the ``share`` quantile of the label delay.

        >>> counts = LabelCounts()
        >>> for delay_ms in (5, 6, 7, 1000):
        ...     counts.count_delay(delay_ms)
        >>> counts.delay_quantile_ms(0.5), counts.delay_quantile_ms(1.0)
        (7, 1023)
        """
        total = sum(self._delays)
        seen = 0
        for bits, count in enumerate(self._delays):
            seen += count
            if total and seen >= share * total and seen:
                return (1 << bits) - 1
        return None

    def snapshot(self) -> list[Any]:
        """The counts as plain data."""
        plain = [
            self.joined,
            self.self_contained,
            self.expired,
            self.unmatched,
            self.repeated,
            self.sampled_out,
            self.labels_sampled_out,
        ]
        return [plain, list(self._kept), list(self._joined), list(self._delays)]

    @classmethod
    def restore(cls, data: Sequence[Any]) -> LabelCounts:
        """Continue from `snapshot`.  Raises ValueError where it does not fit."""
        plain, kept, joined, delays = data
        if any(type(n) is not int or n < 0 for n in [*plain, *kept, *joined, *delays]):
            raise ValueError("labels: counts are not natural numbers")
        if (len(kept), len(joined), len(delays)) != (_LEVELS, _LEVELS, _BUCKETS):
            raise ValueError("labels: histograms of another length")
        counts = cls()
        (
            counts.joined,
            counts.self_contained,
            counts.expired,
            counts.unmatched,
            counts.repeated,
            counts.sampled_out,
            counts.labels_sampled_out,
        ) = plain
        counts._kept, counts._joined, counts._delays = list(kept), list(joined), list(delays)
        return counts
