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
    reported = labelled.live(5)

    assert phases(reported) == [("outage", "started")]
    assert (reported[0].kind, reported[0].series) == ("labels", "labels")
    assert reported[0].explanation == (
        "No labels for 66 s; usually they arrive without a gap. Check the job that writes labels."
    )


def test_a_label_outage_ends_with_the_next_labels(labelled: Partition) -> None:
    labelled.live(5)

    assert phases(labelled.live(1, labels_after_ms=10 * SECOND)) == [("outage", "recovered")]


def test_no_labels_where_no_predictions_come_is_silence_alone(labelled: Partition) -> None:
    assert phases(labelled.live(15, None)) == [("silence", "started")]


def test_a_model_that_never_had_labels_has_no_outage() -> None:
    partition = Partition()

    assert phases(partition.live(40)) == []


def test_later_labels_are_reported_with_the_gap_they_leave(labelled: Partition) -> None:
    reported = labelled.live(40, labels_after_ms=4 * MINUTE)

    assert phases(reported)[:3] == [
        ("outage", "started"),
        ("outage", "recovered"),
        ("delay", "started"),
    ]
    late = reported[2]
    assert late.explanation.startswith("Labels arrive ")
    assert "(usual 10 s)" in late.explanation
    assert late.direction == "up"
    assert phases(labelled.live(60, labels_after_ms=10 * SECOND))[-1] == ("delay", "recovered")


def test_a_delay_that_a_person_resolves_is_the_new_usual(labelled: Partition) -> None:
    reported = labelled.live(40, labels_after_ms=4 * MINUTE)
    resolved = labelled.command("resolve", reported[2].episode_id)

    assert phases(resolved) == [("delay", "resolved")]
    assert phases(labelled.live(30, labels_after_ms=4 * MINUTE)) == []


def test_a_resolved_outage_is_reported_again_when_it_lasts_much_longer(labelled: Partition) -> None:
    (started,) = labelled.live(3)

    assert phases(labelled.command("resolve", started.episode_id)) == [("outage", "resolved")]
    assert phases(labelled.live(2)) == []
    assert phases(labelled.live(4)) == [("outage", "started")]


def test_an_announcement_ends_no_outage(labelled: Partition) -> None:
    labelled.live(5)

    assert phases(labelled.update("2")) == []
