"""Exact counts of the predictions and labels of one model, by outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, field

_LEVELS: Final = 65

_Count: TypeAlias = Annotated[int, Meta(ge=0)]
_ByLevel: TypeAlias = Annotated[list[_Count], Meta(min_length=_LEVELS, max_length=_LEVELS)]


class LabelCounts(msgspec.Struct, array_like=True):
    """Counts since the beginning of the partition.

    ``joined``: labels with their prediction; ``self_contained`` of them contained it themselves.
    ``expired``: predictions without a label within the horizon; ``unmatched``: labels without a
    prediction within it.  ``repeated``: predictions or labels whose id was already waiting.
    ``sampled_out`` predictions and ``labels_sampled_out`` labels are outside the sample.

    Predictions and joins are also counted by the level of their hash, its number of leading zeros:
    when the sample is halved, coverage is that of the ids still in it, and unbiased.  A level that
    is sampled again starts at zero, because its predictions that were removed could not be joined.
    """

    joined: _Count = 0
    self_contained: _Count = 0
    expired: _Count = 0
    unmatched: _Count = 0
    repeated: _Count = 0
    sampled_out: _Count = 0
    labels_sampled_out: _Count = 0
    kept_by_level: _ByLevel = field(default_factory=lambda: [0] * _LEVELS)
    joined_by_level: _ByLevel = field(default_factory=lambda: [0] * _LEVELS)

    def count_prediction(self, id_hash: int) -> None:
        """Count a prediction of the sample."""
        self.kept_by_level[64 - id_hash.bit_length()] += 1

    def count_predictions(self, ids: Iterable[int]) -> None:
        """Count predictions of the sample."""
        for bits, count in Counter(map(int.bit_length, ids)).items():
            self.kept_by_level[64 - bits] += count

    def count_labelled(self, id_hash: int) -> None:
        """Count a prediction of the sample that received its label."""
        self.joined_by_level[64 - id_hash.bit_length()] += 1

    def reset_level(self, level: int) -> None:
        """Start the counts of a level at zero: its ids are sampled again."""
        self.kept_by_level[level] = self.joined_by_level[level] = 0

    def coverage(self, halvings: int) -> float:
        """Share of the predictions in the sample that got a label so far; 0 without any."""
        kept = sum(self.kept_by_level[halvings:])
        return sum(self.joined_by_level[halvings:]) / kept if kept else 0.0
