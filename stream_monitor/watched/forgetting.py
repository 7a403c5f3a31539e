"""The end of a drill: its shadow model is forgotten, so that it takes no place."""

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
    models: dict[str, WatchedModel],
    clocks: dict[tuple[str, str], int],
    order: Command,
    offset: int,
    clock_ms: int,
) -> Forgotten:
    """Take the model of ``order`` out of ``models``, and its versions out of ``clocks``.

    Who follows the alerts hears that its episodes are over.  One that is not known here has nothing
    to be forgotten.

    Raises:
        ValueError: it is the shadow of no drill; nothing changed.
    """
    if not is_shadow(order.model):
        raise ValueError(f"{order.model!r} is no shadow of a drill: only those are forgotten")
    model = models.pop(order.model, None)
    if model is None:
        return Forgotten([], set())
    for key in [key for key in clocks if key[0] == order.model]:
        del clocks[key]
    event_time_ms = max(0, model.labels.watermark_ms)
    ended = [
        alert
        for version in model.versions.values()
        if not version.retired
        for alert in version.retire(offset, event_time_ms)
    ]
    parts = {f"model|{escape(order.model)}|{part}" for part in model.part_names()}
    return Forgotten(model.register.tell_at(offset, clock_ms, ended), parts)
