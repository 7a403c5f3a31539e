"""The manifest of a model version: hash of the artifact, profile, training set, cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from stream_monitor.reference.profile import ReferenceProfile, profile_from_data
from trainer.contracts import PoolMember
from trainer.registry.errors import CorruptManifest

MANIFEST_FORMAT: Final = 1
GATE_DECISION: Final = "verdict"
"""The name of the gate's decision among the metrics: whether to promote, rule and reason."""


class StoredPool(msgspec.Struct, frozen=True, kw_only=True):
    """The pool that serves under a version's name, as it was when the version was stored.

    ``members`` are its first weights, ``profile`` its reference, the plain data of
    `profile_to_data`.  ``left_out`` are versions that do not vote, with the reason.
    """

    members: tuple[PoolMember, ...]
    profile: dict[str, Any]
    left_out: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A model version in the registry.

    ``training`` describes the training set (offset ranges, counts, hash), ``metrics`` the results,
    ``factory`` the user's factory, ``caused_by`` the alert or request, ``libraries`` the versions
    of libraries.  ``profile`` is the plain data of `profile_to_data`.  ``pool``: the version was
    made to serve as a pool (``[trainer] mode = "pool"``).
    """

    format: int = MANIFEST_FORMAT
    model: str
    version: str
    artifact_sha256: str
    artifact_bytes: int
    time_ms: int
    factory: str
    caused_by: str
    training: dict[str, Any]
    metrics: dict[str, Any]
    libraries: dict[str, str]
    profile: dict[str, Any]
    pool: StoredPool | None = None

    @property
    def trained_until_ms(self) -> int:
        """The event time of its last training row; where unknown, the time it was stored with."""
        last_ms = self._trained.get("last_ms")
        return self.time_ms if last_ms is None else int(last_ms)

    @property
    def trained_rows(self) -> int | None:
        """The number of its training rows, if known."""
        rows = self._trained.get("rows")
        return None if rows is None else int(rows)

    @property
    def failed_golden_set(self) -> bool:
        """Whether the gate rejected it on the golden set; such a version is not swapped in."""
        return self._gate_rule == "golden_worse"

    @property
    def is_proved_better(self) -> bool:
        """Whether the gate proved it better than the champion of its time."""
        return self._gate_rule == "better"

    @property
    def _gate_rule(self) -> str | None:
        decision = self.metrics.get(GATE_DECISION)
        return decision.get("rule") if isinstance(decision, dict) else None

    @property
    def _trained(self) -> dict[str, Any]:
        found = self.training.get("trained", self.training)
        return found if isinstance(found, dict) else {}

    def reference(self) -> ReferenceProfile:
        """Return the reference profile of the version.

        Raises:
            CorruptManifest: the profile is invalid.
        """
        try:
            return profile_from_data(self.profile)
        except ValueError as error:
            raise CorruptManifest(f"{self.model}@{self.version}: {error}") from error


def encode(manifest: Manifest) -> bytes:
    """Encode a manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode(data: bytes, file: Path | str) -> Manifest:
    """Decode a manifest; ``file`` is its place, for the text of errors.

    Raises:
        CorruptManifest: the data are not a manifest of a known format.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise CorruptManifest(f"{file} is not a manifest: {error}") from error
    if manifest.format != MANIFEST_FORMAT:
        raise CorruptManifest(
            f"{file} has format {manifest.format}; this driftline knows {MANIFEST_FORMAT}"
        )
    return manifest
