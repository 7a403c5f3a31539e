"""A TCP proxy that can be slow, silent, or lose what the server answers."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import threading
from typing import Final

_CHUNK: Final = 1 << 16
_LOOK_S: Final = 0.02


class Line(enum.Enum):
    """What the line does to bytes."""

    OPEN = "they pass"
    HOLE = "they wait, in both directions, until the line is open again"
    DEAF = "requests arrive, answers are thrown away and their connection is cut"


class Proxy:
    """Forwards connections to ``host:port``, from a thread and loop of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.target_port = port
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))  # from here on no other process gets the port
        self.port: int = self._listener.getsockname()[1]
        self.line = Line.OPEN
        self.delay_s = 0.0
        self.thrown_away = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def start(self) -> None:
        """Accept connections from now on."""
        self._thread.start()
        opened = asyncio.start_server(self._accepted, sock=self._listener)
        self._server = asyncio.run_coroutine_threadsafe(opened, self._loop).result(5)

    def stop(self) -> None:
        """Cut every connection."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _cut(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(
        self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server_out = None
        try:
            server_in, server_out = await asyncio.open_connection(*self._target)
            pumps = [
                asyncio.ensure_future(self._pump(client_in, server_out, answers=False)),
                asyncio.ensure_future(self._pump(server_in, client_out, answers=True)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the server is away, or we are stopped
        finally:
            self._tasks.discard(task)
            for writer in filter(None, (client_out, server_out)):
                with contextlib.suppress(OSError):
                    writer.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(_CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                while self.line is Line.HOLE:  # noqa: ASYNC110 - set by another thread
                    await asyncio.sleep(_LOOK_S)
                if answers and self.line is Line.DEAF:
                    self.thrown_away += 1
                    return
                sink.write(chunk)
                await sink.drain()
