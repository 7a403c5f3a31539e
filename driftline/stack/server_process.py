"""Server processes of the local stack: quiet, on loopback, and never left behind."""

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

# The kernel kills the server when the thread that started it is gone, however it went: a crash or
# kill -9 runs no clean-up of ours.  1 is PR_SET_PDEATHSIG; where there is no prctl (macOS) only an
# exit in order cleans up.  A parent that died before the call sends no signal any more, hence the
# look at who the parent is; it may well be process 1, in a container.
_DIE_WITH_PARENT: Final = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (AttributeError, OSError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit("whoever started this is gone")
os.execvp(sys.argv[2], sys.argv[2:])
"""


class ServerStartError(RuntimeError):
    """A server of the local stack did not come up; the text ends with what it said."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def die_with_parent_command(command: Sequence[str]) -> list[str]:
    """``command``, made to die with the thread that starts it."""
    return [sys.executable, "-I", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


@contextlib.contextmanager
def clean_up_on_sigterm() -> Iterator[None]:
    """Let SIGTERM leave ``with`` blocks as Ctrl-C does, unless somebody handles it already."""
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
    """One server; its output goes to ``log``, and it runs in ``folder``, if one is given."""

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
        """The process, while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, in a session of its own: Ctrl-C is for us, who stop it in order."""
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
        """Wait until ``ready``.  Raises `ServerStartError` if it ends or takes longer."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self._process is None or self._process.poll() is not None:
                raise ServerStartError(f"{self.command[0]} ended at its start:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ServerStartError(
                    f"{self.command[0]} was not ready after {timeout_s:g} s:\n{self.tail()}"
                )
            time.sleep(0.02)

    def tail(self) -> str:
        """The end of what it said."""
        lines = self.log.read_text("utf-8", "replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-15:])

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal (SIGSTOP, SIGCONT, ...)."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it without warning, as a fault would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and end it."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
