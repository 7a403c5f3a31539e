"""Imports River's detectors without scikit-learn and pandas, which only its data sets need."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Final, cast

_UNUSED: Final = ("sklearn", "pandas")


def import_detectors() -> None:
    """Import ``river.drift`` before another module does; for the process of a worker.

    A worker imports neither package, and they take a second of CPU at each of its starts.  River
    works without them, as where they are not installed.
    """
    names = [name for name in _UNUSED if name not in sys.modules]
    for name in names:
        sys.modules[name] = cast("ModuleType", None)  # an import of it fails
    try:
        importlib.import_module("river.drift")
    finally:
        for name in names:
            del sys.modules[name]
