"""A worker imports none of the packages that would cost each restart 2 s."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import stream_monitor.runtime.app, stream_monitor.runtime.bootstrap, stream_monitor.runtime.worker
heavy = {"sklearn", "pandas", "sqlalchemy", "scipy.stats", "scipy.optimize"}
loaded = sorted(heavy & set(sys.modules))
assert not loaded, f"a worker imports {loaded}"
from stream_monitor.detectors.river_adwin import ADWIN
detector, found = ADWIN(), 0
for value in [0.0] * 500 + [1.0] * 500:
    detector.update(value)
    found += detector.drift_detected
assert found, "the detector does not work"
from river import drift  # it can be imported later, and has the same class
assert drift.ADWIN is ADWIN
"""


@pytest.mark.slow
def test_a_worker_imports_no_heavy_package() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)
