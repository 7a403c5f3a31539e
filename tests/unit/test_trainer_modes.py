"""In mode ``manual`` the trainer proposes a version; a person's promotion is carried out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.trainer_alerts import a_job
from trainer.jobs.job import Job, JobData
from trainer.service.context import JobWorkspace, StepInputs, TrainerContext, context_from_settings
from trainer.service.pipeline import promote_challenger
from trainer.service.proposal import needs_person
from trainer.settings import Settings


def context_in(data_dir: Path, **trainer: Any) -> TrainerContext:
    sections: dict[str, Any] = {"trainer": {"data_dir": data_dir, **trainer}}
    return context_from_settings(Settings(**sections))


def job_about_to_promote(rule: str, model: str = "churn model") -> Job:
    return a_job(
        model=model,
        episode_id=None,
        challenger="2",
        state="promoting",
        asked_ms=5,
        work=JobData(promote=True, rule=rule, reason="It is better.", numbers={"n_events": 500}),
    )


def test_the_mode_is_manual_unless_the_settings_state_another_for_all_or_one_model() -> None:
    folder = Path("models")
    assert context_in(folder).mode_of("a") == "manual"
    assert context_in(folder, mode="auto").mode_of("a") == "auto"
    one = context_in(folder, modes={"a": "auto"})
    assert (one.mode_of("a"), one.mode_of("b")) == ("auto", "manual")
    with pytest.raises(ValidationError, match="'manual', 'auto' or 'pool'"):
        context_in(folder, mode="automatic")


def test_a_proposal_has_the_numbers_and_the_command_that_promotes_it(tmp_path: Path) -> None:
    context, job = context_in(tmp_path), job_about_to_promote("better")

    result = promote_challenger(job, context, JobWorkspace(tmp_path), StepInputs([], []))

    assert (result.after.state, result.after.outcome) == ("done", "proposed")
    assert result.champion is None
    assert result.outbound_records == ()
    (event,) = result.step_events
    command = f"driftline models promote 'churn model' 2 --data-dir {tmp_path}"
    assert (event.step, event.rule) == ("proposed", "better")
    assert event.reason == f"It is better.  To promote it: {command}"
    assert event.numbers == {"n_events": 500, "command": command}


@pytest.mark.parametrize(
    ("mode", "waiting"), [("manual", ["better", "not_worse", "swap"]), ("auto", []), ("pool", [])]
)
def test_which_promotions_wait_for_a_person(mode: str, waiting: list[str], tmp_path: Path) -> None:
    context = context_in(tmp_path, mode=mode)
    rules = ["better", "not_worse", "swap", "person"]

    assert [r for r in rules if needs_person(job_about_to_promote(r), context)] == waiting
