"""The registry: a folder of artifacts and manifests.

    artifacts/<sha256>.skops
    models/<model>/<version>.json
    frames/<sha256>.parquet          the rows that versions were made from

Aliases (champion, challenger) are not here, because they change in a transaction of the trainer
(`trainer.jobs.aliases`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from producer.names import file_name, is_truncated, unescape, version_key
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data
from trainer.registry import artifact
from trainer.registry.atomic import write_atomically
from trainer.registry.errors import CorruptArtifact, CorruptManifest, NoSuchVersion, VersionTaken
from trainer.registry.libraries import libraries
from trainer.registry.manifest import Manifest, StoredPool, decode, encode
from trainer.registry.training_frames import TrainingFrames

REGISTRY_FOLDER: Final = "registry"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def registry_of(data_dir: Path) -> Registry:
    """Return the registry in the data directory of a trainer."""
    return Registry(data_dir / REGISTRY_FOLDER)


class Registry:
    """The model versions of a folder; readable while another process writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames = TrainingFrames(folder / "frames")

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

        The artifact is written before the manifest that names it.  A repeat returns the stored
        manifest.

        Raises:
            NotStorable: skops cannot write the estimator.
            UntrustedType: the estimator contains a type outside the allow-list.
            CorruptArtifact: the bytes or the file are not an artifact.
            VersionTaken: another artifact is stored under that model and version.
            ValueError: the profile is that of another model or version.
        """
        if (profile.model, profile.version) != (model, version):
            raise ValueError(
                f"the profile is that of {version_key(profile.model, profile.version)}, "
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
        there = self._stored(model, version)
        if there is not None and there.artifact_sha256 != manifest.artifact_sha256:
            raise VersionTaken(
                f"{version_key(model, version)} is already stored "
                f"with artifact {there.artifact_sha256[:12]}; "
                f"this one is {manifest.artifact_sha256[:12]}: use another version"
            )
        file = self._artifact_file(manifest.artifact_sha256)
        if not file.is_file() or artifact.sha256_of(file.read_bytes()) != manifest.artifact_sha256:
            write_atomically(file, data)
        if there is None:
            write_atomically(self._manifest_file(model, version), encode(manifest))
        return self.manifest(model, version)

    def manifest(self, model: str, version: str) -> Manifest:
        """Return the manifest of a version.

        Raises:
            NoSuchVersion: the version is not stored.
            CorruptManifest: the manifest cannot be read.
        """
        found = self._stored(model, version) if model and version else None
        if found is None:
            raise NoSuchVersion(f"no version {version!r} of model {model!r} in {self.folder}")
        return found

    def versions(self, model: str) -> list[Manifest]:
        """Return the manifests of a model, oldest first; empty for an unknown model.

        Raises:
            CorruptManifest: one of them cannot be read.
        """
        files = (self.folder / "models" / file_name(model)).glob("*.json") if model else ()
        found = [decode(file.read_bytes(), file) for file in files]
        return sorted(found, key=lambda m: (m.time_ms, m.version))

    def newest(self, model: str) -> Manifest:
        """Return the manifest of a model that was stored last.

        Raises:
            NoSuchVersion: no version of the model is stored.
            CorruptManifest: one of them cannot be read.
        """
        versions = self.versions(model)
        if not versions:
            raise NoSuchVersion(f"no version of model {model!r} in {self.folder}")
        return versions[-1]

    def models(self) -> list[str]:
        """Return the names of the stored models, sorted.

        Raises:
            CorruptManifest: the manifest that has a name too long for a folder cannot be read.
        """
        files = {file.parent.name: file for file in self.folder.glob("models/*/*.json")}
        return sorted(
            decode(file.read_bytes(), file).model if is_truncated(folder) else unescape(folder)
            for folder, file in files.items()
        )

    def load(self, sha256: str) -> Any:
        """Load the estimator of an artifact, after verifying the hash of its bytes.

        Raises:
            NoSuchVersion: the artifact is not stored.
            CorruptArtifact: the bytes are not those that were stored.
            UntrustedType: the artifact contains a type outside the allow-list.
        """
        file = self._artifact_file(sha256)
        try:
            data = file.read_bytes()
        except FileNotFoundError as error:
            raise NoSuchVersion(f"no artifact {sha256} in {self.folder}") from error
        if (actual := artifact.sha256_of(data)) != sha256:
            raise CorruptArtifact(f"{file} has the hash {actual}: it was changed or truncated")
        return artifact.load(data)

    def _stored(self, model: str, version: str) -> Manifest | None:
        file = self._manifest_file(model, version)
        try:
            manifest = decode(file.read_bytes(), file)
        except FileNotFoundError:
            return None
        if (manifest.model, manifest.version) != (model, version):
            raise CorruptManifest(
                f"{file} is the manifest of {version_key(manifest.model, manifest.version)}"
            )
        return manifest

    def _manifest_file(self, model: str, version: str) -> Path:
        return self.folder / "models" / file_name(model) / f"{file_name(version)}.json"

    def _artifact_file(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise NoSuchVersion(f"{sha256!r} is not a SHA-256")
        return self.folder / "artifacts" / f"{sha256}.skops"


def _artifact(estimator: Any) -> bytes:
    if isinstance(estimator, Path):
        estimator = estimator.read_bytes()
    if isinstance(estimator, bytes):
        artifact.require_trusted(estimator)
        return estimator
    return artifact.dump(estimator)
