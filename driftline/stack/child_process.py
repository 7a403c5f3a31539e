"""Start and stop processes of driftline; they end with their parent, even if it is killed."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from driftline.stack.server_process import die_with_parent_command
from producer.safe_path import python_command, safe_environment

STOP_S: Final = 18.0
"""A worker needs less time to release its partitions."""
TAIL_LINES: Final = 20


class ChildProcess:
    """A Python module of driftline as a process; stdout is read by line, stderr goes to a file.

    With a ``niceness`` it leaves the processor to the others.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        niceness: int = 0,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        nice = ["nice", "-n", str(niceness)] if niceness and shutil.which("nice") else []
        with self.log.open("ab") as errors:  # it may have been started before
            self._process = subprocess.Popen(  # noqa: S603 - our own modules
                die_with_parent_command([*nice, *python_command(module, *arguments)]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=safe_environment({**os.environ, **environment}),
                start_new_session=True,  # Ctrl-C reaches only the parent, which stops them in order
            )
        self._reader = threading.Thread(target=self._read, name=f"{name}-lines", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        stdout = self._process.stdout
        if stdout is not None:
            for line in stdout:
                self.lines.put(line)

    @property
    def exit_code(self) -> int | None:
        """The exit code; ``None`` while the process runs."""
        return self._process.poll()

    def new_lines(self) -> list[bytes]:
        """The lines of stdout since the last call; after the process ended, all remaining lines."""
        if self.exit_code is not None:
            self._reader.join(5)
        found = []
        while not self.lines.empty():
            found.append(self.lines.get())
        return found

    def tail(self) -> str:
        """The last lines of stderr."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-TAIL_LINES:])

    def stop(self) -> None:
        """End the process; kill it if it does not end in time."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()
