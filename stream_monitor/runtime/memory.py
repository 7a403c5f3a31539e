"""Keeps a worker's memory from growing though what it uses does not.

A backlog is read in large blocks.  glibc begins by mapping such blocks one by one, but once the
first is freed it takes the next ones from its heap, where the gaps they leave fill with small ones
and never close: in nine minutes of faults a worker had 32 MB of gaps, with 10 MB where large blocks
stay apart.  And what is free below a block in use it keeps until it is told to give it back.

Where the C library is not glibc none of this applies.
"""

from __future__ import annotations

import asyncio
import ctypes
from typing import Final

TRIM_EVERY_S: Final = 30.0
LARGE_BYTES: Final = 128 << 10
"""From which size on a block is mapped by itself; it is where glibc begins, too."""
_M_MMAP_THRESHOLD: Final = -3
_LIBC: Final = ctypes.CDLL(None)
IS_GLIBC: Final = hasattr(_LIBC, "malloc_trim")


def fix_mmap_threshold() -> None:
    """Map large blocks one by one for good; a setting of the process."""
    if IS_GLIBC:
        _LIBC.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


async def trim_heap() -> None:
    """Return whole free pages, wherever they lie; takes milliseconds, in a thread."""
    if IS_GLIBC:
        await asyncio.to_thread(_LIBC.malloc_trim, ctypes.c_size_t(0))
