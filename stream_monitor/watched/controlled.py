"""Outcomes of control records, and who gave them: for the log of the worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from producer.events import CE_TYPE_OF, Command, ModelUpdate, Topology
from stream_monitor.contracts import Controlled, DeadLetter
from stream_monitor.ingest.order import Barrier
from stream_monitor.ingest.records import LogRecord

_KINDS: Final = frozenset(CE_TYPE_OF[kind] for kind in (Command, ModelUpdate, Topology))


def rejected_controls(rejected: Sequence[tuple[LogRecord, DeadLetter]]) -> list[Controlled]:
    """The control records among those that were rejected before any was applied."""
    return [
        Controlled(
            letter.offset, record.kind, letter.model, letter.detail, "", letter.source,
            f"rejected: {letter.reason}",
        )
        for record, letter in rejected
        if record.kind in _KINDS
    ]  # fmt: skip


def controlled(record: LogRecord, order: Barrier, outcome: str) -> Controlled:
    """What became of a control record, and who gave it."""
    actor = what = ""
    if isinstance(order, Command):
        actor, what = order.actor, f"{order.action} {order.episode}"
    elif isinstance(order, ModelUpdate):
        profile = "without a profile" if order.profile is None else "with a profile"
        what = f"version {order.version}, {profile}"
    else:
        what = f"generation {order.generation}, {order.partitions} partitions"
    model = "" if isinstance(order, Topology) else order.model
    return Controlled(
        record.offset, type(order).__name__, model, what, actor, record.source, outcome
    )
