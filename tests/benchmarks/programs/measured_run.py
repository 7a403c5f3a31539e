"""Shared by the compared programs: River's detectors on every value, and the report of the run.

It imports River only, because Quix Streams and Bytewax have virtual environments of their own.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Mapping

from river.drift import ADWIN, PageHinkley


class MeasuredRun:
    """ADWIN and Page-Hinkley on every feature; ends the process after ``n_wanted`` events.

    Time and CPU are measured from the first event to the last, without the start of the program.
    The report is one line of JSON on stdout.
    """

    def __init__(self, n_wanted: int) -> None:
        self._n_wanted = n_wanted
        self._detectors: dict[str, tuple[ADWIN, PageHinkley]] = {}
        self._n = self._drifts = 0
        self._began_s = self._began_cpu_s = 0.0

    def watch(self, features: Mapping[str, float]) -> None:
        """Give the features of one event to their detectors."""
        if not self._n:
            self._began_s, self._began_cpu_s = time.perf_counter(), time.process_time()
        for name, value in features.items():
            pair = self._detectors.get(name)
            if pair is None:
                pair = self._detectors[name] = (ADWIN(), PageHinkley())
            pair[0].update(value)
            pair[1].update(value)
            self._drifts += pair[0].drift_detected + pair[1].drift_detected
        self._n += 1
        if self._n == self._n_wanted:
            self._end()

    def _end(self) -> None:
        report = {
            "events": self._n,
            "seconds": time.perf_counter() - self._began_s,
            "cpu_seconds": time.process_time() - self._began_cpu_s,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "drifts": self._drifts,
        }
        os.write(1, b"\n" + json.dumps(report).encode() + b"\n")
        os._exit(0)
