"""Compares the fitted challenger with the champion on the golden set of the user."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from producer.events import Prediction
from stream_monitor.reference.profile import ClassLabel, Task
from trainer.dataset.golden_set import InvalidGoldenSet, read_golden_set
from trainer.evaluation.gate import Gate, GateDecision, check_golden
from trainer.evaluation.losses import losses, resolve_metric
from trainer.fitting.predictions import predictions
from trainer.jobs.job import Job
from trainer.service.context import TrainerContext, champions_profile


def golden_set_of(
    model: str, context: TrainerContext, features: Sequence[str]
) -> pd.DataFrame | None:
    """Read the golden set of a model; ``None`` if it has none.

    Raises:
        InvalidGoldenSet: it cannot be used.
    """
    file = context.gate.golden_file(model)
    if file is None:
        return None
    return read_golden_set(file, features, context.gate.min_events)


def compare_on_golden(
    golden: pd.DataFrame,
    challengers: Sequence[Prediction | None],
    job: Job,
    context: TrainerContext,
    features: Sequence[str],
    task: Task,
    positive: ClassLabel,
) -> GateDecision:
    """Compare ``challengers`` predictions for the golden set with those of the champion.

    Raises:
        InvalidGoldenSet: the champion is not in the registry, so that it cannot predict.
    """
    manifest, profile = context.manifest(job.model, job.champion), champions_profile(job, context)
    if manifest is None:
        raise InvalidGoldenSet(
            f"{job.model}@{job.champion} is not in the registry, so that it cannot be compared on "
            "the golden set: driftline models register stores it"
        )
    champion = context.registry.load(manifest.artifact_sha256)
    served = predictions(champion, golden[list(features)], task, positive)
    threshold = 0.5 if profile is None else profile.threshold
    return decide_on_golden(
        golden, served, challengers, context.gate, job.model, task, positive, threshold
    )


def decide_on_golden(
    golden: pd.DataFrame,
    champions: Sequence[Prediction | None],
    challengers: Sequence[Prediction | None],
    gate: Gate,
    model: str,
    task: Task,
    positive: ClassLabel,
    threshold: float = 0.5,
) -> GateDecision:
    """Compare two models' predictions for the golden set."""
    theirs, ours = (
        losses(
            one,
            golden["label"].tolist(),
            task,
            threshold=threshold,
            positive=positive,
            metric=resolve_metric(gate.metric, task),
        )
        for one in (champions, challengers)
    )
    return check_golden(theirs, ours, gate, gate.golden_file(model) or "")
