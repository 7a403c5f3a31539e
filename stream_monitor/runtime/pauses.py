"""Interrupts long work, so that other tasks of the event loop run."""

from __future__ import annotations

import asyncio
import time
from typing import Final

MAX_RUN_S: Final = 0.05
"""How long work runs before other tasks get their turn."""


class Pauses:
    """The pauses of work that is done step by step, and runs for ``max_run_s`` between them."""

    def __init__(self, max_run_s: float = MAX_RUN_S) -> None:
        self._max_run_s = max_run_s
        self._since_s = time.monotonic()
        self.paused_s = 0.0
        """The time that other tasks took."""

    async def after_step(self) -> None:
        """Let other tasks run, if they have waited for long enough."""
        now_s = time.monotonic()
        if now_s - self._since_s >= self._max_run_s:
            await asyncio.sleep(0)
            self._since_s = time.monotonic()
            self.paused_s += self._since_s - now_s
