"""Copies of references for the partitions that a model moved to.

Pure: the references of one partition and the wanted placement determine the copies.  The owner of a
partition writes them when the placement changes, and so does ``driftline topics grow``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from producer.events import ModelUpdate, Topology
from producer.synthetic import is_synthetic
from stream_monitor.core.model import ModelMonitor
from stream_monitor.core.placement import Placement
from stream_monitor.reference.profile import Origin, ReferenceProfile, profile_to_data


class ReferenceTransfer(NamedTuple):
    """A reference of this partition, and the other partitions that need it.

    ``left``: the model is no longer placed in this partition.  ``champion``: this is the version in
    service.  ``late``: an earlier change moved the model away, and the reference may not have been
    copied then.
    """

    profile: ReferenceProfile
    partitions: tuple[int, ...]
    left: bool
    champion: bool
    late: bool = False

    @property
    def name(self) -> tuple[str, str]:
        """The model and the version."""
        return self.profile.model, self.profile.version


def transfers_of(
    models: Iterable[ModelMonitor], partition: int, wanted: Topology
) -> Iterator[ReferenceTransfer]:
    """The references in ``partition`` that other partitions need under the ``wanted`` placement.

    New models and versions may appear while the caller takes one after the other.
    """
    placement = Placement(partition)
    placement.take(wanted, 0, 0)
    for model in tuple(models):
        if is_synthetic(model.name):  # a drill writes to fixed partitions, and ends
            continue
        placed = placement.partitions_of(model.name)
        before = placement.partitions_before(model.name)
        late = bool(before) and partition not in before
        if late and partition in placed:
            continue  # it moved here by this change
        others = tuple(other for other in placed if other != partition)
        if others:
            for profile in model.transferable_references():
                if late and profile.origin != "training":
                    continue
                champion = profile.version == model.retention.champion
                yield ReferenceTransfer(profile, others, partition not in placed, champion, late)


def is_needed(move: ReferenceTransfer, held: Origin | None, wanted: Topology) -> bool:
    """Whether a partition with a reference of origin ``held``, or with none, needs this one.

    A warm-up reference is replaced by an announced one, and after a change of placement by that of
    the partition that the model moved from.
    """
    if held != "warm_up":
        return held is None
    return move.profile.origin == "training" or (move.left and wanted.before is not None)


def transfer_record(
    move: ReferenceTransfer, from_partition: int, generation: int, time_ms: int
) -> ModelUpdate:
    """The record that carries a reference; repeats have the same id."""
    profile = move.profile
    digest = hashlib.sha256(msgspec.json.encode(profile)).hexdigest()[:24]
    return ModelUpdate(
        id=f"moved-{generation}-{digest}",
        model=profile.model,
        version=profile.version,
        time_ms=time_ms,
        profile=profile_to_data(profile),
        moved_from=from_partition,
        champion=move.champion,
    )


def next_topology(
    known: Topology | None, partitions: int, shards: dict[str, int], time_ms: int
) -> Topology:
    """The present topology: the known one, or its next generation where something changed.

    Models keep their shards: servers that write under fewer keys may return.

    >>> first = next_topology(None, 2, {}, 0)
    >>> first.generation, first.before
    (1, None)
    >>> grown = next_topology(first, 4, {"hot": 3}, 0)
    >>> grown.generation, grown.before, next_topology(grown, 4, {"hot": 2}, 0) is grown
    (2, (2, {}), True)
    """
    before = None if known is None else (known.partitions, known.shards)
    merged = dict(before[1]) if before else {}
    for model, count in shards.items():
        merged[model] = max(count, merged.get(model, 1))
    if known is not None and before == (partitions, merged):
        return known
    generation = 1 if known is None else known.generation + 1
    facts = msgspec.json.encode([partitions, sorted(merged.items()), before])
    return Topology(
        id=f"topology-{generation}-{hashlib.sha256(facts).hexdigest()[:12]}",
        time_ms=time_ms,
        generation=generation,
        partitions=partitions,
        shards=merged,
        before=before,
    )
