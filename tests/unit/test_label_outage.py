from __future__ import annotations

import pytest

from tests.unit.traffic_simulation import MINUTE, SECOND, Partition, phases


@pytest.fixture
def labelled() -> Partition:
    """A model whose labels come ten seconds after its predictions, for 50 minutes."""
    partition = Partition()
    assert phases(partition.live(50, labels_after_ms=10 * SECOND)) == []
    return partition


def test_no_labels_while_predictions_come_is_an_outage(labelled: Partition) -> None:
    told = labelled.live(5)

    assert phases(told) == [("outage", "started")]
    assert (told[0].kind, told[0].series) == ("labels", "labels")
    assert told[0].explanation == (
        "No labels for 66 s; usually they arrive without a gap. Check the job that writes labels."
    )


def test_labels_that_come_again_end_it(labelled: Partition) -> None:
    labelled.live(5)

    assert phases(labelled.live(1, labels_after_ms=10 * SECOND)) == [("outage", "recovered")]


def test_no_labels_where_no_predictions_come_is_silence_alone(labelled: Partition) -> None:
    assert phases(labelled.live(15, None)) == [("silence", "started")]


def test_a_model_that_never_had_labels_has_no_outage() -> None:
    partition = Partition()

    assert phases(partition.live(40)) == []


def test_labels_that_come_later_are_told_with_the_gap_they_leave(labelled: Partition) -> None:
    told = labelled.live(40, labels_after_ms=4 * MINUTE)

    assert phases(told)[:3] == [
        ("outage", "started"),
        ("outage", "recovered"),
        ("delay", "started"),
    ]
    late = told[2]
    assert late.explanation.startswith("Labels arrive ")
    assert "(usual 10 s)" in late.explanation
    assert late.direction == "up"
    assert phases(labelled.live(60, labels_after_ms=10 * SECOND))[-1] == ("delay", "recovered")


def test_a_delay_that_a_person_resolves_is_the_new_usual(labelled: Partition) -> None:
    told = labelled.live(40, labels_after_ms=4 * MINUTE)
    resolved = labelled.command("resolve", told[2].episode_id)

    assert phases(resolved) == [("delay", "resolved")]
    assert phases(labelled.live(30, labels_after_ms=4 * MINUTE)) == []


def test_an_outage_that_a_person_resolves_is_told_when_it_is_longer_still(
    labelled: Partition,
) -> None:
    (started,) = labelled.live(3)

    assert phases(labelled.command("resolve", started.episode_id)) == [("outage", "resolved")]
    assert phases(labelled.live(2)) == []
    assert phases(labelled.live(4)) == [("outage", "started")]


def test_an_announcement_ends_no_outage(labelled: Partition) -> None:
    labelled.live(5)

    assert phases(labelled.update("2")) == []
