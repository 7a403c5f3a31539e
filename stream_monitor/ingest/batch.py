"""Columns: the form in which the core works on events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from producer.events import Prediction, Value

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Inference events of one (model, version), in log order, as columns of equal length n.

    ``offsets``, ``times_ms`` (event time) and ``ids`` (64-bit hashes) have shape (n,).
    ``columns`` maps a feature to its n values as they were sent; an absent feature is ``None``.
    ``segments`` are such columns too: what events say of themselves beside their features.
    """

    model: str
    version: str
    offsets: Ints
    times_ms: Ints
    ids: NDArray[np.uint64]
    predictions: Sequence[Prediction]
    columns: dict[str, Sequence[Value]]
    segments: dict[str, Sequence[Value]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, part: slice) -> EventBatch:
        """The events of a slice, in the same order."""
        return EventBatch(
            self.model,
            self.version,
            self.offsets[part],
            self.times_ms[part],
            self.ids[part],
            self.predictions[part],
            {name: column[part] for name, column in self.columns.items()},
            {name: column[part] for name, column in self.segments.items()},
        )
