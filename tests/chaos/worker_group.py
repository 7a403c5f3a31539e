"""Three monitors and a supervisor that restarts each one that ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from driftline.stack.server_process import die_with_parent_command
from producer.failpoints import ENVIRONMENT_VARIABLE, EXIT_CODE
from stream_monitor.runtime.worker import UNREACHABLE

KILLED: Final = (-signal.SIGKILL, EXIT_CODE)
_AS_ASKED: Final = (0, -signal.SIGTERM, *KILLED)
"""Exit codes of a worker that a test stopped, killed or armed with a failpoint."""
_POLL_S: Final = 0.05
_RESTART_DELAY_S: Final = 0.5
"""Delay before the supervisor restarts a worker that ended by itself."""


class Kills(NamedTuple):
    """Numbers of processes that ended: by `kill -9`, and at a failpoint or a record."""

    killed: int = 0
    at_steps: int = 0

    def plus(self, other: Kills) -> Kills:
        """The sum of both."""
        return Kills(self.killed + other.killed, self.at_steps + other.at_steps)


class WorkerGroup:
    """Workers by number under a supervisor; their logs are in ``folder``."""

    def __init__(
        self, program: list[str], environment: Mapping[str, str], folder: Path, n_workers: int = 3
    ) -> None:
        self._program, self._environment, self._folder = program, environment, folder
        self._workers: list[subprocess.Popen[bytes] | None] = [None] * n_workers
        self._armed: dict[int, str] = {}
        self._log_size_before = [0] * n_workers
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.exits: Counter[int] = Counter()
        self.unasked: list[int] = []
        """Exit codes of workers that ended by themselves.  A worker that finds a server unreachable
        at its start ends and is restarted; such exits are not counted."""
        self._stopped: set[int] = set()
        self._dying = False
        self._keeper = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        self._keeper.start()

    def __len__(self) -> int:
        return len(self._workers)

    def pid(self, number: int) -> int:
        """The process id of a worker; waits until it runs."""
        while True:
            worker = self._workers[number]
            if worker is not None and worker.poll() is None:
                return worker.pid
            time.sleep(_POLL_S)

    def serving(self, number: int) -> bool:
        """Whether a worker runs and has acquired a partition since its start."""
        return self.has_logged(number, "owned")

    def has_logged(self, number: int, event: str) -> bool:
        """Whether a worker runs and has logged this event since its start."""
        worker = self._workers[number]
        return worker is not None and worker.poll() is None and self._log_text(number, event)

    def _log_text(self, number: int, event: str) -> bool:
        with self._log(number).open("rb") as log:
            log.seek(self._log_size_before[number])
            return f'"event": "{event}"'.encode() in log.read()

    def signal(self, number: int, what: signal.Signals) -> int:
        """Send a worker a signal; returns its process id."""
        pid = self.pid(number)
        if what in (signal.SIGKILL, signal.SIGTERM):
            self._stopped.add(pid)
        os.kill(pid, what)
        return pid

    @contextlib.contextmanager
    def dying(self) -> Iterator[None]:
        """Within this context, exits with `EXIT_CODE` are expected."""
        self._dying = True
        try:
            yield
        finally:
            self._dying = False

    def change(self, *, program: Sequence[str] = (), **environment: str) -> None:
        """Restart the workers in turn with another program or with other settings."""
        self._program[: len(program)] = program
        self._environment = {**self._environment, **environment}
        for number in range(len(self)):
            pid = self.signal(number, signal.SIGTERM)
            while not self.gone(number, pid):
                time.sleep(_POLL_S)

    def kill(self, number: int) -> None:
        """Kill a worker without warning; the supervisor restarts it."""
        self.signal(number, signal.SIGKILL)

    def arm(self, number: int, failpoint: str) -> int:
        """Kill a worker and restart it with a failpoint; returns the new process id."""
        with self._lock:
            self._armed[number] = failpoint
        old = self.signal(number, signal.SIGKILL)
        while self.pid(number) == old:
            time.sleep(_POLL_S)
        return self.pid(number)

    def gone(self, number: int, pid: int) -> bool:
        """Whether the supervisor noticed that this process ended."""
        worker = self._workers[number]
        return worker is None or worker.pid != pid

    def close(self) -> None:
        """Kill all workers and end the supervisor."""
        self._over.set()
        self._keeper.join(10)
        for worker in self._workers:
            if worker is not None:
                worker.kill()
                worker.wait()

    def stop(self) -> list[int]:
        """Stop all workers; returns their exit codes."""
        self._over.set()
        self._keeper.join(10)
        running = [worker for worker in self._workers if worker is not None]
        for worker in running:
            worker.terminate()
        return [worker.wait(90) for worker in running]

    def _log(self, number: int) -> Path:
        return self._folder / f"worker-{number}.log"

    def _keep(self) -> None:
        not_before = [0.0] * len(self._workers)
        while not self._over.wait(_POLL_S):
            for number, worker in enumerate(self._workers):
                if worker is None:
                    if time.monotonic() >= not_before[number]:
                        self._workers[number] = self._start(number)
                elif worker.poll() is not None:
                    self.exits[worker.returncode] += 1
                    if not self._was_asked(number, worker):
                        self.unasked.append(worker.returncode)
                    killed = worker.returncode in KILLED
                    not_before[number] = time.monotonic() + (0.0 if killed else _RESTART_DELAY_S)
                    self._workers[number] = None

    def _was_asked(self, number: int, worker: subprocess.Popen[bytes]) -> bool:
        if worker.pid in self._stopped or self._dying:
            return worker.returncode in _AS_ASKED
        return worker.returncode == UNREACHABLE and not self._log_text(number, "owned")

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        with self._lock:
            failpoint = self._armed.pop(number, "")
        with self._log(number).open("ab") as log:
            self._log_size_before[number] = log.tell()
            worker = subprocess.Popen(
                die_with_parent_command([sys.executable, *self._program]),
                env={**os.environ, **self._environment, ENVIRONMENT_VARIABLE: failpoint},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if failpoint:
            self._stopped.add(worker.pid)
        return worker
