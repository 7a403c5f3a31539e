"""What a model server serves at one moment."""

from __future__ import annotations

from typing import Any, NamedTuple


class ServedVersion(NamedTuple):
    """A version and its estimator: they belong together, so they are read together."""

    version: str
    estimator: Any
    sha256: str


class NoChampion(LookupError):  # noqa: N818 - reads as what it says
    """No champion was announced yet, or none that could be loaded; and there is no fallback."""
