"""Reports of ``doctor`` and ``status`` about models that are split over partitions."""

from __future__ import annotations

import pytest

from driftline.cli.command_error import CommandError
from driftline.cli.status import placement_lines, placement_row
from driftline.cli.topics import shards_of
from driftline.monitor_state.placement_report import (
    PlacementProblem,
    check_placement,
    placement_effective_ms,
    placement_problems,
    sentence_of,
)
from producer.events import Topology
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.placement import Placement
from tests.unit.test_placement import GROWN, MODEL, Partition, events, update

FOUR = Topology(id="t1", time_ms=0, generation=1, partitions=4)
HOME = 2


def states(*parts: Partition) -> list[PartitionMonitor]:
    return [part.monitor for part in parts]


def test_a_model_at_its_place_is_well() -> None:
    home, other = Partition(HOME), Partition(0)
    home.write(FOUR, update(), *events(20))
    other.write(FOUR)

    assert placement_problems(states(home, other), 4) == []
    assert check_placement([]).level == "ok"


def test_partitions_beyond_the_topology_are_reported() -> None:
    home = Partition(HOME)
    home.write(FOUR, update(), *events(20))

    splits = placement_problems(states(home), 6)

    assert splits == [
        PlacementProblem("outdated", "6 partitions", (HOME,)),
        PlacementProblem("no_reference", f"{MODEL}@1", (4,), (HOME,)),
    ]
    found = check_placement(splits)
    assert found.level == "problem"
    assert "fraud@1 is split" in found.found
    assert "driftline topics grow" in found.fix


def test_a_reference_in_the_old_place_only_is_a_problem_until_it_is_copied() -> None:
    old, new = Partition(0), Partition(HOME)
    old.write(GROWN, update(), *events(20))
    new.write(GROWN, *events(20, seed=2))
    assert placement_problems(states(old, new), 4) == [
        PlacementProblem("no_reference", f"{MODEL}@1", (HOME,), (0,))
    ]

    new.write(update(moved_from=0, id="moved"))
    assert placement_problems(states(old, new), 4) == []


def test_events_at_the_old_placement_are_reported_once_writers_should_know_the_new_one() -> None:
    old, new = Partition(0), Partition(HOME)
    old.write(update(), GROWN, *events(30))
    new.write(update(), GROWN)
    assert placement_problems(states(old, new), 4) == []

    old.write(*events(60, seed=2))
    assert placement_problems(states(old, new), 4) == [
        PlacementProblem("events_elsewhere", MODEL, (0,), (HOME,))
    ]
    assert "restart producers" in check_placement(placement_problems(states(old, new), 4)).fix


def test_no_alert_while_nothing_is_known() -> None:
    old = Partition(0)
    old.write(update(), *events(30))

    assert placement_problems(states(old), 4) == []
    assert placement_effective_ms(states(old)) == {}
    assert Placement(0).partitions_of(MODEL) == ()


def test_status_shows_which_models_moved_and_what_is_split() -> None:
    old, new = Partition(0), Partition(HOME)
    old.write(GROWN, update(), *events(20))
    new.write(GROWN)

    row = placement_row(states(old, new), 4)
    assert placement_lines(row) == [
        "placement: 4 partitions, 2 before",
        f"  {sentence_of(PlacementProblem('no_reference', f'{MODEL}@1', (HOME,), (0,)))}",
        f"  {MODEL}: moved from partition 0 to 2",
    ]


def test_status_omits_a_placement_that_never_changed() -> None:
    home = Partition(HOME)
    home.write(FOUR, update(), *events(20))

    assert placement_lines(placement_row(states(home), 4)) == []


@pytest.mark.parametrize("text", ["churn", "=4", "churn=", "churn=0", "churn=x", "churn=99999"])
def test_invalid_shards_are_rejected(text: str) -> None:
    with pytest.raises(CommandError) as failed:
        shards_of([text])
    assert text in failed.value.what


def test_a_model_may_have_an_equals_sign_in_its_name() -> None:
    assert shards_of(["a=b=4", "churn=8"]) == {"a=b": 4, "churn": 8}
