"""What the trainer publishes: each step of each retrain, and the champion of each model."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from producer.names import version_key

Step: TypeAlias = Literal[
    "requested",
    "declined",
    "started",
    "succeeded",
    "failed",
    "rejected",
    "proposed",
    "promoted",
    "rolled_back",
    "reweighted",
]
"""``declined``: the policy decided against a retrain.  ``failed``: the fit produced no model.
``rejected``: it produced one, and the gate did not pass it.  ``proposed``: the gate passed it; the
reason has the command with which a person promotes it.  ``reweighted``: the pool in service has
other weights; it belongs to no job."""

RETRAIN_CE_TYPE: Final = "io.driftline.retrain.v1"
MODEL_VERSION_CE_TYPE: Final = "io.driftline.model-version.v1"


class RetrainEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of one retrain, on ``driftline.retrain.v1``; key: the model.

    ``id`` is derived from ``job_id`` and ``step``, so a repeat has the same id.  ``job_id`` is
    derived from ``caused_by``, the id of the alert or of a person's request.  ``rule`` names the
    rule that decided, ``reason`` explains it to a person, ``numbers`` has its inputs.
    """

    id: str
    job_id: str
    step: Step
    model: str
    champion: str
    challenger: str | None = None
    caused_by: str
    episode_id: str | None = None
    rule: str
    reason: str
    numbers: dict[str, float | int | str | None] = {}
    time_ms: int


class PoolMember(msgspec.Struct, frozen=True, kw_only=True):
    """A stored version that votes in a pool, with the hash of its artifact and its weight."""

    version: str
    artifact_sha256: str
    weight: float


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version of a model, on ``driftline.models.v1`` (compacted).

    The record with the key ``model`` names the champion and has no ``profile``.  The record with
    the key ``model@version`` describes that version and has its profile.  The artifact is in the
    registry under its hash.  ``promoted`` is false for a version that was stored and never put into
    service.

    ``members`` are in the champion's record of a pool: the versions whose weighted vote is served
    under the name ``version``.  Their weights sum to 1.  A reader that does not know pools serves
    the artifact of ``version`` alone.
    """

    model: str
    version: str
    artifact_sha256: str
    time_ms: int
    caused_by: str
    profile: dict[str, Any] | None = None
    promoted: bool = True
    members: tuple[PoolMember, ...] = ()

    @property
    def version_key(self) -> str:
        """The key of the record of this version.

        >>> ModelVersion(
        ...     model="m", version="2", artifact_sha256="ab", time_ms=0, caused_by="person"
        ... ).version_key
        'm@2'
        """
        return version_key(self.model, self.version)
