"""Ids of events: UUID version 7, so that they sort by time and never meet."""

from __future__ import annotations

import random


def uuid7(time_ms: int) -> str:
    """A new UUIDv7 (RFC 9562).  Python reseeds ``random`` in a forked child: ids stay apart.

    >>> uuid7(1384903980000)[:14]
    '014272b5-b3e0-'
    """
    bits = random.getrandbits(74)
    high, low = bits >> 62, bits & 0x3FFFFFFFFFFFFFFF | 0x8000000000000000
    stamp = time_ms & 0xFFFFFFFFFFFF
    tail = f"{low:016x}"
    return f"{stamp >> 16:08x}-{stamp & 0xFFFF:04x}-7{high:03x}-{tail[:4]}-{tail[4:]}"
