"""Samples the ids whose records wait for a counterpart, by hash, if more than the limit would wait.

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
    """A sample of ids by hash: one threshold for predictions, another for early labels.

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
        """The hash below which predictions wait for their label."""
        return (1 << _HASH_BITS) >> self.halvings

    @property
    def early_threshold(self) -> int:
        """The hash below which labels wait for their prediction."""
        return self.threshold >> len(self.widened_ms)

    def exceeds(self, waiting: int, most: int) -> bool:
        """Whether to halve the sample, because more than ``most`` records wait."""
        return waiting > most and self.halvings < _HASH_BITS

    def is_sparse(self, waiting: int, most: int) -> bool:
        """Whether to widen a halved sample, because at most a quarter of ``most`` records wait."""
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
