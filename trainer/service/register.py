"""Registers a model that was trained elsewhere and puts it into service."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from producer.names import truncated_with_hash, version_key
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.shared_settings import KafkaSettings, TopicSettings
from trainer.dataset.frame import RESERVED_COLUMNS
from trainer.jobs.champions import Champion, aliases_of, set_champion, was_set_champion
from trainer.jobs.database import Database
from trainer.jobs.outbox import enqueue
from trainer.policy.naming import derived_id
from trainer.registry.manifest import Manifest
from trainer.registry.mlflow_registry import MlflowRegistry
from trainer.registry.registry import Registry, registry_of
from trainer.service.announce import announce, update_of
from trainer.service.outbox_relay import OutboxRelay
from trainer.service.publication import publish_aliases, publish_version
from trainer.service.version_records import version_records

_MAX_CAUSE: Final = 256  # bytes; events accept no longer text


def register_version(
    estimator: Any,
    profile: ReferenceProfile,
    *,
    data_dir: Path,
    bootstrap_servers: str,
    time_ms: int,
    prefix: str = "driftline",
    shards: int = 1,
    librdkafka: Mapping[str, str | int | float | bool] | None = None,
    factory: str = "",
    training: Mapping[str, Any] | None = None,
    training_rows: pd.DataFrame | None = None,
    metrics: Mapping[str, Any] | None = None,
    published: MlflowRegistry | None = None,
) -> Manifest:
    """Store a fitted estimator in the registry of ``data_dir`` and put it into service.

    In this order: the artifact is stored, the monitor's `ModelUpdate` is acknowledged, the champion
    is recorded, the model servers' `ModelVersion` is acknowledged.  ``time_ms`` is event time, the
    end of the training data.  A repeat with the same estimator changes nothing, even if another
    version is the champion by then.

    ``training_rows`` are the n rows that it was fitted on, in order of time, with the columns
    ``time_ms``, ``label`` and the features.  They are stored, and train later versions.

    ``published`` is the trainer's MLflow: the version is published before it is announced, and the
    aliases at the end.

    Raises:
        MlflowFailed: MLflow does not answer, or rejects a request; repeat the call.
        VersionTaken: another estimator is stored under that version.
        DeliveryError: Kafka did not acknowledge; repeat the call.
    """
    model, version = profile.model, profile.version
    registry = registry_of(data_dir)
    described = dict(training or {})
    if training_rows is not None and len(training_rows):
        described |= stored_rows(registry, training_rows, version)
    manifest = registry.store(
        estimator,
        model=model,
        version=version,
        profile=profile,
        training=described,
        metrics=metrics or {},
        factory=factory,
        caused_by="register",
        time_ms=time_ms,
    )
    if published is not None:
        publish_version(manifest, registry, published)
    named = version_key(model, version)
    of_version = truncated_with_hash(
        named, named, _MAX_CAUSE - len(f"enlist::{manifest.artifact_sha256}")
    )
    caused_by = f"enlist:{of_version}:{manifest.artifact_sha256}"
    kafka = KafkaSettings(bootstrap_servers=bootstrap_servers, librdkafka=dict(librdkafka or {}))
    champion = Champion(model, version, manifest.artifact_sha256, time_ms, caused_by)
    with contextlib.closing(Database(data_dir)) as database:
        if not was_set_champion(database.rows, champion):
            update = update_of(
                profile,
                update_id=derived_id("update", caused_by),
                time_ms=time_ms,
                artifact_sha256=manifest.artifact_sha256,
                caused_by=caused_by,
            )
            announce(
                bootstrap_servers,
                profile,
                update=update,
                topic_prefix=prefix,
                shards=shards,
                librdkafka=librdkafka,
            )
            topic = TopicSettings(prefix=prefix).names().models
            with database.transaction() as rows:
                set_champion(rows, champion)
                enqueue(
                    rows, version_records(topic, manifest, time_ms=time_ms, caused_by=caused_by)
                )
        OutboxRelay(kafka.client(), database).send_all_or_raise()
        aliases = aliases_of(database.rows, model)
    if published is not None:
        publish_aliases(published, model, aliases)
    return manifest


def stored_rows(registry: Registry, rows: pd.DataFrame, version: str) -> dict[str, Any]:
    """Store the training rows of a version that was trained elsewhere; describe them.

    Raises:
        ValueError: there is no column ``time_ms`` or ``label``.
    """
    missing = {"time_ms", "label"} - set(rows.columns)
    if missing:
        raise ValueError(f"the training rows have no column {', '.join(sorted(missing))}")
    features = [name for name in rows.columns if name not in RESERVED_COLUMNS]
    frame = pd.DataFrame(
        {
            "id": [f"training-{version}-{i}" for i in range(len(rows))],
            "time_ms": rows["time_ms"].to_numpy(dtype="int64"),
            "version": version,
            "prediction": float("nan"),
            "label": rows["label"].tolist(),
        }
    )
    frame = pd.concat([frame, rows[features].reset_index(drop=True)], axis=1)
    return {
        "frame_sha256": registry.frames.store(frame),
        "trained": {
            "rows": len(frame),
            "first_ms": int(frame["time_ms"].iloc[0]),
            "last_ms": int(frame["time_ms"].iloc[-1]),
        },
    }
