"""Find models that are watched in other partitions than those of their events.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from driftline.doctor.health_checks import HealthCheckResult, ok
from producer.events import Topology
from producer.names import version_key
from producer.synthetic import is_synthetic
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.placement import Placement
from stream_monitor.core.reference_transfer import next_topology

PLACEMENT_GRACE_MS: Final = 60_000
"""Producers know a change of placement after this time; later records must be in new partitions."""

MAX_SHOWN: Final = 3

ProblemKind: TypeAlias = Literal["outdated", "no_reference", "events_elsewhere"]


class PlacementProblem(NamedTuple):
    """One problem with the partitions of a model.

    ``outdated``: ``partitions`` do not hold the present topology.  ``no_reference``: ``partitions``
    belong to a version and have no reference of it, while ``expected_partitions`` have one.
    ``events_elsewhere``: ``partitions`` receive events that belong to ``expected_partitions``.
    """

    kind: ProblemKind
    name: str
    partitions: tuple[int, ...]
    expected_partitions: tuple[int, ...] = ()


def topology_of(monitors: Iterable[PartitionMonitor]) -> Topology | None:
    """The latest topology in any partition."""
    topologies = [m.placement.latest for m in monitors if m.placement.latest is not None]
    return max(topologies, key=lambda topology: topology.generation, default=None)


def moved_models(
    monitors: Iterable[PartitionMonitor], topology: Topology
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The partitions of each model that moved with the last change: before, and now.

    A model that is newer than the change did not move.
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
    """The time, by partition, from which records should be in the partition of their key."""
    return {
        monitor.partition: monitor.placement.since_ms + PLACEMENT_GRACE_MS
        for monitor in monitors
        if monitor.placement.latest is not None and monitor.placement.latest.before is not None
    }


def placement_problems(
    monitors: Sequence[PartitionMonitor], n_partitions: int
) -> list[PlacementProblem]:
    """The problems, given the state of each partition that has one."""
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
    found: list[PlacementProblem] = []
    if outdated:
        found.append(PlacementProblem("outdated", f"{n_partitions} partitions", outdated))
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


def sentence_of(problem: PlacementProblem) -> str:
    """A problem as a sentence."""
    where, expected = map(format_partitions, (problem.partitions, problem.expected_partitions))
    if problem.kind == "outdated":
        return f"{where} does not know yet that there are {problem.name}"
    if problem.kind == "no_reference":
        return (
            f"{problem.name} is split: its events also belong to {where}, but its reference is "
            f"only in {expected}"
        )
    return (
        f"{problem.name} is split: events arrive in {where}, but belong to {expected}; "
        "each part is watched separately"
    )


def fix_of(problem: PlacementProblem) -> str:
    """Return the fix of a problem."""
    if problem.kind == "events_elsewhere":
        return (
            "restart producers with an old number of partitions or shards; producers other than "
            "driftline's must use Kafka's default partitioner (librdkafka: "
            "partitioner=murmur2_random)"
        )
    return "driftline topics grow: it writes what is missing (a running monitor does so in seconds)"


def check_placement(problems: Sequence[PlacementProblem]) -> HealthCheckResult:
    """Check whether each model is watched in the partitions of its events."""
    if not problems:
        return ok("placement", "models are watched in their partitions")
    shown = "; ".join(map(sentence_of, problems[:MAX_SHOWN]))
    more = len(problems) - MAX_SHOWN
    return HealthCheckResult(
        check="placement",
        level="warning" if all(each.kind == "outdated" for each in problems) else "problem",
        found=shown + (f"; and {more} more" if more > 0 else ""),
        fix="; ".join(dict.fromkeys(map(fix_of, problems))),
    )


def format_partitions(partitions: Sequence[int]) -> str:
    """Partitions with their numbers.

    >>> format_partitions([2]), format_partitions([0, 2])
    ('partition 2', 'partitions 0, 2')
    """
    many = "" if len(partitions) == 1 else "s"
    return f"partition{many} {', '.join(map(str, partitions))}"
