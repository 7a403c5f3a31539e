"""The reader in a thread of its own: one caller at a time, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from stream_monitor.runtime.reader import EventTopicReader, Fetched, FetchPosition

T = TypeVar("T")


class ReaderThread:
    """`EventTopicReader` for coroutines.  Calls queue up behind the one under way."""

    def __init__(self, reader: EventTopicReader) -> None:
        self._reader = reader
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._closed = False

    async def seek(self, positions: Mapping[int, FetchPosition]) -> None:
        """See `EventTopicReader.seek`."""
        if positions:
            await self._call(lambda: self._reader.seek(positions))

    async def drop(self) -> None:
        """Stop reading altogether."""
        await self._call(self._reader.drop)

    async def drop_one(self, partition: int) -> None:
        """Stop reading one partition."""
        await self._call(lambda: self._reader.drop((partition,)))

    async def earliest(self, partition: int) -> int:
        """See `EventTopicReader.earliest`."""
        return await self._call(lambda: self._reader.earliest(partition))

    async def committed(self, partition: int) -> int | None:
        """See `EventTopicReader.committed`."""
        return await self._call(lambda: self._reader.committed(partition))

    async def lags(self) -> dict[int, int]:
        """See `EventTopicReader.lags`."""
        return {} if self._closed else await self._call(self._reader.lags)

    async def read(self) -> Fetched:
        """See `EventTopicReader.read`."""
        return Fetched([], []) if self._closed else await self._call(self._reader.read)

    async def close(self) -> None:
        """Let the connections and the thread go."""
        if not self._closed:
            self._closed = True
            await self._call(self._reader.close)
            self._thread.shutdown(wait=False)

    async def _call(self, action: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, action)
