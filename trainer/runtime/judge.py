"""The later steps of a job: the fit, the comparison with the champion, storing, promoting."""

from __future__ import annotations

from typing import Literal

import msgspec
import pandas as pd
import structlog

from producer.events import Prediction
from producer.failpoint import failpoint
from stream_monitor.reference.profile import ReferenceProfile
from trainer.dataset import Dataset, split
from trainer.decision import derived_id
from trainer.evaluation.gate import compare
from trainer.evaluation.losses import losses
from trainer.fit.outcome import FitFailed, Fitted
from trainer.fit.predictions import predictions
from trainer.fit.run import fit
from trainer.jobs import Champion, Job
from trainer.promotion import announce, update_of, version_letters
from trainer.registry.errors import VersionTaken
from trainer.registry.manifest import Manifest
from trainer.runtime.bench import Bench, Desk, Facts
from trainer.runtime.change import Change, Told

log = structlog.get_logger(__name__)


def train(job: Job, bench: Bench, desk: Desk, _facts: Facts) -> Change:
    """Fit the challenger on the earlier rows, in a process of its own."""
    failpoint("trainer.fitting.started")
    dataset, challenger = _dataset(desk), _challenger(job)
    earlier, later = _parts(dataset, job, bench)
    profile = _champions_profile(job, bench)
    outcome = fit(
        _factory(job, bench),
        earlier,
        dataset.features,
        bench.limits,
        desk.folder,
        lambda stage: log.info("fitting", model=job.model, version=challenger, stage=stage),
        model=job.model,
        version=challenger,
        task=None if profile is None else profile.task,
        threshold=0.5 if profile is None else profile.threshold,
        positive=None if profile is None else profile.positive,
        held_out=later,
        segmented_by=() if profile is None else profile.segmented_by,
        events_per_week=dataset.events_per_week,
    )
    failpoint("trainer.fitting.done")
    seconds: dict[str, float | int | str | None] = {"seconds": round(outcome.seconds, 3)}
    if isinstance(outcome, FitFailed):
        told = Told("failed", outcome.rule, outcome.reason, seconds)
        return Change(job.ended("failed"), (told,))
    desk.fitted = outcome
    numbers = seconds | {"rows": len(earlier), "held_out": len(later)} | outcome.metrics
    reason = f"{job.model}@{challenger} is fitted; {len(later):,} later events judge it."
    return Change(job.to("evaluating"), (Told("succeeded", "fitted", reason, numbers),))


def evaluate(job: Job, bench: Bench, desk: Desk, _facts: Facts) -> Change:
    """Compare champion and challenger on the same later events."""
    dataset, fitted = _dataset(desk), _fitted(desk)
    _earlier, later = _parts(dataset, job, bench)
    served, source = _champions_predictions(later, dataset.features, job, bench, fitted.profile)
    labels = later["label"].tolist()
    reference = fitted.profile
    if bench.gate.metric == "brier" and reference.task != "binary":
        reason = f"the gate's metric is 'brier', which is for binary models, not {reference.task}"
        told = Told("failed", "metric", f"{reason}: set trainer.gate.metric to 'error'.", {})
        return Change(job.ended("failed"), (told,))
    ours, theirs = (
        losses(
            said,
            labels,
            reference.task,
            threshold=reference.threshold,
            positive=reference.positive,
            metric=bench.gate.metric,
        )
        for said in (served, fitted.held_out)
    )
    verdict = compare(ours, theirs, bench.gate)
    failpoint("trainer.evaluating.done")
    return Change(
        job.to(
            "storing",
            promote=verdict.promote,
            rule=verdict.rule,
            reason=verdict.reason if source != "none" else f"{_UNKNOWN} {verdict.reason}",
            numbers={**verdict.numbers, "champion_predictions": source},
        )
    )


_UNKNOWN = "What the champion would have said is not known: it served none of them."


def store(job: Job, bench: Bench, desk: Desk, _facts: Facts) -> Change:
    """Store the challenger, whatever the verdict: a person may promote it later.

    A restarted job may find what it stored before; that one, and the verdict on it, stands.
    """
    challenger, fitted, dataset = _challenger(job), _fitted(desk), _dataset(desk)
    verdict = {"promote": job.work.promote, "rule": job.work.rule, "reason": job.work.reason}
    try:
        manifest = bench.registry.store(
            fitted.artifact,
            model=job.model,
            version=challenger,
            profile=fitted.profile,
            training=msgspec.to_builtins(dataset.record),
            metrics={**fitted.metrics, **job.work.numbers, "verdict": verdict},
            factory=_factory(job, bench),
            caused_by=job.caused_by,
            time_ms=job.now_ms,
        )
    except VersionTaken:
        manifest = bench.registry.manifest(job.model, challenger)
        if manifest.caused_by != job.caused_by:
            raise
    failpoint("trainer.storing.done")
    verdict = manifest.metrics["verdict"]
    numbers = {name: manifest.metrics.get(name) for name in job.work.numbers}
    work = {"artifact_sha256": manifest.artifact_sha256, "numbers": numbers, **verdict}
    if verdict["promote"]:
        return Change(job.to("promoting", **work))
    told = Told("rejected", verdict["rule"], verdict["reason"], numbers)
    return Change(job.to("storing", **work).ended("rejected"), (told,))


def promote(job: Job, bench: Bench, _desk: Desk, _facts: Facts) -> Change:
    """The monitor hears of the version first; then, in one transaction, it is the champion.

    The model servers' record leaves through the outbox of that transaction.
    """
    challenger = _challenger(job)
    manifest = bench.registry.manifest(job.model, challenger)
    profile = manifest.reference()
    announce(
        bench.kafka.bootstrap_servers,
        profile,
        update=update_of(
            profile,
            update_id=derived_id("update", job.job_id),
            time_ms=job.now_ms,
            artifact_sha256=manifest.artifact_sha256,
            caused_by=job.caused_by,
        ),
        topic_prefix=bench.prefix,
        shards=bench.shards,
        librdkafka=bench.kafka.librdkafka,
    )
    failpoint("trainer.promoting.announced")
    step: Literal["promoted", "rolled_back"] = "rolled_back" if job.work.rolls_back else "promoted"
    told = Told(step, job.work.rule, job.work.reason, job.work.numbers)
    return Change(
        job.ended(step),
        (told,),
        champion_by(job, manifest),
        tuple(
            version_letters(
                bench.topics.models, manifest, time_ms=job.now_ms, caused_by=job.caused_by
            )
        ),
    )


def champion_by(job: Job, manifest: Manifest) -> Champion:
    """The champion that a job makes."""
    return Champion(
        job.model, manifest.version, manifest.artifact_sha256, job.now_ms, job.caused_by
    )


def _champions_predictions(
    later: pd.DataFrame, features: list[str], job: Job, bench: Bench, reference: ReferenceProfile
) -> tuple[list[Prediction | None], str]:
    """What the champion said of the later events, or would have said, and how that is known."""
    served = [
        prediction if version == job.champion else None
        for prediction, version in zip(later["prediction"], later["version"], strict=True)
    ]
    silent = [i for i, prediction in enumerate(served) if prediction is None]
    manifest = bench.manifest(job.model, job.champion)
    if not silent:
        return served, "served"
    if manifest is None:
        return served, "served" if len(silent) < len(served) else "none"
    estimator = bench.registry.load(manifest.artifact_sha256)
    said = predictions(estimator, later.iloc[silent][features], reference.task, reference.positive)
    for i, prediction in zip(silent, said, strict=True):
        served[i] = prediction
    return served, "artifact" if len(silent) == len(served) else "served, artifact"


def _parts(dataset: Dataset, job: Job, bench: Bench) -> tuple[pd.DataFrame, pd.DataFrame]:
    return split(
        dataset.frame,
        since_ms=job.work.onset_ms,
        holdout_share=bench.spec.holdout_share,
        min_holdout=bench.gate.min_events,
    )


def _champions_profile(job: Job, bench: Bench) -> ReferenceProfile | None:
    manifest = bench.manifest(job.model, job.champion)
    return None if manifest is None else manifest.reference()


def _factory(job: Job, bench: Bench) -> str:
    return job.work.factory or bench.factories[job.model]


def _dataset(desk: Desk) -> Dataset:
    if desk.dataset is None:
        raise RuntimeError("a job came here without its training set")
    return desk.dataset


def _fitted(desk: Desk) -> Fitted:
    if desk.fitted is None:
        raise RuntimeError("a job came here without its challenger")
    return desk.fitted


def _challenger(job: Job) -> str:
    if job.challenger is None:
        raise RuntimeError("a job came here without a name for its challenger")
    return job.challenger
