"""A worker imports no scikit-learn and no pandas, which cost each restart a second."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from stream_monitor.runtime.river_import import import_detectors
import_detectors()
import sys
import stream_monitor.runtime.app, stream_monitor.runtime.bootstrap, stream_monitor.runtime.worker
loaded = sorted({"sklearn", "pandas"} & set(sys.modules))
assert not loaded, f"a worker imports {loaded}"
from river import drift
detector, found = drift.ADWIN(), 0
for value in [0.0] * 500 + [1.0] * 500:
    detector.update(value)
    found += detector.drift_detected
assert found, "the detector does not work"
import pandas, sklearn.linear_model  # they can be imported later
"""


@pytest.mark.slow
def test_a_worker_imports_neither_scikit_learn_nor_pandas() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)
