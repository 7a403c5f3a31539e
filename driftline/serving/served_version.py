"""A model version with its estimator, as served by a model server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from trainer.contracts import PoolMember


class ServedVersion(NamedTuple):
    """A version, its estimator and the hash of its artifact; read together, they always match.

    Of a pool ``estimator`` is the weighted vote of ``members``, and ``version`` names the pool.
    """

    version: str
    estimator: Any
    sha256: str
    members: tuple[PoolMember, ...] = ()


class NoChampion(LookupError):  # noqa: N818 - a public name
    """No champion was announced, or none could be loaded, and there is no fallback."""
