"""Freed memory goes back to the system, and large blocks leave no gaps."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from stream_monitor.runtime.memory import IS_GLIBC, trim_heap

BLOCK = 4_000
"""Bytes; larger than what Python's own allocator takes, smaller than what glibc maps by itself."""
N_BLOCKS = 20_000
LARGE_BLOCKS = """
import ctypes
from stream_monitor.runtime.memory import fix_mmap_threshold
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = type("Info", (ctypes.Structure,), {"_fields_": [
    (name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", *"abcdef")
]})
SETTING
del bytearray(8 << 20)[:]
before = libc.mallinfo2().hblks
blocks = [bytearray(1 << 20) for _ in range(20)]
print(libc.mallinfo2().hblks - before)
"""
"""How many of twenty blocks are mapped by themselves, once a larger one was freed."""

pytestmark = pytest.mark.skipif(not IS_GLIBC, reason="glibc alone keeps what is freed")


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def test_free_memory_below_a_used_block_is_returned() -> None:
    blocks = [bytearray(BLOCK) for _ in range(N_BLOCKS)]
    last = blocks[-1]
    blocks.clear()
    before_mb = resident_mb()

    asyncio.run(trim_heap())

    assert len(last) == BLOCK
    assert before_mb - resident_mb() > 0.8 * N_BLOCKS * BLOCK / 2**20


def large_blocks_mapped(setting: str) -> int:
    program = LARGE_BLOCKS.replace("SETTING", setting)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return int(found.stdout)


def test_large_blocks_are_mapped_separately() -> None:
    assert large_blocks_mapped("") == 0
    assert large_blocks_mapped("fix_mmap_threshold()") == 20
