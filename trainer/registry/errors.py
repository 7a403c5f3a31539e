"""What the registry refuses.

RegistryError
├── NoSuchVersion      nothing of that name
├── CorruptArtifact    the bytes are not those that were stored
├── CorruptManifest    a manifest that cannot be read
├── UntrustedType      a type outside the allow-list, by name
├── NotStorable        an object that skops cannot write
└── VersionTaken       another artifact has that name
"""

from __future__ import annotations

from collections.abc import Sequence


class RegistryError(Exception):
    """Something the registry will not do, and why."""


class NoSuchVersion(RegistryError, LookupError):  # noqa: N818 - reads as what it says
    """There is no such model, version or artifact."""


class CorruptArtifact(RegistryError, ValueError):  # noqa: N818 - reads as what it says
    """The bytes are not those that were stored, or no model can be made of them."""


class CorruptManifest(RegistryError, ValueError):  # noqa: N818 - reads as what it says
    """A manifest that cannot be read."""


class NotStorable(RegistryError, TypeError):  # noqa: N818 - reads as what it says
    """An object that skops cannot write."""


class VersionTaken(RegistryError, ValueError):  # noqa: N818 - reads as what it says
    """Another artifact is stored under that model and version."""


class UntrustedType(RegistryError, TypeError):  # noqa: N818 - reads as what it says
    """The model holds types outside the allow-list; ``names`` are they."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(
            f"the model holds types that may not be loaded: {', '.join(self.names)}; "
            "use scikit-learn's own estimators and transformers, with no functions of yours inside"
        )
