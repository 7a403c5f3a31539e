"""Makes what was folded in durable: dead letters first, then state, offset and outbox at once."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from producer.failpoints import failpoint
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.commit_policy import CommitPolicy
from stream_monitor.runtime.outbox import OutboxRelay
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.state.chunked_commit import ChunkedFields, expand_chunks, split_into_chunks
from stream_monitor.state.store import (
    ATTEMPT_FIELD,
    CHUNKED_FIELD,
    AttemptMarker,
    Commit,
    CommitOutcome,
    CommitResult,
    StateStore,
    StoreUnavailable,
)

log = structlog.get_logger(__name__)

_FIRST_WAIT_S: Final = 0.05
_LONGEST_WAIT_S: Final = 5.0
_APPLIED: Final = (CommitOutcome.OK, CommitOutcome.DUP)
_AGAIN: Final = (CommitOutcome.OUT_OF_MEMORY, CommitOutcome.UNKNOWN)


class CommitTimeout(RuntimeError):  # noqa: N818 - says what happened
    """The store has not said for too long whether it took a commit."""


class Committer:
    """Commits partitions.  ``timeout_s`` bounds how long an outcome may stay unknown."""

    def __init__(
        self,
        store: StateStore,
        partitions: OwnedPartitions,
        relay: OutboxRelay,
        metrics: Metrics,
        *,
        policy: CommitPolicy,
        timeout_s: float,
        on_rejected: Callable[[OwnedPartition, CommitOutcome], None],
    ) -> None:
        self._store = store
        self._partitions = partitions
        self._relay = relay
        self._metrics = metrics
        self._policy = policy
        self._timeout_s = timeout_s
        self._on_rejected = on_rejected
        self.waiting = False
        """Whether the store lets a commit wait: that is no standstill of ours."""
        self._process = uuid.uuid4().hex
        self._count = 0

    def due(self, owned: OwnedPartition) -> bool:
        """Whether the policy wants this partition committed now."""
        return self._policy.due(
            uncommitted_since_s=owned.uncommitted_since_s,
            now_s=time.monotonic(),
            last_commits_s=self._partitions.last_commits_s,
            urgent=owned.urgent,
        )

    async def commit(self, owned: OwnedPartition) -> bool:
        """Make everything below ``owned.position`` durable; answers whether it is.

        Raises:
            CommitTimeout: the outcome stayed unknown for ``timeout_s``.
            KafkaException: a dead letter could not be written.
        """
        if owned.uncommitted_since_s is None:
            return not owned.is_lost()
        await self._await_dead_letters(owned)
        if owned.is_lost() or not await self._expand_chunks(owned):
            return False
        fields, chunked_fields = split_into_chunks(
            {**owned.partition_state.changes(), **owned.outbox}
        )
        outbox = owned.outbox
        owned.last_commit_s = 0.0
        if not await self._write(owned, owned.position, fields):
            return False
        owned.partition_state.mark_committed()
        owned.mark_committed(owned.position)
        self._metrics.offset.labels(owned.topic, str(owned.partition)).set(owned.position)
        owned.chunked_fields = chunked_fields
        if not await self._expand_chunks(owned):
            return False
        self._relay.add(owned.key, outbox)
        await self._sweep(owned, [name for name, value in fields.items() if value == b""])
        return not owned.is_lost()

    async def write_attempt_marker(self, owned: OwnedPartition, attempt: AttemptMarker) -> bool:
        """Leave word which record is folded in next, alone; all before it is committed."""
        fields = {ATTEMPT_FIELD: attempt.encoded()}
        if owned.committed is None:  # an offset never stands without the state that belongs to it
            fields |= owned.partition_state.changes()
        if not await self._write(owned, owned.position, fields):
            return False
        owned.committed = owned.position
        return True

    async def _expand_chunks(self, owned: OwnedPartition) -> bool:
        """Write out what lies in bundles, before anything else is committed."""
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
        """Dead letters are acknowledged before the offset passes their records."""
        if owned.dead_letter_acks:
            await asyncio.gather(*owned.dead_letter_acks)
            owned.dead_letter_acks.clear()
            failpoint("monitor.dead_letters.acknowledged")

    async def _write(self, owned: OwnedPartition, upto: int, fields: Mapping[str, bytes]) -> bool:
        """One write, until its outcome is known; answers whether it is done and still ours."""
        self._count += 1
        commit = Commit(
            fencing_token=owned.fencing_token,
            txn=f"{self._process}:{self._count}",
            expect=owned.committed,
            next=upto,
            now_ms=time.time_ns() // 1_000_000,
            fields=fields,
            chunked=bool(owned.chunked_fields.chunks),
        )
        failpoint("monitor.commit.ready")
        with self._metrics.commit_seconds.time():
            answer = await self._send(owned, commit)
        failpoint("monitor.commit.answered")
        self._metrics.commits.labels(answer.outcome.value).inc()
        if owned.is_lost() or answer.outcome in _APPLIED:
            return not owned.is_lost()
        log.warning(
            "commit refused",
            partition=owned.partition,
            outcome=answer.outcome.value,
            expected=commit.expect,
            stored=answer.detail,
        )
        self._on_rejected(owned, answer.outcome)
        return False

    async def _send(self, owned: OwnedPartition, commit: Commit) -> CommitResult:
        """Send one transaction until its outcome is known.  Nothing is folded in meanwhile."""
        try:
            return await self._send_until_known(owned, commit)
        finally:
            self.waiting = False  # whoever gives a partition up does not wait for the answer

    async def _send_until_known(self, owned: OwnedPartition, commit: Commit) -> CommitResult:
        wait_s = _FIRST_WAIT_S
        until = time.monotonic() + self._timeout_s
        while True:
            began = time.monotonic()
            answer = await self._store.commit(owned.key, commit)
            self.waiting = answer.outcome in _AGAIN and not owned.is_lost()
            if not self.waiting:
                # What a store that was away kept us waiting is no measure of what a commit costs.
                owned.last_commit_s += time.monotonic() - began
                return answer
            self._metrics.store_errors.inc()
            if answer.outcome is CommitOutcome.UNKNOWN and time.monotonic() > until:
                raise CommitTimeout(f"{owned.key}: {answer.detail}")
            log.warning(
                "commit has no answer, sending it again",
                partition=owned.partition,
                outcome=answer.outcome.value,
                detail=answer.detail,
            )
            await asyncio.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)

    async def _sweep(self, owned: OwnedPartition, dead: list[str]) -> None:
        """Dead fields are of no use to anyone, and of no harm if they stay till next time."""
        if not dead or owned.is_lost():
            return
        try:
            await self._store.sweep(owned.key, owned.fencing_token, dead)
        except StoreUnavailable as error:
            log.info("dead fields stay for now", key=owned.key, error=str(error))
