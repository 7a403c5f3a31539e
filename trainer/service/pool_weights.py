"""Renews the weights of a pool in service from the losses of its versions, without a fit.

One transaction of the caller has the losses, the position in the event topic, the new weights and
their announcement.  So each renewal is announced once, wherever the trainer ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

import msgspec
import structlog

from trainer.contracts import RETRAIN_CE_TYPE, PoolMember, RetrainEvent
from trainer.evaluation.losses import Floats
from trainer.evaluation.vote import VersionVote, VoteState
from trainer.jobs.champions import Champion
from trainer.jobs.comparisons import Comparison
from trainer.jobs.outbox import OutboundRecord, enqueue
from trainer.policy.naming import derived_id, event_id, job_id_of
from trainer.registry.errors import RegistryError
from trainer.registry.manifest import Manifest
from trainer.service.context import TrainerContext
from trainer.service.pool_forming import formed_pool, members_of, pool_sentence, suited_members
from trainer.service.version_records import reweighted_record

log = structlog.get_logger(__name__)

POOL_RULE: Final = "pool"


def restarted_vote(
    before: VoteState | None, champion: Champion, context: TrainerContext
) -> VoteState | None:
    """Return the vote of a new champion: the weights it is announced with; the losses stay."""
    manifest = _manifest_of(champion, context)
    pool = None if manifest is None else formed_pool(manifest, champion.caused_by)
    if pool is None and context.mode_of(champion.model) != "pool":
        return None
    weights = {champion.version: 1.0}
    if pool is not None:
        weights = {member.version: member.weight for member in pool.members}
    if before is None:
        return VoteState(champion=champion.version, weights=weights)
    return msgspec.structs.replace(before, champion=champion.version, weights=weights, n_since=0)


def renew_weights(
    rows: sqlite3.Connection,
    losses: Mapping[str, Floats],
    scale: float,
    comparison: Comparison,
    champion: Champion,
    now_ms: int,
    context: TrainerContext,
) -> None:
    """Take the losses (n,) of one block in mode ``pool``; announce other weights, if due."""
    if comparison.vote is None:
        alone = {champion.version: 1.0}
        comparison.vote = VoteState(champion=champion.version, weights=alone)
    vote = VersionVote(comparison.vote)
    if not vote.observe(losses, scale):
        return
    manifest = _manifest_of(champion, context)
    weights, before = vote.state.weights, vote.state.weights
    if manifest is not None and formed_pool(manifest, champion.caused_by) is not None:
        suited, left_out = suited_members(
            manifest.reference(), champion.model, losses.keys(), context
        )
        weights = vote.weights(suited) or before
        if weights != before:
            sha256 = {version: one.artifact_sha256 for version, one in suited.items()}
            members = members_of(weights, sha256)
            reason = f"{vote.state.n_since:,} labelled events followed the last weights. "
            reason += pool_sentence(members, left_out)
            _announce(
                rows, comparison, champion, manifest, members, reason, left_out, now_ms, context
            )
    vote.serve(weights)


def end_pool(
    rows: sqlite3.Connection,
    comparison: Comparison,
    champion: Champion,
    now_ms: int,
    context: TrainerContext,
) -> None:
    """Announce that the champion of a pool serves alone: the mode is another than ``pool`` now."""
    vote, comparison.vote = comparison.vote, None
    if vote is None or vote.weights.keys() == {champion.version}:
        return
    manifest = _manifest_of(champion, context)
    if manifest is None:
        return
    alone = members_of({champion.version: 1.0}, {champion.version: manifest.artifact_sha256})
    mode = context.mode_of(champion.model)
    reason = f"The mode is {mode!r} now: version {champion.version} serves alone."
    _announce(rows, comparison, champion, manifest, alone, reason, {}, now_ms, context)


def _manifest_of(champion: Champion, context: TrainerContext) -> Manifest | None:
    """Return the champion's manifest; ``None`` if it is damaged or deleted: no weights change."""
    try:
        manifest = context.registry.manifest(champion.model, champion.version)
        manifest.reference()
    except RegistryError as error:
        log.warning("the champion's manifest cannot be read", model=champion.model, why=str(error))
        return None
    return manifest


def _announce(
    rows: sqlite3.Connection,
    comparison: Comparison,
    champion: Champion,
    manifest: Manifest,
    members: tuple[PoolMember, ...],
    reason: str,
    left_out: Mapping[str, str],
    now_ms: int,
    context: TrainerContext,
) -> None:
    """Put the event about the weights, and the pointer with them, into the outbox."""
    model = champion.model
    mode, n_scored = context.mode_of(model), str(comparison.n_scored)
    cause = f"{POOL_RULE}:{derived_id(model, champion.caused_by, mode, n_scored)}"
    job_id = job_id_of(cause)
    event = RetrainEvent(
        id=event_id(job_id, "reweighted"),
        job_id=job_id,
        step="reweighted",
        model=model,
        champion=champion.version,
        caused_by=cause,
        rule=POOL_RULE,
        reason=reason,
        numbers={
            **{f"weight_of_{member.version}": member.weight for member in members},
            **{f"left_out_{version}": why for version, why in left_out.items()},
        },
        time_ms=now_ms,
    )
    log.info("reweighted", model=model, reason=reason)
    topics = context.topics
    pointer = reweighted_record(topics.models, manifest, members, time_ms=now_ms, caused_by=cause)
    value = msgspec.json.encode(event)
    enqueue(
        rows, [OutboundRecord(event.id, topics.retrain, model, RETRAIN_CE_TYPE, value), pointer]
    )
