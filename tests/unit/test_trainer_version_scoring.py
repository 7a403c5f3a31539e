"""The scorer process: started, restarted after a pause, and reported where it cannot read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.trainer_harness import until
from trainer.service.context import context_from_settings
from trainer.service.version_scoring import (
    MAX_CRASHES,
    RESTART_S,
    SILENT_S,
    START_DELAY_S,
    VersionScoring,
)
from trainer.settings import Settings

NO_KAFKA = "127.0.0.1:1"
"""No Kafka listens there."""


@pytest.fixture
def scoring(tmp_path: Path) -> Iterator[VersionScoring]:
    settings: dict[str, Any] = {
        "kafka": {"bootstrap_servers": NO_KAFKA},
        "trainer": {"data_dir": tmp_path, "factories": {"m": "f:f"}},
    }
    context = context_from_settings(Settings.model_validate(settings))
    scoring = VersionScoring(context, start_delay_s=0.0)
    yield scoring
    scoring.close()


def crash(scoring: VersionScoring, now_s: float) -> None:
    """Start a process and kill it before it has sent anything."""
    scoring.follow({"m": "1"}, lambda _model: [], now_s)
    process = scoring._process
    assert process is not None
    process.kill()

    def is_noticed() -> bool:
        scoring.poll(now_s)
        return scoring._process is None

    until(is_noticed)


def test_nothing_runs_without_a_champion(scoring: VersionScoring) -> None:
    scoring.follow({}, lambda _model: [], 0.0)

    assert scoring._process is None
    assert scoring.check(10 * SILENT_S, 0) is None


def test_the_first_champion_of_a_trainer_that_waited_for_one_is_no_problem(
    scoring: VersionScoring,
) -> None:
    scoring.follow({}, lambda _model: [], 0.0)
    scoring.follow({"m": "1"}, lambda _model: [], 10 * SILENT_S)

    assert scoring.check(10 * SILENT_S + 1.0, 0) is None
    assert scoring.check(11 * SILENT_S + 1.0, 0) is not None


def test_the_process_starts_after_the_jobs_of_a_trainer_that_has_just_started() -> None:
    settings = {"kafka": {"bootstrap_servers": NO_KAFKA}, "trainer": {"factories": {"m": "f:f"}}}
    scoring = VersionScoring(context_from_settings(Settings.model_validate(settings)))
    try:
        for now_s in (100.0, 100.0 + START_DELAY_S - 1.0):
            scoring.follow({"m": "1"}, lambda _model: [], now_s)
            assert scoring._process is None
        scoring.follow({"m": "1"}, lambda _model: [], 100.0 + START_DELAY_S)
        assert scoring._process is not None
    finally:
        scoring.close()


def test_a_process_that_crashes_again_and_again_makes_reading_continue_at_the_end(
    scoring: VersionScoring,
) -> None:
    now_s = 100.0
    skips = []
    for number in range(MAX_CRASHES):
        skips.append(scoring.must_skip)
        crash(scoring, now_s)
        scoring.follow({"m": "1"}, lambda _model: [], now_s)  # before the pause is over
        assert scoring._process is None
        now_s += RESTART_S[number]
    skips.append(scoring.must_skip)

    scoring.follow({"m": "1"}, lambda _model: [], now_s)

    assert [*skips, scoring.must_skip] == [False] * MAX_CRASHES + [True, False]


@pytest.mark.slow
def test_a_process_that_cannot_read_is_a_problem_with_its_reason_until_one_can(
    scoring: VersionScoring,
) -> None:
    scoring.follow({"m": "1"}, lambda _model: [], 0.0)

    def has_failed() -> bool:
        scoring.poll(0.0)
        return scoring._process is None

    until(has_failed)

    assert scoring.check(SILENT_S, 5) is None
    problem = scoring.check(SILENT_S + 1.0, 5)
    assert problem is not None
    assert (problem.kind, problem.since_ms) == ("scoring_stopped", 5)
    assert "KafkaException" in problem.explanation
    assert scoring.check(SILENT_S + 9.0, 99) == problem
    assert not scoring.must_skip  # the error is known: no record is to blame
