"""A worker imports no scikit-learn, pandas, SQLAlchemy or scipy.stats: they cost a restart 2 s."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import stream_monitor.runtime.app, stream_monitor.runtime.bootstrap, stream_monitor.runtime.worker
loaded = sorted({"sklearn", "pandas", "sqlalchemy", "scipy.stats"} & set(sys.modules))
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
