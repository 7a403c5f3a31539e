"""Samples the ids that wait for their label, by their hash, where more would wait than allowed.

The sample is halved when too many wait, and widened when few wait.  When it is widened, predictions
wait at once; labels without a prediction only a horizon later, because until then their prediction
may have been sampled out, and such labels would only take space.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, field

_HASH_BITS: Final = 64
_FEW: Final = 4  # a quarter doubled is a half, as after a halving: no oscillation


class IdSample(msgspec.Struct, array_like=True):
    """Ids below ``threshold`` wait, their labels without a prediction below ``early_threshold``.

    The sample was halved ``halvings`` times; ``widened_ms`` are the watermarks at which halvings
    were undone, for a horizon each.
    """

    halvings: Annotated[int, Meta(ge=0)] = 0
    widened_ms: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.halvings + len(self.widened_ms) > _HASH_BITS:
            raise ValueError("labels: the sample was halved more often than a hash has bits")

    @property
    def threshold(self) -> int:
        """Predictions whose id has a hash below it wait for their label."""
        return (1 << _HASH_BITS) >> self.halvings

    @property
    def early_threshold(self) -> int:
        """Labels whose id has a hash below it wait for their prediction."""
        return self.threshold >> len(self.widened_ms)

    def exceeds(self, waiting: int, most: int) -> bool:
        """Whether to halve: more than ``most`` wait."""
        return waiting > most and self.halvings < _HASH_BITS

    def is_sparse(self, waiting: int, most: int) -> bool:
        """Whether to widen: the sample was halved, and at most a quarter of ``most`` waits."""
        return self.halvings > 0 and waiting * _FEW <= most

    def halve(self) -> None:
        """Remove half of the ids from the sample."""
        self.halvings += 1
        if self.widened_ms:
            self.widened_ms.pop()

    def widen(self, watermark_ms: int) -> None:
        """Undo the latest halving."""
        self.halvings -= 1
        self.widened_ms.append(watermark_ms)

    def expire_widenings(self, expiry_ms: int) -> None:
        """Forget widenings up to ``expiry_ms``: predictions from before have expired."""
        while self.widened_ms and self.widened_ms[0] <= expiry_ms:
            del self.widened_ms[0]
