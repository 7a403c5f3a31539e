"""What the trainer publishes: every step of every retrain, and which version is the champion."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from producer.names import version_key

Step: TypeAlias = Literal[
    "requested", "declined", "started", "succeeded", "failed", "rejected", "promoted", "rolled_back"
]
"""``refused``: the decision said no.  ``failed``: the fit did not give a model.  ``rejected``: it
did, and the champion is better."""

RETRAIN_CE_TYPE: Final = "io.driftline.retrain.v1"
MODEL_VERSION_CE_TYPE: Final = "io.driftline.model-version.v1"


class RetrainEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of one retrain, on ``driftline.retrain.v1``; key: the model.

    ``id`` is derived from ``job_id`` and ``step``: a repeat is recognised by it.  ``job_id`` is
    derived from ``caused_by``, the alert (or the request of a person).  ``rule`` names the rule
    that decided, ``reason`` says it to a person, ``numbers`` holds what it looked at.
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


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version of a model, on ``driftline.models.v1`` (compacted).

    Under the key ``model`` it is the champion, and ``profile`` is left out; under
    ``model@version`` it is the record of that version, profile inside.  The artifact lies in the
    registry under its hash.
    """

    model: str
    version: str
    artifact_sha256: str
    time_ms: int
    caused_by: str
    profile: dict[str, Any] | None = None

    @property
    def version_key(self) -> str:
        """The key of the version's own record.

        >>> ModelVersion(
        ...     model="m", version="2", artifact_sha256="ab", time_ms=0, caused_by="person"
        ... ).version_key
        'm@2'
        """
        return version_key(self.model, self.version)
