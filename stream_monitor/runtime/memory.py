"""Gives memory back to the system that is no longer used.

A backlog is read in large batches.  What they leave behind is free, but glibc keeps whatever lies
below a block that is still used, so each backlog would leave the process larger than before.
"""

from __future__ import annotations

import asyncio
import ctypes
from typing import Final

TRIM_EVERY_S: Final = 30.0
_MALLOC_TRIM: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""None where the C library is not glibc: others give back by themselves, or cannot."""


async def give_back() -> None:
    """Return whole free pages, wherever they lie; takes milliseconds, in a thread."""
    if _MALLOC_TRIM is not None:
        await asyncio.to_thread(_MALLOC_TRIM, ctypes.c_size_t(0))
