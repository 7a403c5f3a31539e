"""The pipeline of a retrain, from its alert to its promotion: one function for each state of a job.

::

    asked       plan_ranges           which records of the event topic are read
    waiting     wait_for_labels       until enough labelled events follow the onset
    reading     build_training_set    history and new rows, without excluded time ranges
    fitting     fit_windows           each candidate window, without the holdout
    evaluating  evaluate_challenger      choose the window; compare with the champion on the holdout
    refitting   refit_challenger      fit the chosen window again, on all rows
    storing     `trainer.service.challenger_storage`, with the decision about it
    promoting   promote_challenger    announce it to monitor and model servers, or propose it

A step gets the job and returns its next state; one transaction records the result.  A step that is
interrupted is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import pandas as pd
import structlog

from producer.events import Prediction
from producer.failpoints import failpoint
from producer.routing import partitions_of_model
from stream_monitor.reference.profile import profile_from_data
from trainer.dataset.frame import build_dataset, split_holdout, with_history
from trainer.dataset.range_reader import end_offsets
from trainer.evaluation.gate import best_window, check_refit, compare
from trainer.evaluation.losses import Floats, losses, resolve_metric
from trainer.fitting.predictions import predictions
from trainer.fitting.results import FitFailure, TriedWindows
from trainer.fitting.run import fit, try_windows
from trainer.jobs.champions import Champion
from trainer.jobs.job import Job
from trainer.policy.decide import Numbers
from trainer.policy.naming import derived_id, next_version
from trainer.policy.offset_ranges import OffsetRange, start_before
from trainer.policy.training_window import TrainingWindow, candidate_windows
from trainer.registry.manifest import Manifest
from trainer.service.announce import announce, update_of
from trainer.service.context import (
    JobWorkspace,
    StepInputs,
    TrainerContext,
    challenger_of,
    champions_profile,
    dataset_of,
    factory_of,
    trained_rows,
    tried_of,
)
from trainer.service.golden_check import compare_on_golden, golden_set_of
from trainer.service.pool_forming import formed_pool, pool_sentence
from trainer.service.proposal import needs_person, proposed
from trainer.service.source_check import check_sources
from trainer.service.step_result import StepEvent, StepResult
from trainer.service.training_rows import (
    column_roles,
    open_reader,
    read_some,
    recorded_reader,
    stored_history,
)
from trainer.service.version_records import version_records

log = structlog.get_logger(__name__)


def plan_ranges(
    job: Job, context: TrainerContext, _workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """Decide the offset ranges: the lookback before the onset, in all partitions of the model.

    The onset is known in the alert's partition.  In other partitions of the model as many records
    before the end are read, because shards have equal shares of the traffic.
    """
    ends = end_offsets(context.kafka.client(), context.topics.events)
    onset, partition = job.work.onset_offset, job.work.partition
    lookback = context.policy.lookback_records
    back = lookback
    if onset is not None and partition is not None:
        back = max(0, ends.get(partition, 0) - onset) + lookback
    ranges = []
    places = set(partitions_of_model(job.model, context.shards, len(ends)))
    if partition is not None:  # it may be the model's place before partitions were added
        places.add(partition)
    for place in sorted(places & ends.keys()):
        start = max(0, ends[place] - back)
        if place == partition and onset is not None:
            start = start_before(onset, lookback)
        end = start if onset is not None else max(start, ends[place])
        ranges.append(OffsetRange(partition=place, start=start, end=end))
    return StepResult(job.to("waiting", ranges=ranges))


def wait_for_labels(
    job: Job, context: TrainerContext, workspace: JobWorkspace, inputs: StepInputs
) -> StepResult | None:
    """Read until there are enough labels; ``None`` while the job should wait longer.

    A person's request does not wait.
    """
    if workspace.reading is None:
        workspace.reading = open_reader(job, context, follow=job.work.onset_ms is not None)
    reading = workspace.reading
    reading.resume()
    caught_up = read_some(reading)
    reading.pause()
    collector = reading.collector
    enough = collector.labelled_since(inputs.excluded_ranges) >= context.policy.min_labelled_events
    now = job.to("waiting", now_ms=collector.newest_ms)
    if caught_up and enough:
        failpoint("trainer.waiting.done")
        return StepResult(now.to("reading", ranges=reading.ranges()))
    late = now.now_ms > job.asked_ms + context.policy.give_up_after_ms
    if caught_up and (late or job.work.onset_ms is None):
        found = collector.labelled_since(inputs.excluded_ranges)
        reason = (
            f"{found:,} labelled events outside of excluded time ranges; "
            f"{context.policy.min_labelled_events:,} are needed."
        )
        needed = context.policy.min_labelled_events
        numbers: Numbers = {"labelled": found, "min_labelled_events": needed}
        return StepResult(
            now.ended("gave_up"), (StepEvent("declined", "too_few_labels", reason, numbers),)
        )
    return None


def build_training_set(
    job: Job, context: TrainerContext, workspace: JobWorkspace, inputs: StepInputs
) -> StepResult:
    """Build the training set of the recorded ranges and name the challenger."""
    reading = recorded_reader(job, context, workspace)
    collected = reading.collector.collected(inputs.excluded_ranges)
    roles = column_roles(job, context, collected)
    dataset = build_dataset(
        collected, roles, ranges=reading.ranges(), read=reading.read, rejected=reading.rejected
    )
    reading.close()
    dataset = with_history(
        dataset,
        stored_history(job, context, inputs.excluded_ranges),
        max_rows=context.policy.max_rows,
    )
    job, dataset, declined = check_sources(job, context, dataset, roles, inputs)
    workspace.reading, workspace.dataset = None, dataset
    challenger = job.challenger or next_version(job.champion, inputs.used_versions)
    named = msgspec.structs.replace(job, challenger=challenger)
    numbers = dataset.record.numbers()
    failpoint("trainer.reading.done")
    if declined is not None:
        return StepResult(job.ended("declined"), (declined,))
    holdout_rows = context.policy.holdout_rows
    if dataset.record.rows <= holdout_rows:
        reason = (
            f"{dataset.record.rows:,} rows are left outside of excluded time ranges; the holdout "
            f"alone needs {holdout_rows:,}."
        )
        return StepResult(
            job.ended("gave_up"), (StepEvent("declined", "too_few_rows", reason, numbers),)
        )
    reason = f"Training {job.model}@{challenger} on {dataset.record.rows:,} labelled events."
    return StepResult(
        named.to("fitting", ranges=dataset.record.ranges, now_ms=dataset.record.last_ms),
        (StepEvent("started", "enough_labels", reason, numbers),),
    )


def fit_windows(
    job: Job, context: TrainerContext, workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """Fit each candidate window without the holdout, in a separate process."""
    failpoint("trainer.fitting.started")
    dataset, challenger = dataset_of(workspace), challenger_of(job)
    earlier, later = split_holdout(dataset.frame, context.policy.holdout_rows)
    profile = champions_profile(job, context)
    outcome = try_windows(
        factory_of(job, context),
        earlier,
        dataset.features,
        context.limits,
        workspace.folder,
        lambda stage: log.info("fitting", model=job.model, version=challenger, stage=stage),
        held_out=later,
        windows=list(_windows(job, context, earlier)),
        task=None if profile is None else profile.task,
        positive=None if profile is None else profile.positive,
    )
    failpoint("trainer.fitting.done")
    if isinstance(outcome, FitFailure):
        return _failed(job, outcome)
    workspace.tried = outcome
    return StepResult(job.to("evaluating"))


def evaluate_challenger(
    job: Job, context: TrainerContext, workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """Choose the window, and compare its challenger with the champion on the holdout."""
    dataset, tried = dataset_of(workspace), tried_of(workspace)
    earlier, later = split_holdout(dataset.frame, context.policy.holdout_rows)
    if context.gate.metric == "brier" and tried.task != "binary":
        reason = f"the gate's metric is 'brier', which is for binary models, not {tried.task}"
        step_event = StepEvent(
            "failed", "metric", f"{reason}: set trainer.gate.metric to 'error'.", {}
        )
        return StepResult(job.ended("failed"), (step_event,))
    windows = _windows(job, context, earlier)
    by_window = {
        name: _losses(predicted, later, tried, job, context)
        for name, predicted in tried.held_out.items()
    }
    window = best_window(list(windows), by_window)
    served, source = _champions_predictions(later, dataset.features, job, context, tried)
    decided = compare(
        _losses(served, later, tried, job, context), by_window[window.name], context.gate
    )
    failpoint("trainer.evaluating.done")
    n_rows = len(dataset.frame) if window.rows is None else windows[window] + len(later)
    numbers: Numbers = {
        **decided.numbers,
        "champion_predictions": source,
        "window": window.name,
        "window_rows": n_rows,
        **{f"loss_of_{name}": float(one.mean()) for name, one in by_window.items()},
    }
    unknown = f"{_CHAMPION_UNKNOWN_REASON} " if source == "none" else ""
    return StepResult(
        job.to(
            "refitting",
            promote=decided.promote,
            rule=decided.rule,
            reason=unknown + decided.reason,
            numbers=numbers,
        )
    )


_CHAMPION_UNKNOWN_REASON = (
    "The champion served none of the events and is not in the registry, so its predictions are "
    "not known."
)


def refit_challenger(
    job: Job, context: TrainerContext, workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """Fit the chosen window again on all rows, the holdout included, in a separate process.

    The newest rows are the most valuable ones; they evaluated the recipe, and now they train.
    """
    failpoint("trainer.refitting.started")
    dataset, challenger, tried = dataset_of(workspace), challenger_of(job), tried_of(workspace)
    _earlier, later = split_holdout(dataset.frame, context.policy.holdout_rows)
    rows = dataset.frame.tail(int(job.work.numbers["window_rows"]))
    golden = golden_set_of(job.model, context, dataset.features)
    profile = champions_profile(job, context)
    outcome = fit(
        factory_of(job, context),
        rows,
        dataset.features,
        context.limits,
        workspace.folder,
        lambda stage: log.info("refitting", model=job.model, version=challenger, stage=stage),
        model=job.model,
        version=challenger,
        task=tried.task,
        threshold=0.5 if profile is None else profile.threshold,
        positive=tried.positive,
        held_out=later if golden is None else pd.concat([later, golden], ignore_index=True),
        segmented_by=() if profile is None else profile.segmented_by,
        events_per_week=dataset.events_per_week,
    )
    failpoint("trainer.refitting.done")
    if isinstance(outcome, FitFailure):
        return _failed(job, outcome)
    workspace.fitted = outcome
    numbers: Numbers = {
        "seconds": round(tried.seconds + outcome.seconds, 3),
        "rows": len(rows),
        "held_out": len(later),
        "window": job.work.numbers["window"],
        **outcome.metrics,
    }
    reason = (
        f"{job.model}@{challenger} is fitted on {len(rows):,} labelled events "
        f"({job.work.numbers['window']}); its recipe was evaluated on the newest {len(later):,}."
    )
    recipe = _losses(tried.held_out[str(job.work.numbers["window"])], later, tried, job, context)
    of_holdout = outcome.held_out[: len(later)]
    failed = check_refit(recipe, _losses(of_holdout, later, tried, job, context), context.gate)
    after = job.to("storing")
    if golden is not None and failed is None:
        of_golden = outcome.held_out[len(later) :]
        decided = compare_on_golden(
            golden, of_golden, job, context, dataset.features, tried.task, tried.positive
        )
        after = job.to("storing", numbers=job.work.numbers | decided.numbers)
        failed = None if decided.promote or not job.work.promote else decided
    if failed is not None:
        after = after.to("storing", promote=False, rule=failed.rule, reason=failed.reason)
    return StepResult(after, (StepEvent("succeeded", "fitted", reason, numbers),))


def _failed(job: Job, outcome: FitFailure) -> StepResult:
    seconds: Numbers = {"seconds": round(outcome.seconds, 3)}
    step_event = StepEvent("failed", outcome.rule, outcome.reason, seconds)
    return StepResult(job.ended("failed"), (step_event,))


def _windows(job: Job, context: TrainerContext, earlier: pd.DataFrame) -> dict[TrainingWindow, int]:
    """The candidate windows of the rows before the holdout, with their numbers of rows."""
    since_ms = {"since the onset": job.work.onset_ms}
    manifest = context.manifest(job.model, job.champion)
    if manifest is not None:
        since_ms["since the champion's first row"] = trained_rows(manifest).get("first_ms")
    counts = {
        name: int((earlier["time_ms"] >= start_ms).sum())
        for name, start_ms in since_ms.items()
        if start_ms is not None
    }
    return {
        window: len(earlier) if window.rows is None else window.rows
        for window in candidate_windows(len(earlier), counts)
    }


def _losses(
    model_predictions: Sequence[Prediction | None],
    later: pd.DataFrame,
    tried: TriedWindows,
    job: Job,
    context: TrainerContext,
) -> Floats:
    """The losses on the holdout (n,), in the gate's metric."""
    profile = champions_profile(job, context)
    return losses(
        model_predictions,
        later["label"].tolist(),
        tried.task,
        threshold=0.5 if profile is None else profile.threshold,
        positive=tried.positive,
        metric=resolve_metric(context.gate.metric, tried.task),
    )


def promote_challenger(
    job: Job, context: TrainerContext, _workspace: JobWorkspace, _inputs: StepInputs
) -> StepResult:
    """Announce the version to the monitor, then record it as champion; or propose it to a person.

    The transaction of the champion also puts the record for the model servers into the outbox.
    """
    challenger = challenger_of(job)
    if needs_person(job, context):
        return proposed(job, context, challenger)
    manifest = context.registry.manifest(job.model, challenger)
    is_pool = context.mode_of(job.model) == "pool"
    pool = formed_pool(manifest, job.caused_by) if is_pool else None
    profile = manifest.reference() if pool is None else profile_from_data(pool.profile)
    voters = () if pool is None else pool.members
    members = [context.registry.manifest(job.model, voter.version) for voter in voters]
    context.publish([manifest, *members])
    announce(
        context.kafka.bootstrap_servers,
        profile,
        update=update_of(
            profile,
            update_id=derived_id("update", job.job_id),
            time_ms=job.now_ms,
            artifact_sha256=manifest.artifact_sha256,
            caused_by=job.caused_by,
        ),
        topic_prefix=context.prefix,
        shards=context.shards,
        librdkafka=context.kafka.librdkafka,
    )
    failpoint("trainer.promoting.announced")
    step: Literal["promoted", "rolled_back"] = "rolled_back" if job.work.rolls_back else "promoted"
    reason = job.work.reason
    if pool is not None:
        reason = f"{reason.rstrip('. ')}. {pool_sentence(pool.members, pool.left_out)}"
    step_event = StepEvent(step, job.work.rule, reason, job.work.numbers)
    return StepResult(
        job.ended(step),
        (step_event,),
        champion_from(job, manifest),
        tuple(
            version_records(
                context.topics.models,
                manifest,
                time_ms=job.now_ms,
                caused_by=job.caused_by,
                pool=pool,
            )
        ),
    )


def champion_from(job: Job, manifest: Manifest) -> Champion:
    """Return the champion that a job promotes."""
    return Champion(
        job.model, manifest.version, manifest.artifact_sha256, job.now_ms, job.caused_by
    )


def _champions_predictions(
    later: pd.DataFrame, features: list[str], job: Job, context: TrainerContext, tried: TriedWindows
) -> tuple[list[Prediction | None], str]:
    """Return the champion's predictions for the holdout, and their source.

    Rows that it was fitted on, and did not serve, have none: it would look too good on them.
    """
    served = [
        prediction if version == job.champion else None
        for prediction, version in zip(later["prediction"], later["version"], strict=True)
    ]
    manifest = context.manifest(job.model, job.champion)
    if None not in served:
        return served, "served"
    if manifest is None:
        return served, "served" if any(one is not None for one in served) else "none"
    trained_until_ms = trained_rows(manifest).get("last_ms") or -1
    missing = [
        i
        for i, (prediction, time_ms) in enumerate(zip(served, later["time_ms"], strict=True))
        if prediction is None and time_ms > trained_until_ms
    ]
    if not missing:
        return served, "served"
    estimator = context.registry.load(manifest.artifact_sha256)
    computed = predictions(estimator, later.iloc[missing][features], tried.task, tried.positive)
    for i, prediction in zip(missing, computed, strict=True):
        served[i] = prediction
    return served, "artifact" if len(missing) == len(served) else "served, artifact"
