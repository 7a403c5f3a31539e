"""Forms the pool that serves under a challenger's name: its members and its reference.

The reference is that of the vote, out of fold: on a training row only those vote that were not
fitted on it, the challenger with its out-of-fold prediction, the others if the row is later than
their own rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from producer.events import Prediction
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data
from trainer.contracts import PoolMember
from trainer.dataset.frame import Dataset
from trainer.evaluation.losses import Floats, losses, resolve_metric
from trainer.evaluation.vote import RECENT_EVENTS, vote, vote_weights
from trainer.fitting.model_fit import LABEL, FitSpec, reference_of
from trainer.fitting.predictions import predictions
from trainer.jobs.job import Job
from trainer.registry.artifact import sha256_of
from trainer.registry.errors import RegistryError
from trainer.registry.manifest import Manifest, StoredPool
from trainer.service.context import (
    JobWorkspace,
    TrainerContext,
    challenger_of,
    dataset_of,
    fitted_of,
)
from trainer.service.version_scorer import loss_scale

if TYPE_CHECKING:
    import pandas as pd

OTHER_FEATURES = "it has other features"
OTHER_TASK = "it predicts something else"


def form_pool(job: Job, context: TrainerContext, workspace: JobWorkspace) -> StoredPool | None:
    """Form the pool of a job's challenger; ``None`` unless the model's mode is ``pool``.

    The first weights follow from the losses on the newest training rows, the challenger's out of
    fold.  A challenger that would have no weight serves alone until they are renewed.
    """
    if context.mode_of(job.model) != "pool":
        return None
    challenger, fitted, dataset = challenger_of(job), fitted_of(workspace), dataset_of(workspace)
    rows, profile = dataset.frame.tail(int(job.work.numbers["window_rows"])), fitted.profile
    suited, left_out = suited_members(profile, job.model, _candidates(job, context), context)
    predicted: dict[str, list[Prediction | None]] = {challenger: list(fitted.out_of_fold)}
    for version, manifest in suited.items():
        try:
            predicted[version] = _unseen_predictions(manifest, rows, context)
        except Exception as error:  # noqa: BLE001 - a foreign estimator may raise anything
            left_out[version] = f"{type(error).__name__}: {error}"
    weights = vote_weights(
        {
            version: _newest_losses(values, rows, profile, context)
            for version, values in predicted.items()
        },
        loss_scale(profile),
    )
    if challenger not in weights:
        weights = {challenger: 1.0}
    sha256 = {version: manifest.artifact_sha256 for version, manifest in suited.items()}
    sha256[challenger] = sha256_of(fitted.artifact.read_bytes())
    if weights.keys() != {challenger}:
        profile = _reference_of_vote(vote(predicted, weights), rows, dataset, profile)
    return StoredPool(
        members=members_of(weights, sha256), profile=profile_to_data(profile), left_out=left_out
    )


def _candidates(job: Job, context: TrainerContext) -> list[str]:
    """The newest stored versions, those aside that failed on the golden set."""
    manifests = context.registry.versions(job.model)
    kept = [m.version for m in manifests if not m.failed_golden_set and m.version != job.challenger]
    return kept[-context.swap.max_versions :]


def _newest_losses(
    predicted: list[Prediction | None],
    rows: pd.DataFrame,
    profile: ReferenceProfile,
    context: TrainerContext,
) -> Floats:
    """The losses on the newest rows, in the metric in which versions are compared."""
    return losses(
        predicted[-RECENT_EVENTS:],
        rows[LABEL].tolist()[-RECENT_EVENTS:],
        profile.task,
        threshold=profile.threshold,
        positive=profile.positive,
        metric=resolve_metric(context.gate.metric, profile.task),
    )


def _reference_of_vote(
    out_of_fold: list[Prediction | None],
    rows: pd.DataFrame,
    dataset: Dataset,
    profile: ReferenceProfile,
) -> ReferenceProfile:
    """The reference of a vote, otherwise that of the challenger's ``profile``."""
    spec = FitSpec(
        dataset.features,
        profile.model,
        profile.version,
        task=profile.task,
        threshold=profile.threshold,
        positive=profile.positive,
        segmented_by=profile.segmented_by,
        events_per_week=dataset.events_per_week,
    )
    return reference_of(rows, out_of_fold, spec, profile.importances)


def suited_members(
    profile: ReferenceProfile, model: str, versions: Iterable[str], context: TrainerContext
) -> tuple[dict[str, Manifest], dict[str, str]]:
    """Return the stored versions that can vote with the version of ``profile``, by name.

    A model server has the features of that version, so others have to have the same.  The second
    result names the versions that are left out, with the reason.
    """
    suited: dict[str, Manifest] = {}
    left_out: dict[str, str] = {}
    for version in sorted(versions):
        try:
            manifest = context.registry.manifest(model, version)
            other = manifest.reference()
        except RegistryError as error:  # deleted or damaged
            left_out[version] = str(error)
            continue
        if (other.task, other.positive) != (profile.task, profile.positive):
            left_out[version] = OTHER_TASK
        elif _features(other) != _features(profile):
            left_out[version] = OTHER_FEATURES
        else:
            suited[version] = manifest
    return suited, left_out


def members_of(weights: Mapping[str, float], sha256: Mapping[str, str]) -> tuple[PoolMember, ...]:
    """Return the members of a pool, the largest weight first."""
    return tuple(
        PoolMember(version=version, artifact_sha256=sha256[version], weight=weight)
        for version, weight in sorted(weights.items(), key=lambda one: (-one[1], one[0]))
    )


def formed_pool(manifest: Manifest, caused_by: str) -> StoredPool | None:
    """Return the pool with which a version goes into service; ``None``: it serves alone.

    Only the retrain that made the version forms a pool.  A version that a person promotes later
    serves alone.
    """
    return manifest.pool if manifest.caused_by == caused_by else None


def pool_sentence(members: Iterable[PoolMember], left_out: Mapping[str, str]) -> str:
    """Describe a pool for people: its members with their weights, its cost, who is left out."""
    named = [f"{member.version} ({member.weight:.2f})" for member in members]
    if len(named) == 1:
        found = f"Version {named[0].split(' ')[0]} has all of the weight."
    else:
        found = (
            f"The vote of the versions {', '.join(named)} is served; a prediction costs "
            f"{len(named)} predictions."
        )
    for version, why in left_out.items():
        found += f" Version {version} has no vote: {why}."
    return found


def _features(profile: ReferenceProfile) -> set[str]:
    """The columns of a version; some may have been too odd to be watched."""
    return {*profile.features, *profile.skipped}


def _unseen_predictions(
    manifest: Manifest, rows: pd.DataFrame, context: TrainerContext
) -> list[Prediction | None]:
    """Return the predictions of a stored version, ``None`` where it may have been fitted."""
    found: list[Prediction | None] = [None] * len(rows)
    unseen = np.flatnonzero(rows["time_ms"].to_numpy() > manifest.trained_until_ms)
    if len(unseen):
        profile = manifest.reference()
        estimator = context.registry.load(manifest.artifact_sha256)
        names = getattr(estimator, "feature_names_in_", None)
        features = list(profile.features) if names is None else [str(name) for name in names]
        frame = rows.iloc[unseen][features]
        computed = predictions(estimator, frame, profile.task, profile.positive)
        for row, prediction in zip(unseen.tolist(), computed, strict=True):
            found[row] = prediction
    return found
