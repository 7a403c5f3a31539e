"""The registry in a folder: artifacts and manifests.

    artifacts/<sha256>.skops
    models/<model>/<version>.json
    frames/<sha256>.parquet          the rows that versions were made from

Aliases (champion, challenger) are not here, because they change in a transaction of the trainer
(`trainer.jobs.champions`).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from producer.names import file_name, is_truncated, unescape, version_key
from trainer.registry.atomic import write_atomically
from trainer.registry.errors import CorruptManifest
from trainer.registry.manifest import Manifest, decode, encode
from trainer.registry.training_frames import TrainingFrames
from trainer.registry.version_registry import VersionRegistry, by_age

REGISTRY_FOLDER: Final = "registry"


def registry_of(data_dir: Path) -> Registry:
    """Return the registry in the data directory of a trainer."""
    return Registry(data_dir / REGISTRY_FOLDER)


class Registry(VersionRegistry):
    """The model versions of a folder, and the training frames."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames = TrainingFrames(folder / "frames")

    @property
    def location(self) -> str:
        """The folder."""
        return str(self.folder)

    def find(self, model: str, version: str) -> Manifest | None:
        """Return the manifest of a version; ``None`` if it is not stored.

        Raises:
            CorruptManifest: the manifest cannot be read.
        """
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

    def versions(self, model: str) -> list[Manifest]:
        """Return the manifests of a model, oldest first; empty for an unknown model.

        Raises:
            CorruptManifest: one of them cannot be read.
        """
        files = (self.folder / "models" / file_name(model)).glob("*.json") if model else ()
        return by_age([decode(file.read_bytes(), file) for file in files])

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

    def _read_artifact(self, sha256: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            return self._artifact_file(sha256).read_bytes()
        return None

    def _write(
        self, manifest: Manifest, data: bytes, *, has_artifact: bool, has_manifest: bool
    ) -> None:
        if not has_artifact:
            write_atomically(self._artifact_file(manifest.artifact_sha256), data)
        if not has_manifest:
            write_atomically(
                self._manifest_file(manifest.model, manifest.version), encode(manifest)
            )

    def _manifest_file(self, model: str, version: str) -> Path:
        return self.folder / "models" / file_name(model) / f"{file_name(version)}.json"

    def _artifact_file(self, sha256: str) -> Path:
        return self.folder / "artifacts" / f"{sha256}.skops"
