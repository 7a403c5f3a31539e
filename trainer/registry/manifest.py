"""What is known of a model version: its artifact's hash, its profile, where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from stream_monitor.reference.profile import ReferenceProfile, profile_from_data
from trainer.registry.errors import CorruptManifest

MANIFEST_FORMAT: Final = 1


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A model version in the registry.

    ``training`` tells what it was fitted on (offset ranges, counts, hash), ``metrics`` how it did,
    ``factory`` who made it, ``caused_by`` the alert or request, ``libraries`` their versions.
    ``profile`` is plain data: what `profile_to_data` gave.
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

    def reference(self) -> ReferenceProfile:
        """The profile that travels with the model.

        Raises:
            CorruptManifest: detectors cannot be built from it.
        """
        try:
            return profile_from_data(self.profile)
        except ValueError as error:
            raise CorruptManifest(f"{self.model}@{self.version}: {error}") from error


def encode(manifest: Manifest) -> bytes:
    """The manifest as JSON that a person can read."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode(data: bytes, file: Path) -> Manifest:
    """Read what `encode` gave.

    Raises:
        CorruptManifest: it is none; ``file`` says where.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise CorruptManifest(f"{file} is no manifest: {error}") from error
    if manifest.format != MANIFEST_FORMAT:
        raise CorruptManifest(f"{file} has format {manifest.format}; {MANIFEST_FORMAT} is known")
    return manifest
