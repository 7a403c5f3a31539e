"""A model version with its estimator, as served by a model server."""

from __future__ import annotations

from typing import Any, NamedTuple


class ServedVersion(NamedTuple):
    """A version, its estimator and the hash of its artifact; read together, they always match."""

    version: str
    estimator: Any
    sha256: str


class NoChampion(LookupError):  # noqa: N818 - a public name
    """No champion was announced, or none could be loaded, and there is no fallback."""
