"""A registry with versions of a model whose champion was promoted to serve as a pool."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data
from trainer.contracts import PoolMember
from trainer.registry.manifest import Manifest, StoredPool
from trainer.registry.registry import Registry, registry_of

FRAME: Final = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 2)), columns=["a", "b"])
LABELS: Final = (FRAME["a"] > 0).astype(int)


def profile_of(
    model: str, version: str, features: Iterable[str] = ("a", "b"), task: Any = "binary"
) -> ReferenceProfile:
    """A profile without predictions."""
    frame = FRAME.rename(columns=dict(zip(FRAME.columns, features, strict=False)))
    return profile_from_frame(frame, model=model, version=version, task=task)


def store_version(
    folder: Path,
    model: str,
    version: str,
    *,
    features: tuple[str, ...] = ("a", "b"),
    caused_by: str = "test",
    pool: StoredPool | None = None,
    trained_until_ms: int = 0,
    c: float = 1.0,
) -> Manifest:
    """Store a small estimator of its own in the registry of a data directory."""
    registry: Registry = registry_of(folder)
    frame = FRAME.set_axis(list(features), axis=1)
    return registry.store(
        LogisticRegression(C=c).fit(frame, LABELS),
        model=model,
        version=version,
        profile=profile_of(model, version, features),
        training={"trained": {"last_ms": trained_until_ms, "rows": len(FRAME)}},
        metrics={},
        factory="f:f",
        caused_by=caused_by,
        time_ms=int(version),
        pool=pool,
    )


def store_pool(folder: Path, model: str, version: str, caused_by: str) -> Manifest:
    """Store a version that was promoted as a pool of which it is the only member."""
    member = PoolMember(version=version, artifact_sha256="ab", weight=1.0)
    pool = StoredPool(members=(member,), profile=profile_to_data(profile_of(model, version)))
    return store_version(folder, model, version, caused_by=caused_by, pool=pool)
