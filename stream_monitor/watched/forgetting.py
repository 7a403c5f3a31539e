"""A model is forgotten: the shadow of a drill that is over, or one that gives its place up."""

from __future__ import annotations

from typing import NamedTuple

from producer.drill import is_shadow
from producer.events import Command
from producer.names import escape
from stream_monitor.contracts import DriftAlert
from stream_monitor.watched.model import WatchedModel


class Forgotten(NamedTuple):
    """The ends of the episodes that were open, and the names of the stored parts that are dead."""

    alerts: list[DriftAlert]
    parts: set[str]


def forget(
    models: dict[str, WatchedModel], order: Command, offset: int, clock_ms: int
) -> Forgotten:
    """Take the model of ``order`` out of ``models``; one not known here has nothing to forget.

    Raises:
        ValueError: it is the shadow of no drill; nothing changed.
    """
    if not is_shadow(order.model):
        raise ValueError(f"{order.model!r} is no shadow of a drill: only those are forgotten")
    return remove(models, order.model, offset, clock_ms)


def remove(models: dict[str, WatchedModel], name: str, offset: int, clock_ms: int) -> Forgotten:
    """Take a model out of ``models``.  Who follows the alerts hears that its episodes are over."""
    model = models.pop(name, None)
    if model is None:
        return Forgotten([], set())
    alerts = model.register.tell_at(offset, clock_ms, model.end(offset, clock_ms))
    return Forgotten(alerts, {f"model|{escape(name)}|{part}" for part in model.part_names()})
