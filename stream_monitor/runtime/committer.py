"""Makes what was folded in durable: dead letters first, then state, offset and outbox at once."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from producer.failpoint import failpoint
from stream_monitor.runtime.partitions import Owned, Partitions
from stream_monitor.runtime.policy import CommitPolicy
from stream_monitor.runtime.relay import Relay
from stream_monitor.state.bundles import Carried, pack, spread
from stream_monitor.state.store import (
    BUNDLED,
    TRIED,
    Commit,
    Committed,
    Outcome,
    StateStore,
    StoreUnavailable,
    Tried,
)
from stream_monitor.web.metrics import Metrics

log = structlog.get_logger(__name__)

_FIRST_WAIT_S: Final = 0.05
_LONGEST_WAIT_S: Final = 5.0
_APPLIED: Final = (Outcome.OK, Outcome.DUP)
_AGAIN: Final = (Outcome.OUT_OF_MEMORY, Outcome.UNKNOWN)


class StoreLost(RuntimeError):  # noqa: N818 - says what happened
    """The store has not said for too long whether it took a commit."""


class Committer:
    """Commits partitions.  ``patience_s`` bounds how long an outcome may stay unknown."""

    def __init__(
        self,
        store: StateStore,
        partitions: Partitions,
        relay: Relay,
        metrics: Metrics,
        *,
        policy: CommitPolicy,
        patience_s: float,
        on_lost: Callable[[Owned, Outcome], None],
    ) -> None:
        self._store = store
        self._partitions = partitions
        self._relay = relay
        self._metrics = metrics
        self._policy = policy
        self._patience_s = patience_s
        self._on_lost = on_lost
        self.waiting = False
        """Whether the store lets a commit wait: that is no standstill of ours."""
        self._process = uuid.uuid4().hex
        self._count = 0

    def due(self, owned: Owned) -> bool:
        """Whether the policy wants this partition committed now."""
        return self._policy.due(
            dirty_since_s=owned.dirty_since_s,
            now_s=time.monotonic(),
            last_commits_s=self._partitions.last_commits_s,
            urgent=owned.urgent,
        )

    async def commit(self, owned: Owned) -> bool:
        """Make everything below ``owned.position`` durable; answers whether it is.

        Raises:
            StoreLost: the outcome stayed unknown for ``patience_s``.
            KafkaException: a dead letter could not be written.
        """
        if owned.dirty_since_s is None:
            return not owned.lost()
        await self._letters(owned)
        if owned.lost() or not await self._spread(owned):
            return False
        fields, carried = pack({**owned.fold.changes(), **owned.outbox})
        outbox = owned.outbox
        owned.last_commit_s = 0.0
        if not await self._write(owned, owned.position, fields):
            return False
        owned.fold.committed()
        owned.settle(owned.position)
        self._metrics.offset.labels(owned.topic, str(owned.partition)).set(owned.position)
        owned.carried = carried
        if not await self._spread(owned):
            return False
        self._relay.add(owned.key, outbox)
        await self._sweep(owned, [name for name, value in fields.items() if value == b""])
        return not owned.lost()

    async def mark(self, owned: Owned, tried: Tried) -> bool:
        """Leave word which record is folded in next, alone; all before it is committed."""
        fields = {TRIED: tried.packed()}
        if owned.committed is None:  # an offset never stands without the state that belongs to it
            fields |= owned.fold.changes()
        if not await self._write(owned, owned.position, fields):
            return False
        owned.committed = owned.position
        return True

    async def _spread(self, owned: Owned) -> bool:
        """Write out what lies in bundles, before anything else is committed."""
        if not owned.carried.bundles:
            return True
        offset = owned.position if owned.committed is None else owned.committed
        for fields in spread(owned.carried):
            if not await self._write(owned, offset, fields):
                return False
        dead = [name for name, value in owned.carried.fields.items() if value == b""]
        await self._sweep(owned, [*dead, *owned.carried.bundles, BUNDLED])
        owned.carried = Carried()
        return not owned.lost()

    async def _letters(self, owned: Owned) -> None:
        """Dead letters are acknowledged before the offset passes their records."""
        if owned.letters:
            await asyncio.gather(*owned.letters)
            owned.letters.clear()
            failpoint("monitor.letters.acknowledged")

    async def _write(self, owned: Owned, upto: int, fields: Mapping[str, bytes]) -> bool:
        """One write, until its outcome is known; answers whether it is done and still ours."""
        self._count += 1
        commit = Commit(
            epoch=owned.epoch,
            txn=f"{self._process}:{self._count}",
            expect=owned.committed,
            next=upto,
            now_ms=time.time_ns() // 1_000_000,
            fields=fields,
            bundled=bool(owned.carried.bundles),
        )
        failpoint("monitor.commit.ready")
        with self._metrics.commit_seconds.time():
            answer = await self._send(owned, commit)
        failpoint("monitor.commit.answered")
        self._metrics.commits.labels(answer.outcome.value).inc()
        if owned.lost() or answer.outcome in _APPLIED:
            return not owned.lost()
        log.warning("commit refused", partition=owned.partition, outcome=answer.outcome.value,
                    expected=commit.expect, stored=answer.detail)  # fmt: skip
        self._on_lost(owned, answer.outcome)
        return False

    async def _send(self, owned: Owned, commit: Commit) -> Committed:
        """Send one transaction until its outcome is known.  Nothing is folded in meanwhile."""
        try:
            return await self._send_until_known(owned, commit)
        finally:
            self.waiting = False  # whoever gives a partition up does not wait for the answer

    async def _send_until_known(self, owned: Owned, commit: Commit) -> Committed:
        wait_s = _FIRST_WAIT_S
        until = time.monotonic() + self._patience_s
        while True:
            began = time.monotonic()
            answer = await self._store.commit(owned.key, commit)
            self.waiting = answer.outcome in _AGAIN and not owned.lost()
            if not self.waiting:
                # What a store that was away kept us waiting is no measure of what a commit costs.
                owned.last_commit_s += time.monotonic() - began
                return answer
            self._metrics.store_errors.inc()
            if answer.outcome is Outcome.UNKNOWN and time.monotonic() > until:
                raise StoreLost(f"{owned.key}: {answer.detail}")
            log.warning("commit has no answer, sending it again", partition=owned.partition,
                        outcome=answer.outcome.value, detail=answer.detail)  # fmt: skip
            await asyncio.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)

    async def _sweep(self, owned: Owned, dead: list[str]) -> None:
        """Dead fields are of no use to anyone, and of no harm if they stay till next time."""
        if not dead or owned.lost():
            return
        try:
            await self._store.sweep(owned.key, owned.epoch, dead)
        except StoreUnavailable as error:
            log.info("dead fields stay for now", key=owned.key, error=str(error))
