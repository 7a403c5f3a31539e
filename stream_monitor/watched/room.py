"""Room for new versions among the events of a segment: where all places are taken, an old one goes.

The segment is cut before the first event of such a version, so that the old one takes all that
comes before it, and nothing after it, however the log was cut into batches.  Within a segment no
version retires, so what finds no place at its first event finds none before the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from stream_monitor.ingest.order import Segment
from stream_monitor.watched.model import WatchedModel


def with_room(
    segment: Segment, models: Mapping[str, WatchedModel], clocks: dict[tuple[str, str], int]
) -> Iterator[Segment]:
    """The segment in pieces, each to be observed before the next one is asked for."""
    while (at := _first_without(segment, models)) is not None:
        offset, model, version = at
        if offset > segment.first_offset:  # what lies before may change who gives way
            before, segment = segment.split(offset)
            yield before
        else:
            model.give_way()
            model.claim(version)
            keep_clocks(clocks, model)
    yield segment


def _first_without(
    segment: Segment, models: Mapping[str, WatchedModel]
) -> tuple[int, WatchedModel, str] | None:
    """The first event of a version for which another one is to be forgotten."""
    new = Counter[str]()
    for (name, version), entries in segment.events.items():
        model = models.get(name)
        if model is None:
            continue
        known = model.known
        if version in known:
            continue
        n_known = len(known) + new[name]
        if not model.places.is_full(n_known):
            new[name] += 1
        elif model.places.gives_way(version, n_known):
            return entries[0][0].offset, model, version
    return None


def keep_clocks(clocks: dict[tuple[str, str], int], model: WatchedModel) -> None:
    """Drop the clocks of versions the model no longer has."""
    known = model.known
    for key in [key for key in clocks if key[0] == model.name and key[1] not in known]:
        del clocks[key]
