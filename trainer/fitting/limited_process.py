"""Runs a process with limits of time and memory, and kills its whole group at the end."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self, TypeAlias

_CHECK_INTERVAL_S: Final = 0.05
_OUTPUT_TAIL_BYTES: Final = 4_096  # bytes of output that are kept
_CHUNK: Final = 65_536
_MAX_LINE: Final = 1_000


EndReason: TypeAlias = Literal["exited", "timeout", "memory"]


class ProcessResult(NamedTuple):
    """The end of a process: by a limit, or by itself with ``code`` (negative: a signal)."""

    end_reason: EndReason
    code: int
    output: str
    seconds: float


def run_limited(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    max_memory_bytes: int,
    on_line: Callable[[str], None],
) -> ProcessResult:
    """Run ``command`` with two more arguments: descriptors of a progress and a lifeline pipe.

    Lines of the progress pipe go to ``on_line``.  The process has a group of its own, which is
    killed in any case: at its end, at a limit, at an exception of ``on_line``.  The lifeline closes
    when this process ends.  ``max_memory_bytes`` limits the resident memory of the group (on
    Linux).
    """
    progress_read, progress_write = os.pipe()
    lifeline_read, lifeline_write = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, progress_read)
        stack.callback(os.close, lifeline_write)
        try:
            process = stack.enter_context(
                subprocess.Popen(  # noqa: S603 - a module of driftline
                    [*command, str(progress_write), str(lifeline_read)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    pass_fds=(progress_write, lifeline_read),
                    start_new_session=True,
                )
            )
        finally:
            os.close(progress_write)
            os.close(lifeline_read)
        watcher = stack.enter_context(_LimitWatcher(process, progress_read, on_line))
        began = time.monotonic()
        try:
            end_reason = watcher.until_ended(began + timeout_s, max_memory_bytes)
        finally:
            _kill_group(process)
        seconds = time.monotonic() - began
        code = process.wait()
        return ProcessResult(end_reason, code, watcher.output_tail(), seconds)


class _LimitWatcher:
    """Reads the pipes of a process and checks its time and memory."""

    def __init__(
        self, process: subprocess.Popen[bytes], progress: int, on_line: Callable[[str], None]
    ) -> None:
        self._process = process
        self._on_line = on_line
        self._output = self._line = b""
        self._pipes = selectors.DefaultSelector()
        if process.stdout is not None:
            self._add(process.stdout.fileno(), self._on_output)
        self._add(progress, self._on_progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipes.close()

    def _add(self, descriptor: int, on_data: Callable[[bytes], None]) -> None:
        os.set_blocking(descriptor, False)
        self._pipes.register(descriptor, selectors.EVENT_READ, on_data)

    def until_ended(self, deadline: float, max_memory_bytes: int) -> EndReason:
        """Wait for the process, not for its pipes, which a child of it may keep open."""
        next_check = 0.0
        while self._process.poll() is None:
            self._read_pipes(_CHECK_INTERVAL_S)
            now = time.monotonic()
            if now > deadline:
                return "timeout"
            if now >= next_check and resident_bytes(self._process.pid) > max_memory_bytes:
                return "memory"
            next_check = now + _CHECK_INTERVAL_S if now >= next_check else next_check
        return "exited"

    def output_tail(self) -> str:
        """Return the end of the output; call it after the process ended."""
        while self._read_pipes(0):
            pass
        return self._output.decode("utf-8", "replace").strip()

    def _read_pipes(self, timeout_s: float) -> bool:
        received = False
        for key, _ in self._pipes.select(timeout_s):
            data = os.read(key.fd, _CHUNK)
            if not data:
                self._pipes.unregister(key.fd)
            key.data(data)
            received = True
        return received

    def _on_output(self, data: bytes) -> None:
        self._output = (self._output + data)[-_OUTPUT_TAIL_BYTES:]

    def _on_progress(self, data: bytes) -> None:
        *lines, rest = (self._line + data).split(b"\n")
        self._line = rest[:_MAX_LINE]
        for line in lines:
            self._on_line(line[:_MAX_LINE].decode("utf-8", "replace"))


def resident_bytes(group: int) -> int:
    """Return the resident memory of a process group, shared pages counted each; 0 off Linux."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which may contain anything: state, parent, group, ...; rss is 24th.
            fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue  # the process ended
        if int(fields[2]) == group:
            total += int(fields[21]) * resource.getpagesize()
    return total


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
