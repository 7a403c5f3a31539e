"""Traces which files of the product a run leads through: the call stacks of named steps."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

ROOT: Final = Path(__file__).parents[1]


class CallPath:
    """The files on the call stacks of ``steps`` (qualified names), in the order of the first call.

    ``counts`` decides by the files of a stack whether it belongs to the path.
    """

    def __init__(
        self,
        packages: Collection[str],
        steps: Collection[str],
        counts: Callable[[list[str]], bool] = bool,
    ) -> None:
        self._packages, self._steps, self._counts = packages, steps, counts
        self._files: dict[str, str | None] = {}
        self.path: list[str] = []
        self.all: set[str] = set()
        self.steps: set[str] = set()

    def start(self) -> None:
        """Trace this thread, and threads that start from now on."""
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)

    def stop(self) -> None:
        """Trace no more."""
        sys.setprofile(None)
        threading.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call" or (file := self._file(frame)) is None:
            return
        self.all.add(file)
        step = frame.f_code.co_qualname
        if step not in self._steps:
            return
        stack = [f for f in map(self._file, reversed(list(_callers(frame)))) if f is not None]
        if self._counts(stack):
            self.steps.add(step)
            self.path.extend(f for f in dict.fromkeys(stack) if f not in self.path)

    def _file(self, frame: FrameType) -> str | None:
        name = frame.f_code.co_filename
        if name not in self._files:
            path = Path(name).relative_to(ROOT) if Path(name).is_relative_to(ROOT) else Path()
            self._files[name] = str(path) if path.parts[:1] in self._package_parts else None
        return self._files[name]

    @property
    def _package_parts(self) -> set[tuple[str, ...]]:
        return {(package,) for package in self._packages}


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
