"""The interface of a registry: model versions with their artifacts, in a folder or in MLflow."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from producer.names import version_key
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data
from trainer.registry import artifact
from trainer.registry.artifact import libraries
from trainer.registry.errors import CorruptArtifact, NoSuchVersion, VersionTaken
from trainer.registry.manifest import Manifest, StoredPool

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class VersionRegistry(ABC):
    """Model versions with their artifacts; a version is one artifact for ever.

    Readable while another process writes.  Bytes are verified against their hash when they are
    read, so a registry need not be trusted.
    """

    @property
    @abstractmethod
    def location(self) -> str:
        """The place of the registry, for texts."""

    @abstractmethod
    def find(self, model: str, version: str) -> Manifest | None:
        """Return the manifest of a version; ``None`` if it is not stored.

        Raises:
            CorruptManifest: the manifest cannot be read.
        """

    @abstractmethod
    def versions(self, model: str) -> list[Manifest]:
        """Return the manifests of a model, oldest first; empty for an unknown model.

        Raises:
            CorruptManifest: one of them cannot be read.
        """

    @abstractmethod
    def models(self) -> list[str]:
        """Return the names of the stored models, sorted."""

    @abstractmethod
    def _read_artifact(self, sha256: str) -> bytes | None:
        """Return the bytes stored under a hash, not verified; ``None`` if there are none."""

    @abstractmethod
    def _write(
        self, manifest: Manifest, data: bytes, *, has_artifact: bool, has_manifest: bool
    ) -> None:
        """Write what is missing: the artifact first, then the manifest."""

    def store(
        self,
        estimator: Any,
        *,
        model: str,
        version: str,
        profile: ReferenceProfile,
        training: Mapping[str, Any],
        metrics: Mapping[str, Any],
        factory: str,
        caused_by: str,
        time_ms: int,
        pool: StoredPool | None = None,
    ) -> Manifest:
        """Store a fitted estimator, or an artifact given as bytes or as a file.

        A repeat returns the stored manifest.

        Raises:
            NotStorable: skops cannot write the estimator.
            UntrustedType: the estimator contains a type outside the allow-list.
            CorruptArtifact: the bytes or the file are not an artifact.
            VersionTaken: another artifact is stored under that model and version.
            ValueError: the profile is that of another model or version.
        """
        if (profile.model, profile.version) != (model, version):
            raise ValueError(
                f"the profile belongs to {version_key(profile.model, profile.version)}, "
                f"the model is {version_key(model, version)}"
            )
        data = _artifact(estimator)
        manifest = Manifest(
            model=model,
            version=version,
            artifact_sha256=artifact.sha256_of(data),
            artifact_bytes=len(data),
            time_ms=time_ms,
            factory=factory,
            caused_by=caused_by,
            training=dict(training),
            metrics=dict(metrics),
            libraries=libraries(),
            profile=profile_to_data(profile),
            pool=pool,
        )
        return self.add(manifest, data)

    def add(self, manifest: Manifest, data: bytes) -> Manifest:
        """Store a version with the bytes of its artifact; return the manifest that is stored.

        The artifact is written before the manifest that names it.  A repeat returns the stored
        manifest, and replaces an artifact that is missing or damaged.

        Raises:
            VersionTaken: another artifact is stored under that model and version.
        """
        model, version, sha256 = manifest.model, manifest.version, manifest.artifact_sha256
        there = self.find(model, version)
        if there is not None and there.artifact_sha256 != sha256:
            raise VersionTaken(
                f"{version_key(model, version)} is already stored in {self.location} "
                f"with artifact {there.artifact_sha256[:12]}; "
                f"this one is {sha256[:12]}: use another version"
            )
        stored = self._read_artifact(sha256)
        is_intact = stored is not None and artifact.sha256_of(stored) == sha256
        if there is None or not is_intact:
            has_manifest = there is not None
            self._write(manifest, data, has_artifact=is_intact, has_manifest=has_manifest)
        return self.manifest(model, version)

    def manifest(self, model: str, version: str) -> Manifest:
        """Return the manifest of a version.

        Raises:
            NoSuchVersion: the version is not stored.
            CorruptManifest: the manifest cannot be read.
        """
        found = self.find(model, version) if model and version else None
        if found is None:
            raise NoSuchVersion(f"no version {version!r} of model {model!r} in {self.location}")
        return found

    def newest(self, model: str) -> Manifest:
        """Return the manifest of a model that was stored last.

        Raises:
            NoSuchVersion: no version of the model is stored.
            CorruptManifest: one of them cannot be read.
        """
        versions = self.versions(model)
        if not versions:
            raise NoSuchVersion(f"no version of model {model!r} in {self.location}")
        return versions[-1]

    def artifact(self, sha256: str) -> bytes:
        """Return the bytes of an artifact, after verifying their hash.

        Raises:
            NoSuchVersion: the artifact is not stored.
            CorruptArtifact: the bytes are not those that were stored.
        """
        if not _SHA256.fullmatch(sha256):
            raise NoSuchVersion(f"{sha256!r} is not a SHA-256")
        data = self._read_artifact(sha256)
        if data is None:
            raise NoSuchVersion(f"no artifact {sha256} in {self.location}")
        if (actual := artifact.sha256_of(data)) != sha256:
            raise CorruptArtifact(
                f"artifact {sha256} in {self.location} has the hash {actual}: it was changed or "
                "truncated"
            )
        return data

    def load(self, sha256: str) -> Any:
        """Load the estimator of an artifact, after verifying the hash of its bytes.

        Raises:
            NoSuchVersion: the artifact is not stored.
            CorruptArtifact: the bytes are not those that were stored.
            UntrustedType: the artifact contains a type outside the allow-list.
        """
        return artifact.load(self.artifact(sha256))


def by_age(manifests: list[Manifest]) -> list[Manifest]:
    """Return manifests of one model, oldest first."""
    return sorted(manifests, key=lambda manifest: (manifest.time_ms, manifest.version))


def _artifact(estimator: Any) -> bytes:
    if isinstance(estimator, Path):
        estimator = estimator.read_bytes()
    if isinstance(estimator, bytes):
        artifact.require_trusted(estimator)
        return estimator
    return artifact.dump(estimator)
