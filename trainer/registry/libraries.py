"""Versions of the libraries behind an artifact; scikit-learn is not compatible across versions."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Final

_RECORDED_LIBRARIES: Final = ("scikit-learn", "numpy", "pandas", "skops")


def libraries() -> dict[str, str]:
    """Return the versions of Python and of the libraries that write artifacts."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _RECORDED_LIBRARIES},
    }
