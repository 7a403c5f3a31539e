"""Which libraries an artifact was made with: scikit-learn promises nothing across versions."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Final

_RECORDED_LIBRARIES: Final = ("scikit-learn", "numpy", "pandas", "skops")


def libraries() -> dict[str, str]:
    """Versions of Python and the libraries that matter to an artifact."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _RECORDED_LIBRARIES},
    }
