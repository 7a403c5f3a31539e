"""Freed memory goes back to the system."""

from __future__ import annotations

import asyncio
import ctypes
from pathlib import Path

import pytest

from stream_monitor.runtime.memory import give_back

BLOCK = 4_000
"""Bytes; larger than what Python's own allocator takes, smaller than what glibc maps by itself."""
N_BLOCKS = 20_000


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc alone keeps what is freed"
)
def test_what_is_free_below_a_block_in_use_is_given_back() -> None:
    blocks = [bytearray(BLOCK) for _ in range(N_BLOCKS)]
    last = blocks[-1]
    blocks.clear()
    before_mb = resident_mb()

    asyncio.run(give_back())

    assert len(last) == BLOCK
    assert before_mb - resident_mb() > 0.8 * N_BLOCKS * BLOCK / 2**20
