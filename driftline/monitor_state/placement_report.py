"""Where each model is watched, against where its events belong: what is split, and why.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from driftline.doctor.health_checks import HealthCheckResult
from producer.events import Topology
from producer.names import version_key
from producer.synthetic import is_synthetic
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.placement import Placement
from stream_monitor.core.reference_transfer import next_topology

PLACEMENT_GRACE_MS: Final = 60_000
"""Writers know of a change after this: whoever still writes to the old place has another reason."""

MAX_SHOWN: Final = 3

What: TypeAlias = Literal["untold", "no_reference", "events_elsewhere"]


class PlacementProblem(NamedTuple):
    """One thing that is split.

    ``outdated``: partitions whose log does not say how many there are.  ``no_reference``:
    partitions
    that receive a version's events, or will, and have no reference of it, while ``there`` have one.
    ``events_elsewhere``: partitions that receive events of a model that belong to ``there``.
    """

    what: What
    name: str
    partitions: tuple[int, ...]
    there: tuple[int, ...] = ()


def topology_of(monitors: Iterable[PartitionMonitor]) -> Topology | None:
    """The latest topology that any partition knows."""
    topologies = [m.placement.latest for m in monitors if m.placement.latest is not None]
    return max(topologies, key=lambda topology: topology.generation, default=None)


def moved_models(
    monitors: Iterable[PartitionMonitor], topology: Topology
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """By model that was watched before the last change: its partitions then, and now.

    A model that came after it has moved nowhere: none of its old partitions knows it.
    """
    placement = Placement(0)
    placement.take(topology, 0, 0)
    known = {(name, monitor.partition) for monitor in monitors for name in monitor.models}
    places = {
        name: (placement.partitions_before(name), placement.partitions_of(name))
        for name in sorted({name for name, _ in known})
        if placement.moved(name)
    }
    return {
        name: (before, now)
        for name, (before, now) in places.items()
        if any((name, each) in known for each in before)
    }


def placement_effective_ms(monitors: Iterable[PartitionMonitor]) -> dict[int, int]:
    """From when on records of each partition should lie where they belong."""
    return {
        monitor.partition: monitor.placement.since_ms + PLACEMENT_GRACE_MS
        for monitor in monitors
        if monitor.placement.latest is not None and monitor.placement.latest.before is not None
    }


def placement_problems(
    monitors: Sequence[PartitionMonitor], n_partitions: int
) -> list[PlacementProblem]:
    """What is split, given the state of each partition that has one."""
    topology = topology_of(monitors)
    if topology is None:
        return []
    states = {monitor.partition: monitor for monitor in monitors}
    outdated = tuple(
        partition
        for partition in range(n_partitions)
        if (state := states.get(partition)) is not None
        and (state.placement.latest is None or state.placement.latest.partitions != n_partitions)
    )
    found = [PlacementProblem("untold", f"{n_partitions} partitions", outdated)] if outdated else []
    placement = Placement(0)
    placement.take(next_topology(topology, n_partitions, {}, 0), 0, 0)
    names = sorted({name for monitor in monitors for name in monitor.models})
    for model in names:
        if not is_synthetic(model):
            placed = placement.partitions_of(model)
            found += _without_reference(states, model, placed)
            found += _elsewhere(states, model, placed)
    return found


def _without_reference(
    states: dict[int, PartitionMonitor], model: str, placed: tuple[int, ...]
) -> Iterator[PlacementProblem]:
    held: dict[str, set[int]] = {}
    served: set[str] = set()
    for partition, state in states.items():
        known = state.models.get(model)
        for version, watched in () if known is None else known.versions.items():
            held.setdefault(version, set()).add(partition)
            if not watched.idle:
                served.add(version)
    for version in sorted(served):
        lacking = tuple(p for p in placed if p not in held[version])
        if lacking:
            yield PlacementProblem(
                "no_reference", version_key(model, version), lacking, tuple(sorted(held[version]))
            )


def _elsewhere(
    states: dict[int, PartitionMonitor], model: str, placed: tuple[int, ...]
) -> Iterator[PlacementProblem]:
    late = tuple(
        partition
        for partition, state in sorted(states.items())
        if partition not in placed
        and state.placement.latest is not None
        and state.last_event_ms(model) > state.placement.since_ms + PLACEMENT_GRACE_MS
    )
    if late:
        yield PlacementProblem("events_elsewhere", model, late, placed)


def sentence_of(split: PlacementProblem) -> str:
    """What is wrong, for people."""
    where = format_partitions(split.partitions)
    if split.what == "untold":
        return f"{where}: the log does not say yet that there are {split.name}"
    if split.what == "no_reference":
        return (
            f"{split.name} is split: its events belong to {where} too, but its reference lies in "
            f"{format_partitions(split.there)} only"
        )
    return (
        f"{split.name} is split: events come to {where}, but belong to {format_partitions(split.there)}; "
        "each part is watched by itself"
    )


def fix_of(split: PlacementProblem) -> str:
    """What to do about it."""
    if split.what == "events_elsewhere":
        return (
            "restart writers that know an old number of partitions or shards; others have to "
            "place keys as Java does (librdkafka: partitioner=murmur2_random)"
        )
    return "driftline topics grow: it writes what is missing (a running monitor does so in seconds)"


def check_placement(splits: Sequence[PlacementProblem]) -> HealthCheckResult:
    """Whether each model is watched where its events belong."""
    if not splits:
        return HealthCheckResult(
            check="placement", level="ok", found="models are watched where they belong"
        )
    shown = "; ".join(sentence_of(split) for split in splits[:MAX_SHOWN])
    more = len(splits) - MAX_SHOWN
    return HealthCheckResult(
        check="placement",
        level="warning" if all(split.what == "untold" for split in splits) else "problem",
        found=shown + (f"; and {more} more" if more > 0 else ""),
        fix="; ".join(dict.fromkeys(fix_of(split) for split in splits)),
    )


def format_partitions(partitions: Sequence[int]) -> str:
    """Partitions by number.

    >>> format_partitions([2]), format_partitions([0, 2])
    ('partition 2', 'partitions 0, 2')
    """
    many = "" if len(partitions) == 1 else "s"
    return f"partition{many} {', '.join(map(str, partitions))}"
