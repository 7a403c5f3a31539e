"""River's class ADWIN, without the packages that an import of ``river.drift`` loads.

Those are scipy.stats, scikit-learn, pandas and SQLAlchemy, for data sets and other detectors.  They
take each process about 2 s of CPU at its start: a worker after each restart, and each command.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

_NAME: Final = "river.drift.adwin"


def _adwin() -> Any:
    """Load the module of ADWIN from its file.  An import of ``river.drift`` later finds it."""
    if _NAME not in sys.modules:
        package = importlib.util.find_spec("river.drift")
        if package is None or package.origin is None:
            raise ModuleNotFoundError(f"No module named {_NAME!r}", name=_NAME)
        file = Path(package.origin).with_name("adwin.py")
        spec = importlib.util.spec_from_file_location(_NAME, file)
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(f"No module named {_NAME!r}", name=_NAME)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[_NAME] = module
    return sys.modules[_NAME].ADWIN


if TYPE_CHECKING:
    from river.drift import ADWIN
else:
    ADWIN = _adwin()

__all__ = ["ADWIN"]
