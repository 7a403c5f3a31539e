"""Samples the ids that wait for their label, by their hash, where more would wait than allowed.

The sample is halved when too many wait, and widened when few wait.  When it is widened, predictions
wait at once; labels without a prediction only a horizon later, because until then their prediction
may have been sampled out, and such labels would only take space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_HASH_BITS: Final = 64
_FEW: Final = 4  # a quarter doubled is a half, as after a halving: no oscillation


class IdSample:
    """Ids below ``threshold`` wait, their labels without a prediction below ``early_threshold``.

    ``widened_ms`` are the watermarks at which halvings were undone, for a horizon each.
    """

    __slots__ = ("early_threshold", "halvings", "threshold", "widened_ms")

    def __init__(self, halvings: int = 0, widened_ms: Sequence[int] = ()) -> None:
        """Start with a sample that was halved ``halvings`` times.

        Raises:
            ValueError: there are more halvings than a hash has bits.
        """
        self.halvings = halvings
        self.widened_ms = list(widened_ms)
        if halvings < 0 or halvings + len(self.widened_ms) > _HASH_BITS:
            raise ValueError("labels: the sample was halved more often than a hash has bits")
        if any(type(ms) is not int for ms in self.widened_ms):
            raise ValueError("labels: the sample was widened at no time")
        self._bound()

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
        self._bound()

    def widen(self, watermark_ms: int) -> None:
        """Undo the latest halving."""
        self.halvings -= 1
        self.widened_ms.append(watermark_ms)
        self._bound()

    def expire_widenings(self, expiry_ms: int) -> None:
        """Forget widenings up to ``expiry_ms``: predictions from before have expired."""
        while self.widened_ms and self.widened_ms[0] <= expiry_ms:
            del self.widened_ms[0]
        self._bound()

    def _bound(self) -> None:
        self.threshold = (1 << _HASH_BITS) >> self.halvings
        self.early_threshold = self.threshold >> len(self.widened_ms)
