"""Fixed-point integers, whose sums do not depend on the order of adding."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_monitor.ingest.batch import Bools, Floats, Ints

__all__ = ["FIXED_POINT", "Bools", "Floats", "Ints", "to_fixed"]

FIXED_POINT: Final = 1 << 20
"""The fixed-point integer of 1.0."""


def to_fixed(values: Floats) -> Ints:
    """Round finite values, at most 2^42 in size, to fixed point; the same shape.

    Scale raw values of any size to their reference first.

    >>> to_fixed(np.array([1.0, -0.5])).tolist()
    [1048576, -524288]
    """
    return np.rint(values * FIXED_POINT).astype(np.int64)
