"""Start and stop a server process; it ends with its parent, even if that is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

STOP_S: Final = 10.0

# The kernel kills the server when the thread that started it ends, because a crash or kill -9 runs
# no clean-up.  1 is PR_SET_PDEATHSIG; without prctl (macOS) only an orderly exit cleans up.  A
# parent that died before the call sends no signal, so the parent is checked afterwards; in a
# container it may be process 1.
_DIE_WITH_PARENT: Final = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (AttributeError, OSError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent process has ended")
os.execvp(sys.argv[2], sys.argv[2:])
"""


class ServerStartError(RuntimeError):
    """A server did not start; the text ends with its output."""


def free_port() -> int:
    """A free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def die_with_parent_command(command: Sequence[str]) -> list[str]:
    """A command that runs ``command`` and is killed when the thread that starts it ends."""
    return [sys.executable, "-I", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


@contextlib.contextmanager
def clean_up_on_sigterm() -> Iterator[None]:
    """Let SIGTERM leave ``with`` blocks as Ctrl-C does, unless the process handles it already."""
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if not ours:
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class ServerProcess:
    """A server process; its output goes to ``log``, and ``folder`` is its working directory."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.command, self.log, self._folder = list(command), log, folder
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; ``None`` before the start."""
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code; ``None`` while it runs, and before the start."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the process in its own session, so that Ctrl-C does not reach it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                die_with_parent_command(self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._folder,
                env=os.environ | self._environment,
            )

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until ``ready`` returns true.

        Raises:
            ServerStartError: the process ended, or was not ready within ``timeout_s`` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self._process is None or self._process.poll() is not None:
                raise ServerStartError(f"{self.command[0]} ended during its start:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ServerStartError(
                    f"{self.command[0]} was not ready after {timeout_s:g} s:\n{self.tail()}"
                )
            time.sleep(0.02)

    def tail(self) -> str:
        """The last lines of its output."""
        lines = self.log.read_text("utf-8", "replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-15:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal (SIGSTOP, SIGCONT, ...)."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End the process; kill it if it does not end in time."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
