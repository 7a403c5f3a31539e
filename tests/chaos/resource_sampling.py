"""Memory, files, threads and tasks of processes over time, and whether they grow."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Final, NamedTuple

EVERY_S: Final = 5.0
WARM_UP: Final = 1 / 3
"""Share of a life that does not count: rings and columns fill, code paths are taken first."""
MEMORY_SHARE: Final = 0.05
"""By how much of its median a worker's memory may grow over the rest of its life."""
NUMBER: Final = 2.0
"""By how many descriptors, threads or tasks."""
_MAX_SAMPLES: Final = 200
"""Samples of a run, evenly spaced; a slope compares all pairs."""


class Sample(NamedTuple):
    """What a process used at a moment, in seconds since the first look, for so many partitions."""

    at_s: float
    rss_mb: float
    descriptors: float
    threads: float
    tasks: float
    partitions: int


class Growth(NamedTuple):
    """Of one resource of one process, over its life after the warm-up."""

    process: int
    resource: str
    median: float
    grown: float
    minutes: float

    @property
    def flat(self) -> bool:
        """Whether it is within what is allowed.

        >>> Growth(1, "rss_mb", 200.0, 9.0, 20.0).flat, Growth(1, "tasks", 40.0, 3.0, 20.0).flat
        (True, False)
        """
        allowed = MEMORY_SHARE * self.median if self.resource == "rss_mb" else NUMBER
        return self.grown <= allowed


def slope(points: Sequence[tuple[float, float, int]]) -> float:
    """The median slope of pairs of points (Theil and Sen): a few odd ones do not matter.

    Points are times, values, and kinds; only those of a kind are compared, for who takes over a
    partition takes its state too.

    >>> slope([(0.0, 1.0, 1), (1.0, 3.0, 1), (2.0, 5.0, 1), (3.0, 100.0, 1), (4.0, 9.0, 1)])
    2.0
    >>> slope([(0.0, 1.0, 1), (1.0, 1.0, 1), (2.0, 8.0, 2), (3.0, 8.0, 2)])
    0.0
    """
    slopes = [
        (there[1] - here[1]) / (there[0] - here[0])
        for here, there in combinations(points, 2)
        if there[0] > here[0] and there[2] == here[2]
    ]
    return statistics.median(slopes) if slopes else 0.0


def growths(process: int, life: Sequence[Sample]) -> list[Growth]:
    """How much of each resource a process took on after its warm-up."""
    begin_s, end_s = life[0].at_s, life[-1].at_s
    later = [one for one in life if one.at_s >= begin_s + WARM_UP * (end_s - begin_s)]
    later = later[:: -(-len(later) // _MAX_SAMPLES)]
    span_s = later[-1].at_s - later[0].at_s
    found = []
    for name in Sample._fields[1:-1]:
        points = [(one.at_s, float(getattr(one, name)), one.partitions) for one in later]
        median = statistics.median(value for _, value, _ in points)
        found.append(Growth(process, name, median, slope(points) * span_s, span_s / 60))
    return found


class Sampler:
    """Looks at processes from a thread; ``tasks`` is the file they write their tasks to."""

    def __init__(self, processes: Callable[[], Sequence[int]], tasks: Path) -> None:
        self._processes, self._tasks = processes, tasks
        self.lives: dict[int, list[Sample]] = {}
        self._began_s = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_often, name="sampler", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join(EVERY_S)

    def _look_often(self) -> None:
        while not self._over.wait(EVERY_S):
            for process in self._processes():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended
                    self.lives.setdefault(process, []).append(self._look(process))

    def _look(self, process: int) -> Sample:
        tasks, partitions = Path(f"{self._tasks}-{process}").read_text().split()
        place = Path(f"/proc/{process}")
        status = dict(
            line.split(":", 1) for line in (place / "status").read_text().splitlines() if line
        )
        return Sample(
            time.monotonic() - self._began_s,
            int(status["VmRSS"].split()[0]) / 1024,
            len(list((place / "fd").iterdir())),
            int(status["Threads"]),
            int(tasks),
            int(partitions),
        )
