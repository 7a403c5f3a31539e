"""Errors of the registry.

RegistryError
├── NoSuchVersion      there is no such model, version or artifact
├── CorruptArtifact    the bytes are not those that were stored
├── CorruptManifest    a manifest cannot be read
├── UntrustedType      a model contains a type outside the allow-list
├── NotStorable        skops cannot write the object
├── VersionTaken       another artifact is stored under that version
└── MlflowFailed       MLflow does not answer, or rejects a request
"""

from __future__ import annotations

from collections.abc import Sequence


class RegistryError(Exception):
    """Base class of the errors of the registry."""


class NoSuchVersion(RegistryError, LookupError):  # noqa: N818 - names a finding
    """There is no such model, version or artifact."""


class CorruptArtifact(RegistryError, ValueError):  # noqa: N818 - names a finding
    """The bytes are not those that were stored, or not an artifact."""


class CorruptManifest(RegistryError, ValueError):  # noqa: N818 - names a finding
    """A manifest cannot be read."""


class NotStorable(RegistryError, TypeError):  # noqa: N818 - names a finding
    """skops cannot write the object."""


class VersionTaken(RegistryError, ValueError):  # noqa: N818 - names a finding
    """Another artifact is stored under that model and version."""


class MlflowFailed(RegistryError):  # noqa: N818 - names a finding
    """MLflow does not answer, or rejects a request; a later attempt may succeed."""


class UntrustedType(RegistryError, TypeError):  # noqa: N818 - names a finding
    """The model contains types outside the allow-list; ``names`` lists them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(
            f"the model contains types that may not be loaded: {', '.join(self.names)}; "
            "use estimators and transformers of scikit-learn, without functions of your own"
        )
