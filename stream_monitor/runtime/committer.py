"""Commits partitions: dead letters first, then state, offset and outbox in one write."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from producer.failpoints import failpoint
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.clock import wall_clock_ms
from stream_monitor.runtime.outbox import OutboxRelay
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.runtime.pauses import MAX_RUN_S, Pauses
from stream_monitor.settings import CommitSettings
from stream_monitor.state.chunked_commit import ChunkedFields, expand_chunks, split_into_chunks
from stream_monitor.state.redis_store import RedisStateStore
from stream_monitor.state.store import (
    ATTEMPT_FIELD,
    CHUNKED_FIELD,
    AttemptMarker,
    Commit,
    CommitOutcome,
    CommitResult,
    StoreUnavailable,
)

log = structlog.get_logger(__name__)

MAX_DELAY_S: Final = 5.0
"""A commit waits no longer, however long the last commits took: the store may have recovered."""
_FIRST_WAIT_S: Final = 0.05
_LONGEST_WAIT_S: Final = 5.0
_APPLIED: Final = (CommitOutcome.OK, CommitOutcome.DUP)
_AGAIN: Final = (CommitOutcome.OUT_OF_MEMORY, CommitOutcome.UNKNOWN)


def commit_delay_s(settings: CommitSettings, last_commits_s: float) -> float:
    """Return how long records may stay uncommitted, given the duration of the last commits.

    A commit waits ``interval_s`` after the first uncommitted record, and at least
    ``min_interval_factor`` times as long as the last commits took, so that committing takes at most
    that fraction of the time.
    """
    factor_s = settings.min_interval_factor * last_commits_s
    return max(settings.interval_s, min(MAX_DELAY_S, factor_s))


def is_commit_due(
    settings: CommitSettings,
    *,
    uncommitted_since_s: float | None,
    now_s: float,
    last_commits_s: float,
    urgent: bool,
) -> bool:
    """Whether to commit now.  ``uncommitted_since_s`` is ``None`` when nothing is uncommitted."""
    if uncommitted_since_s is None:
        return False
    return urgent or now_s - uncommitted_since_s >= commit_delay_s(settings, last_commits_s)


class CommitTimeout(RuntimeError):  # noqa: N818 - names what happened
    """The outcome of a commit stayed unknown for longer than ``timeout_s``."""


class Committer:
    """Commits the partitions of a worker.

    It calls ``on_rejected`` with the partition and the outcome of each rejected commit.
    """

    def __init__(
        self,
        store: RedisStateStore,
        partitions: OwnedPartitions,
        relay: OutboxRelay,
        metrics: Metrics,
        *,
        settings: CommitSettings,
        on_rejected: Callable[[OwnedPartition, CommitOutcome], None],
        max_run_s: float = MAX_RUN_S,
    ) -> None:
        self._store = store
        self._partitions = partitions
        self._relay = relay
        self._metrics = metrics
        self._settings = settings
        self._on_rejected = on_rejected
        self._max_run_s = max_run_s
        self.waiting = False
        """Whether a commit waits for the store: the watchdog must not take that for a stall."""
        self._process = uuid.uuid4().hex
        self._count = 0

    def due(self, owned: OwnedPartition) -> bool:
        """Whether to commit this partition now."""
        return is_commit_due(
            self._settings,
            uncommitted_since_s=owned.uncommitted_since_s,
            now_s=time.monotonic(),
            last_commits_s=self._partitions.last_commits_s,
            urgent=owned.urgent,
        )

    async def commit(self, owned: OwnedPartition) -> bool:
        """Commit everything below ``owned.position``; return whether the store applied it.

        Raises:
            CommitTimeout: the outcome stayed unknown for ``timeout_s``.
            KafkaException: Kafka did not acknowledge a dead letter.
        """
        if owned.uncommitted_since_s is None:
            return not owned.is_lost()
        await self._await_dead_letters(owned)
        if owned.is_lost() or not await self._expand_chunks(owned):
            return False
        began_s, pauses = time.monotonic(), Pauses(self._max_run_s)
        changes = await self._take_changes(owned, pauses)
        fields, chunked_fields = split_into_chunks({**changes, **owned.outbox})
        outbox = owned.outbox
        owned.last_commit_s = time.monotonic() - began_s - pauses.paused_s
        if not await self._write(owned, owned.position, fields):
            return False
        owned.mark_committed(owned.position)
        self._metrics.offset.labels(owned.topic, str(owned.partition)).set(owned.position)
        owned.chunked_fields = chunked_fields
        if not await self._expand_chunks(owned):
            return False
        self._relay.add(owned.key, outbox)
        await self._sweep(owned, [name for name, value in fields.items() if value == b""])
        return not owned.is_lost()

    async def write_attempt_marker(self, owned: OwnedPartition, attempt: AttemptMarker) -> bool:
        """Store the marker of the next attempt; everything before it must be committed."""
        fields = {ATTEMPT_FIELD: attempt.encoded()}
        if owned.committed is None:  # an offset is never stored without its state
            fields |= await self._take_changes(owned, Pauses(self._max_run_s))
        if not await self._write(owned, owned.position, fields):
            return False
        owned.committed = owned.position
        return True

    async def _take_changes(self, owned: OwnedPartition, pauses: Pauses) -> dict[str, bytes]:
        """The changed fields of the state; the caller holds the lock, so it does not change now.

        They take 0.4 s for 10,000 features; other tasks run in between.
        """
        changes: dict[str, bytes] = {}
        try:
            for step in owned.partition_state.take_changes_in_steps():
                changes |= step
                await pauses.after_step()
        except BaseException:  # a cancellation too
            self._partitions.drop(owned)  # a later commit would lack the changes taken so far
            raise
        return changes

    async def _expand_chunks(self, owned: OwnedPartition) -> bool:
        """Write the chunked fields as single fields, before anything else is committed."""
        if not owned.chunked_fields.chunks:
            return True
        offset = owned.position if owned.committed is None else owned.committed
        for fields in expand_chunks(owned.chunked_fields):
            if not await self._write(owned, offset, fields):
                return False
        dead = [name for name, value in owned.chunked_fields.fields.items() if value == b""]
        await self._sweep(owned, [*dead, *owned.chunked_fields.chunks, CHUNKED_FIELD])
        owned.chunked_fields = ChunkedFields()
        return not owned.is_lost()

    async def _await_dead_letters(self, owned: OwnedPartition) -> None:
        """Wait until Kafka has the dead letters, before the offset passes their records."""
        if owned.dead_letter_acks:
            await asyncio.gather(*owned.dead_letter_acks)
            owned.dead_letter_acks.clear()
            failpoint("monitor.dead_letters.acknowledged")

    async def _write(self, owned: OwnedPartition, upto: int, fields: Mapping[str, bytes]) -> bool:
        """Write until the outcome is known; return whether it was applied by the present owner.

        A partition that was lost is not written.
        """
        if owned.is_lost():
            return False
        self._count += 1
        commit = Commit(
            fencing_token=owned.fencing_token,
            txn=f"{self._process}:{self._count}",
            expect=owned.committed,
            next=upto,
            now_ms=wall_clock_ms(),
            fields=fields,
            chunked=bool(owned.chunked_fields.chunks),
        )
        failpoint("monitor.commit.ready")
        try:
            with self._metrics.commit_seconds.time():
                answer = await self._send(owned, commit)
        except BaseException:  # a cancellation too
            self._partitions.drop(owned)  # its changes were taken: a later commit would lack them
            raise
        failpoint("monitor.commit.answered")
        self._metrics.commits.labels(answer.outcome.value).inc()
        if owned.is_lost() or answer.outcome in _APPLIED:
            return not owned.is_lost()
        log.warning(
            "commit rejected",
            partition=owned.partition,
            outcome=answer.outcome.value,
            expected=commit.expect,
            stored=answer.detail,
        )
        self._on_rejected(owned, answer.outcome)
        return False

    async def _send(self, owned: OwnedPartition, commit: Commit) -> CommitResult:
        """Send one transaction until its outcome is known.  No batch is processed meanwhile."""
        try:
            return await self._send_until_known(owned, commit)
        finally:
            self.waiting = False  # a revocation does not wait for the answer

    async def _send_until_known(self, owned: OwnedPartition, commit: Commit) -> CommitResult:
        wait_s = _FIRST_WAIT_S
        until = time.monotonic() + self._settings.timeout_s
        while True:
            began = time.monotonic()
            answer = await self._store.commit(owned.key, commit)
            self.waiting = answer.outcome in _AGAIN and not owned.is_lost()
            if not self.waiting:
                # The wait for an unreachable store is not part of what a commit costs.
                owned.last_commit_s += time.monotonic() - began
                return answer
            self._metrics.store_errors.inc()
            if answer.outcome is CommitOutcome.UNKNOWN and time.monotonic() > until:
                raise CommitTimeout(f"{owned.key}: {answer.detail}")
            log.warning(
                "the outcome of a commit is unknown; the commit is repeated",
                partition=owned.partition,
                outcome=answer.outcome.value,
                detail=answer.detail,
            )
            await asyncio.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)

    async def _sweep(self, owned: OwnedPartition, dead: list[str]) -> None:
        """Remove dead fields.  They do no harm if they stay until the next commit."""
        if not dead or owned.is_lost():
            return
        try:
            await self._store.sweep(owned.key, owned.fencing_token, dead)
        except StoreUnavailable as error:
            log.info("dead fields are not removed yet", key=owned.key, error=str(error))
