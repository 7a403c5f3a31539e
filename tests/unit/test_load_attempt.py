"""When a model server loads what was announced."""

from __future__ import annotations

from driftline.serving.champion import attempt_for
from trainer.contracts import ModelVersion

ONE, TWO = (
    ModelVersion(model="m", version=v, artifact_sha256="ab", time_ms=0, caused_by="a")
    for v in ("1", "2")
)


def test_an_announcement_is_loaded_when_nothing_newer_follows() -> None:
    attempt = attempt_for(ONE, 10.0, None)

    assert not attempt.is_ready(10.0, no_new_announcement=False)
    assert attempt.is_ready(10.0, no_new_announcement=True)


def test_announcements_without_end_hold_up_the_first_for_a_second() -> None:
    attempt = attempt_for(ONE, 10.0, None)
    attempt = attempt_for(TWO, 10.9, attempt)

    assert attempt.announced is TWO
    assert not attempt.is_ready(10.9, no_new_announcement=False)
    assert attempt.is_ready(11.0, no_new_announcement=False)


def test_failures_are_tried_again_ever_less_often() -> None:
    attempt, waits = attempt_for(ONE, 0.0, None), list[float]()
    for _ in range(8):
        attempt = attempt.after_failure(100.0)
        waits.append(attempt.earliest_s - 100.0)
        assert not attempt.is_ready(attempt.earliest_s - 0.1, no_new_announcement=True)
        assert attempt.is_ready(attempt.earliest_s, no_new_announcement=True)

    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_new_announcement_does_not_wait_for_the_failures_of_the_old_one() -> None:
    failing = attempt_for(ONE, 0.0, None).after_failure(100.0).after_failure(101.0)

    assert attempt_for(TWO, 101.5, failing).is_ready(101.5, no_new_announcement=True)
