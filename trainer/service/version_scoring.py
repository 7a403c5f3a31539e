"""Runs the scorer process, and receives its results."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
from collections.abc import Callable
from typing import IO, Final

import structlog

from producer.failpoints import ENVIRONMENT_VARIABLE
from producer.safe_path import python_command, safe_environment
from stream_monitor.health import HealthProblem, scoring_stopped
from trainer.jobs.comparisons import Position
from trainer.service.context import TrainerContext
from trainer.service.scored_events import (
    ChampionsChanged,
    Message,
    ScoredEvents,
    ScorerFailed,
    ScorerRequest,
    ScorerStatus,
    read_message,
    write_message,
)

log = structlog.get_logger(__name__)

MAX_QUEUED: Final = 8
"""Messages that wait for the trainer; a full pipe stops the process meanwhile."""
RESTART_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
MAX_CRASHES: Final = 3
"""Processes that may end without progress, before reading continues at the end of the topic."""
_STOP_POLL_S: Final = 0.05
START_DELAY_S: Final = 5.0
"""A trainer that has just started continues its jobs first: the process costs seconds to start."""
SILENT_S: Final = 30.0
"""Without a message for so long, labelled events are not scored; a start takes some seconds."""


class VersionScoring:
    """The scorer process of a trainer: started when a model has a champion, restarted when it ends.

    ``now_s`` is monotonic seconds.
    """

    def __init__(self, context: TrainerContext, start_delay_s: float = START_DELAY_S) -> None:
        self._context = context
        self._start_delay_s = start_delay_s
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._messages: queue.Queue[Message | None] = queue.Queue(MAX_QUEUED)
        self._champions: dict[str, str] = {}
        self._failures = self._crashes = 0
        self._restart_s = 0.0
        self._message_s: float | None = None
        self._problem: HealthProblem | None = None
        self._why = ""
        self._known_left_out: set[str] = set()
        self.status: ScorerStatus | None = None

    def follow(
        self, champions: dict[str, str], positions: Callable[[str], list[Position]], now_s: float
    ) -> None:
        """Follow these models; the process is started, restarted or informed if it is needed.

        ``positions`` returns the recorded positions of a model.
        """
        if self._message_s is None:  # the first call
            self._restart_s = now_s + self._start_delay_s
        if not self._champions:
            self._message_s = now_s  # no message was due before
        if self._process is not None and champions.keys() != self._champions.keys():
            self.restart()
        if self._process is None and champions and now_s >= self._restart_s:
            self._start(champions, {model: positions(model) for model in champions})
        elif self._process is not None and champions != self._champions:
            with contextlib.suppress(OSError):  # it has ended: the next start has the champions
                write_message(_stdin(self._process), ChampionsChanged(champions=champions))
        self._champions = dict(champions)

    def poll(self, now_s: float) -> list[ScoredEvents]:
        """Return the results since the last call."""
        found: list[ScoredEvents] = []
        while not self._messages.empty():
            message = self._messages.get()
            if message is None or isinstance(message, ScorerFailed):
                self._ended("" if message is None else message.why, now_s)
                break
            self._message_s = now_s
            if isinstance(message, ScorerStatus):
                self._take_status(message)
            else:
                found.append(message)
                self._failures = self._crashes = 0
        return found

    @property
    def must_skip(self) -> bool:
        """Whether the next process starts at the topic's end, after crashes without progress.

        The recorded positions must be deleted before it starts.
        """
        return self._crashes >= MAX_CRASHES

    def restart(self) -> None:
        """End the process and drop what it has sent; the next `follow` starts another one."""
        self._stop()
        self._restart_s = 0.0

    def close(self) -> None:
        """End the process."""
        self._stop()

    @property
    def problem(self) -> HealthProblem | None:
        """The problem that labelled events are not scored, as of the last `check`."""
        return self._problem

    def check(self, now_s: float, now_ms: int) -> HealthProblem | None:
        """Return the problem that labelled events are not scored; ``None`` if they are."""
        silent = (
            bool(self._champions)
            and self._message_s is not None
            and now_s - self._message_s > SILENT_S
        )
        if not silent:
            self._problem = None
        elif self._problem is None:
            self._problem = scoring_stopped(self._context.topics.events, now_ms, self._why)
        return self._problem

    def _start(self, champions: dict[str, str], positions: dict[str, list[Position]]) -> None:
        context, at_end = self._context, self.must_skip
        if at_end:
            self._crashes = 0
            log.warning(
                "labelled events are skipped: reading continues at the end of the event topic",
                why=f"{MAX_CRASHES} scorer processes ended before they scored anything",
            )
        request = ScorerRequest(
            client=dict(context.kafka.client()),
            topic=context.topics.events,
            data_dir=str(context.data_dir),
            shards=context.shards,
            lookback_records=0 if at_end else context.policy.lookback_records,
            max_memory_bytes=context.limits.max_memory_bytes,
            policy=context.swap,
            metric=context.gate.metric,
            champions=champions,
            positions={} if at_end else positions,
            pools=[model for model in champions if context.mode_of(model) == "pool"],
        )
        environment = safe_environment(os.environ)
        environment.pop(ENVIRONMENT_VARIABLE, None)
        environment["OMP_NUM_THREADS"] = "1"  # threads wait for each other on small batches
        self._messages = queue.Queue(MAX_QUEUED)
        self._process = process = subprocess.Popen(  # noqa: S603 - a module of driftline
            python_command("trainer.service.scorer_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._thread = threading.Thread(
            target=_receive, args=(process, self._messages), name="version-scoring", daemon=True
        )
        self._thread.start()
        with contextlib.suppress(OSError):  # it ended already: its messages end too
            write_message(_stdin(process), request)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        while self._thread is not None and self._thread.is_alive():  # it may wait for space
            with contextlib.suppress(queue.Empty):
                self._messages.get(timeout=_STOP_POLL_S)
        with contextlib.suppress(OSError):
            _stdin(process).close()

    def _ended(self, why: str, now_s: float) -> None:
        """Plan a restart after the process ended."""
        code = None if self._process is None else self._process.wait()
        self._stop()
        self._why = why or f"the process ended with {code}"
        planned = not why and code == 0
        wait_s = 0.0 if planned else RESTART_S[min(self._failures, len(RESTART_S) - 1)]
        if not planned:
            log.warning("the scorer process ended", why=self._why, restart_after_s=wait_s)
        self._failures += not planned
        self._crashes += not planned and not why
        self._restart_s = now_s + wait_s

    def _take_status(self, status: ScorerStatus) -> None:
        self.status = status
        for version, why in status.left_out.items():
            if version not in self._known_left_out:
                self._known_left_out.add(version)
                log.warning(
                    "a stored version cannot be scored: it is not compared with the champion",
                    version=version,
                    why=why,
                )


def _stdin(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdin is None:
        raise OSError("the process has no stdin")
    return process.stdin


def _receive(process: subprocess.Popen[bytes], messages: queue.Queue[Message | None]) -> None:
    """Pass on the messages of a process; ``None`` at its end."""
    if process.stdout is None:
        return
    with contextlib.suppress(OSError, ValueError), process.stdout as stream:
        while (message := read_message(stream)) is not None:
            messages.put(message)
    messages.put(None)
