"""Scores the stored versions of one model: the loss of each on labelled events."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from producer.events import InferenceEvent, Value
from stream_monitor.reference.profile import ReferenceProfile
from trainer.dataset.frame import column_of
from trainer.dataset.label_join import JoinedEvent
from trainer.evaluation.losses import Floats, Metric, losses, resolve_metric
from trainer.fitting.predictions import predictions
from trainer.registry.manifest import Manifest
from trainer.registry.registry import Registry

_SCALE_OF_MEAN_LOSS: Final = 4.0
"""Losses of a regression have no largest value: a difference of four mean losses counts in full."""


def loss_scale(profile: ReferenceProfile) -> float:
    """Return the difference of two losses that counts in full."""
    if profile.task != "regression" or profile.loss is None:
        return 1.0
    return max(_SCALE_OF_MEAN_LOSS * float(profile.loss.mean or 1.0), 1e-12)


class StoredVersion:
    """A stored version; its estimator is loaded when it is first needed."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.profile = manifest.reference()
        self.trained_until_ms = manifest.trained_until_ms
        self.estimator: Any = None

    def load(self, registry: Registry) -> None:
        """Load the estimator."""
        self.estimator = registry.load(self.manifest.artifact_sha256)

    def predict(self, events: Sequence[InferenceEvent], registry: Registry) -> list[Any]:
        """Return one prediction for each event."""
        if self.estimator is None:
            self.load(registry)
        names = getattr(self.estimator, "feature_names_in_", None)
        features = [str(n) for n in names] if names is not None else list(self.profile.features)
        frame = pd.DataFrame({name: _feature(name, events, self.profile) for name in features})
        return list(predictions(self.estimator, frame, self.profile.task, self.profile.positive))


class VersionScorer:
    """Scores the newest ``max_versions`` stored versions of a model, and its champion.

    A version that cannot be loaded, or that raises, is left out: ``left_out`` has the reason.
    """

    def __init__(
        self, registry: Registry, model: str, *, max_versions: int, metric: Metric | str
    ) -> None:
        self._registry, self._model = registry, model
        self._max_versions, self._metric = max_versions, metric
        self._versions: dict[str, StoredVersion] = {}
        self._champion = ""
        self.newest: Manifest | None = None
        self.left_out: dict[str, str] = {}

    def refresh(self, champion: str) -> None:
        """Read the manifests again; ``champion`` is the version in service."""
        manifests = self._registry.versions(self._model)
        self._champion, self.newest = champion, manifests[-1] if manifests else None
        manifests = [m for m in manifests if not m.failed_golden_set or m.version == champion]
        kept = manifests[-self._max_versions :]
        kept += [m for m in manifests[: -self._max_versions] if m.version == champion]
        known, self._versions = self._versions, {}
        for manifest in kept:
            version = known.get(manifest.version)
            try:
                self._versions[manifest.version] = version or StoredVersion(manifest)
            except Exception as error:  # noqa: BLE001 - one damaged profile leaves out one version
                self._leave_out(manifest.version, error)

    def load(self) -> Iterator[str]:
        """Load estimators that are not loaded yet, one version at each step.

        Some take seconds.  Nothing is loaded while the champion is the only version.
        """
        for name, version in self._versions.items() if self.n_versions > 1 else ():
            if version.estimator is None and name not in self.left_out:
                try:
                    version.load(self._registry)
                except Exception as error:  # noqa: BLE001 - a damaged or foreign artifact
                    self._leave_out(name, error)
                yield name

    @property
    def n_versions(self) -> int:
        """The number of versions that are scored."""
        return len(self._versions.keys() - self.left_out.keys())

    @property
    def scale(self) -> float:
        """The difference of two losses that counts in full."""
        champion = self._versions.get(self._champion)
        return 1.0 if champion is None else loss_scale(champion.profile)

    def score(self, joined: Sequence[JoinedEvent]) -> dict[str, Floats]:
        """Return the losses (n,) of each version; NaN where it was trained on the event.

        Nothing is scored while the champion is the only version.
        """
        champion = self._versions.get(self._champion)
        if champion is None or self.n_versions < 2:
            return {}
        found: dict[str, Floats] = {}
        for name, version in self._versions.items():
            if name in self.left_out or version.profile.task != champion.profile.task:
                continue
            try:
                found[name] = self._losses(version, joined)
            except Exception as error:  # noqa: BLE001 - a foreign estimator may raise anything
                self._leave_out(name, error)
        return found if self._champion in found else {}

    def _losses(self, version: StoredVersion, joined: Sequence[JoinedEvent]) -> Floats:
        found = np.full(len(joined), math.nan)
        unseen = [i for i, one in enumerate(joined) if one.event.time_ms > version.trained_until_ms]
        if unseen:
            profile = version.profile
            found[unseen] = losses(
                version.predict([joined[i].event for i in unseen], self._registry),
                [joined[i].label for i in unseen],
                profile.task,
                threshold=profile.threshold,
                positive=profile.positive,
                metric=resolve_metric(self._metric, profile.task),  # type: ignore[arg-type]
            )
        return found

    def _leave_out(self, version: str, error: Exception) -> None:
        self.left_out[version] = f"{type(error).__name__}: {error}"


def _feature(
    name: str, events: Sequence[InferenceEvent], profile: ReferenceProfile
) -> pd.Series[Any]:
    """Return a feature as a column: of numbers if the version's reference has numbers."""
    values: list[Value] = [event.features.get(name) for event in events]
    reference = profile.features.get(name)
    if reference is None or reference.kind != "numeric":
        return column_of(values)
    return pd.Series(
        [float(v) if isinstance(v, int | float) else math.nan for v in values], dtype="float64"
    )
