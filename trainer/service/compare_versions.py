"""Compares the stored versions with the champion on scored events, and requests swaps and growth.

One transaction of the caller moves the position in the event topic, the state of the swap test, the
count of labelled events, and adds a job.  So each labelled event counts once, wherever the trainer
ends.
"""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

import numpy as np

from trainer.contracts import Step
from trainer.evaluation.version_swap import Swap, SwapState, SwapTest
from trainer.jobs.champions import Champion, champion_of
from trainer.jobs.comparisons import (
    Comparison,
    Growth,
    find_comparison,
    label_positions,
    move_positions,
    save_comparison,
)
from trainer.jobs.job import Job, JobData, State
from trainer.jobs.job_store import (
    SWAP_CAUSE,
    active_job_of,
    excluded_ranges_of,
    has_job,
    history_of,
    latest_ms,
    swaps_since,
)
from trainer.policy.decide import Numbers, limit_reached
from trainer.policy.excluded_ranges import is_excluded
from trainer.policy.naming import derived_id, job_id_of
from trainer.policy.offset_ranges import OffsetRange
from trainer.policy.retrain_policy import DAY_MS, is_grown, rows_to_grow
from trainer.service.context import TrainerContext
from trainer.service.pool_weights import end_pool, renew_weights, restarted_vote
from trainer.service.scored_events import ScoredEvents
from trainer.service.step_result import StepEvent, add_reported_job, cancel_job

SWAP_RULE: Final = "swap"
SWAP_BUDGET_RULE: Final = "swap_budget"
GROWTH_RULE: Final = "growth"


class RecordedEvents(NamedTuple):
    """The result of recording scored events: the number compared, and the jobs requested."""

    n_compared: int = 0
    jobs: tuple[Job, ...] = ()


def record_scored(
    rows: sqlite3.Connection, scored: ScoredEvents, context: TrainerContext
) -> RecordedEvents | None:
    """Record scored events, inside the caller's transaction.

    ``None``: the recorded positions are others than those before the events, so nothing is
    recorded; the events have to be read again from the recorded positions.
    """
    if not move_positions(rows, scored.model, scored.before, scored.after):
        return None
    champion = champion_of(rows, scored.model)
    if champion is None:
        return RecordedEvents()
    comparison = find_comparison(rows, scored.model)
    if comparison is None or comparison.champion_cause != champion.caused_by:
        comparison = _restarted(comparison, champion, context)
    comparison.n_labelled += scored.n_labelled
    if context.mode_of(scored.model) != "pool":
        end_pool(rows, comparison, champion, scored.newest_ms, context)
    before = comparison.n_scored
    jobs = _compare(rows, scored, comparison, champion, context)
    jobs += _grow(rows, scored, comparison, champion, context)
    save_comparison(rows, scored.model, comparison)
    return RecordedEvents(comparison.n_scored - before, tuple(jobs))


def _restarted(
    before: Comparison | None, champion: Champion, context: TrainerContext
) -> Comparison:
    """Return the comparison with a new swap test: there is another champion, or the first one."""
    return Comparison(
        champion_cause=champion.caused_by,
        swap=SwapState(champion=champion.version),
        growth=Growth() if before is None else before.growth,
        n_labelled=0 if before is None else before.n_labelled,
        n_scored=0 if before is None else before.n_scored,
        vote=restarted_vote(None if before is None else before.vote, champion, context),
    )


def _compare(
    rows: sqlite3.Connection,
    scored: ScoredEvents,
    comparison: Comparison,
    champion: Champion,
    context: TrainerContext,
) -> list[Job]:
    """Give the events to the swap test, block by block; request a swap if it finds one.

    Events of excluded time ranges do not count, unless only some values were broken: then the
    versions are compared on what is served.  The events after a swap do not count either.  In mode
    ``pool`` there is no swap; the weights of the pool are renewed.
    """
    if champion.version not in scored.losses:
        return []
    excluded = [one for one in excluded_ranges_of(rows, scored.model) if one.feature is None]
    events = zip(scored.times_ms, scored.versions, strict=True)
    ignored = np.array([is_excluded(*event, excluded) for event in events])
    losses = {
        name: np.where(ignored, np.nan, np.array(values)) for name, values in scored.losses.items()
    }
    test = SwapTest(context.swap, comparison.swap)
    size, is_pool = context.swap.block_events, context.mode_of(scored.model) == "pool"
    jobs: list[Job] = []
    for start in range(0, len(ignored), size):
        block = {name: values[start : start + size] for name, values in losses.items()}
        found = test.observe(block, scored.scale)
        comparison.n_scored += len(block[champion.version])
        counted = ~ignored[start : start + size]
        if is_pool:
            known = {name: values[counted] for name, values in block.items()}
            now_ms = scored.newest_ms
            renew_weights(rows, known, scored.scale, comparison, champion, now_ms, context)
        elif found is not None:
            jobs += _handle_swap(rows, scored, found, champion, context)
        if any(job.work.rule == SWAP_RULE for job in jobs):
            test.restart(champion.version)
            break
    comparison.swap = test.state
    return jobs


def _handle_swap(
    rows: sqlite3.Connection,
    scored: ScoredEvents,
    found: Swap,
    champion: Champion,
    context: TrainerContext,
) -> list[Job]:
    """Add the job of a swap, unless another job of the model runs, or the budget is spent.

    A job that waits for labels is cancelled: its alert is about a champion that is replaced.  In
    mode ``manual`` it is not replaced; each version is proposed once while the champion serves.
    """
    model, topic = scored.model, context.topics.retrain
    now_ms = max(scored.newest_ms, latest_ms(rows, model))
    active, is_manual = active_job_of(rows, model), context.mode_of(model) == "manual"
    if active is not None and (is_manual or not _gives_way(active)):
        return []
    places = () if is_manual else tuple(f"{p.partition}:{p.next_offset}" for p in scored.after)
    cause = SWAP_CAUSE + derived_id(model, champion.caused_by, found.version, *places)
    if has_job(rows, cause):
        return []
    manifest = context.manifest(model, found.version)
    if manifest is None:
        return []
    n_swaps = swaps_since(rows, model, now_ms - DAY_MS)
    numbers: Numbers = {
        "improvement": found.improvement,
        "labelled_events": found.n_events,
        "wealth": found.wealth,
        "threshold": found.threshold,
        "swaps_within_24_h": n_swaps,
    }
    reason = (
        f"The stored version {found.version} is better than the champion {champion.version}: its "
        f"loss is lower by {found.improvement:.4g} on average over {found.n_events:,} labelled "
        "events."
    )
    if n_swaps >= context.swap.max_swaps_per_day:
        reason += (
            f" But {n_swaps} swaps took place within 24 h, and at most "
            f"{context.swap.max_swaps_per_day} are allowed: the champion stays in service."
        )
        cause = f"{SWAP_BUDGET_RULE}:{derived_id(model, champion.caused_by)}"
        work = JobData(rule=SWAP_BUDGET_RULE, reason=reason, numbers=numbers)
        declined = _job(cause, model, champion, now_ms, work).ended("declined")
        return _add(rows, declined, "declined", topic)
    if active is not None:
        _cancel(rows, active, now_ms, reason, topic)
    work = JobData(
        artifact_sha256=manifest.artifact_sha256,
        promote=True,
        rule=SWAP_RULE,
        reason=reason,
        numbers=numbers,
    )
    job = _job(cause, model, champion, now_ms, work, challenger=found.version, state="promoting")
    return _add(rows, job, "requested", topic)


def _gives_way(active: Job) -> bool:
    """Whether a swap cancels the job: an alert's job that has not begun to fit."""
    return active.state in ("asked", "waiting") and active.work.alert is not None


def _cancel(rows: sqlite3.Connection, job: Job, now_ms: int, reason: str, topic: str) -> None:
    why = f"{reason} It replaces the champion, whose drift this job was about."
    cancel_job(rows, job, StepEvent("declined", "swapped", why, {}), topic, now_ms=now_ms)


def _grow(
    rows: sqlite3.Connection,
    scored: ScoredEvents,
    comparison: Comparison,
    champion: Champion,
    context: TrainerContext,
) -> list[Job]:
    """Count the labelled events since the newest version; request a retrain if there are enough."""
    growth = comparison.growth
    if growth.version != scored.newest_version:
        growth = Growth(version=scored.newest_version, rows=_growing_rows(scored, growth, context))
        comparison.growth = growth
    for position in (*scored.before, *scored.after):
        growth.starts.setdefault(position.partition, position.reread_offset)
    growth.n_fresh += scored.n_fresh
    policy, model = context.policy, scored.model
    enough = growth.n_fresh >= policy.min_labelled_events
    if growth.rows is None or not enough or not is_grown(growth.rows, growth.n_fresh, policy):
        return []
    now_ms = max(scored.newest_ms, latest_ms(rows, model))
    has_factory = model in context.factories
    history = history_of(rows, model, episode_id=None, now_ms=now_ms, has_factory=has_factory)
    if not has_factory or limit_reached(now_ms, history, policy) is not None:
        return []
    ranges = [
        OffsetRange(partition=p.partition, start=growth.starts[p.partition], end=p.next_offset)
        for p in label_positions(rows, model)
        if p.partition in growth.starts
    ]
    reason = (
        f"{growth.n_fresh:,} labelled events follow the {growth.rows:,} training rows of version "
        f"{growth.version}: more data make a better model."
    )
    numbers: Numbers = {"fresh": growth.n_fresh, "training_rows": growth.rows}
    work = JobData(rule=GROWTH_RULE, reason=reason, numbers=numbers, ranges=ranges)
    cause = f"{GROWTH_RULE}:{derived_id(model, growth.version, str(growth.rows))}"
    growth.rows, growth.n_asked, growth.n_fresh = growth.rows + growth.n_fresh, growth.n_fresh, 0
    job = _job(cause, model, champion, now_ms, work, state="waiting")
    return _add(rows, job, "requested", context.topics.retrain)


def _growing_rows(scored: ScoredEvents, before: Growth, context: TrainerContext) -> int | None:
    """Return the rows that have to grow by the policy's factor since the newest version."""
    rows, asked = scored.newest_rows, before.rows
    if rows is None or asked is None:
        return rows
    manifest = context.manifest(scored.model, scored.newest_version)
    if manifest is None or not manifest.caused_by.startswith(f"{GROWTH_RULE}:"):
        return rows
    # A proposal is better than a champion that may have been replaced long ago: it proves no move.
    is_better = manifest.is_proved_better and context.mode_of(scored.model) != "manual"
    return rows_to_grow(asked, before.n_asked, rows, is_better=is_better)


def _job(
    caused_by: str,
    model: str,
    champion: Champion,
    now_ms: int,
    work: JobData,
    *,
    challenger: str | None = None,
    state: State = "asked",
) -> Job:
    return Job(
        job_id=job_id_of(caused_by),
        caused_by=caused_by,
        model=model,
        champion=champion.version,
        challenger=challenger,
        state=state,
        asked_ms=now_ms,
        work=work,
    )


def _add(rows: sqlite3.Connection, job: Job, step: Step, topic: str) -> list[Job]:
    work = job.work
    step_event = StepEvent(step, work.rule, work.reason, work.numbers)
    return [job] if add_reported_job(rows, job, step_event, topic) else []
