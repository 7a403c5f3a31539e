"""Replaying with other settings than the live ones, and against a stored profile."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.replay_runner import N, lines, run


@pytest.mark.slow
def test_a_looser_budget_is_compared_with_the_live_one(source: Path, tmp_path: Path) -> None:
    config = tmp_path / "new.toml"
    config.write_text("[budget]\nfalse_alerts = 1\nper_events = 1000000\n", "utf-8")
    _, summary = lines(source, "--config", config, "--inject", "mean:big:+1sd@6000")
    assert (summary["would_have_fired"], summary["would_not_have_fired"]) == (0, 0)
    config.write_text("[episodes]\nmin_effect = 50.0\n", "utf-8")
    _, summary = lines(source, "--config", config, "--inject", "mean:big:+1sd@6000")
    assert (summary["episodes"], summary["would_not_have_fired"]) == (0, 1)


def test_candidate_settings_override_the_live_ones(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they are live by a file or by the environment; nothing else differs."""
    change = ("--inject", "mean:big:+1sd@6000")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "driftline.toml").write_text("[episodes]\nmin_effect = 50.0\n", "utf-8")
    monkeypatch.setenv("DRIFTLINE_BUDGET__FALSE_ALERTS", "1")
    candidate = tmp_path / "new.toml"

    candidate.write_text("[budget]\nfalse_alerts = 2\n", "utf-8")
    episodes, summary = lines(source, "--config", candidate, *change)
    assert episodes == []
    assert summary["would_have_fired"] == 0
    difference = summary["difference"]
    assert difference["settings"].keys() == {"budget.false_alerts"}
    assert difference["settings"]["budget.false_alerts"] == {"live": 1, "candidate": 2}

    candidate.write_text("log_level = 'DEBUG'\n[episodes]\nmin_effect = 0.02\n", "utf-8")
    episodes, summary = lines(source, "--config", candidate, *change)
    assert summary["difference"]["settings"].keys() == {"episodes.min_effect"}
    assert summary["difference"]["would_have_fired"] == episodes
    assert summary["difference"]["would_not_have_fired"] == []
    output = run("replay", source, "--config", candidate, *change)
    assert "candidate: episodes.min_effect = 0.02, live 50.0" in output

    (tmp_path / "driftline.toml").rename(tmp_path / "live.toml")
    monkeypatch.setenv("DRIFTLINE_CONFIG", str(tmp_path / "live.toml"))
    assert lines(source, "--config", candidate, *change)[1]["would_have_fired"] == 1

    for text in (
        "[budget]\nfalse_alarms = 2\n",
        "[bugdet]\n",
        "[incidents]\nwindow = 2\n",
        "budget",
    ):
        candidate.write_text(text, "utf-8")
        run("replay", source, "--config", candidate, code=2)
    run("replay", source, "--config", tmp_path / "gone.toml", code=2)


@pytest.mark.slow
def test_incidents_are_counted_by_the_policy_that_is_tried(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are minutes: the two changes lie eight hours apart."""
    both = ("--inject", "mean:big:+3sd@6000", "--inject", "mean:count:+3sd@6500")
    change = ("--time", "at", *both)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "driftline.toml").write_text("[incidents]\nwindow_ms = 86400000\n", "utf-8")
    candidate = tmp_path / "new.toml"
    candidate.write_text("[incidents]\nwindow_ms = 3600000\n", "utf-8")

    assert lines(source, *change)[1]["incidents"] == 1
    assert lines(source, "--config", candidate, *change)[1]["incidents"] == 2


@pytest.mark.slow
def test_a_budget_per_week_is_tried_in_place_of_a_live_one_per_events(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are minutes; without their times the reference has no rate, which is reported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "driftline.toml").write_text("[budget]\nper_events = 5000\n", "utf-8")
    candidate = tmp_path / "new.toml"
    candidate.write_text("[budget]\nper_weeks = 1\n", "utf-8")

    with_times = run("replay", source, "--config", candidate, "--time", "at")
    assert "1 in 10,080 events, at 10,080 a week in the reference" in with_times
    assert "candidate: budget.per_weeks = 1.0, live None" in with_times
    without = run("replay", source, "--config", candidate)
    assert "1 in 1,000,000 events: the reference has no number of events a week" in without
    assert "a week (--time COLUMN)" in without
    candidate.write_text("[budget]\nper_weeks = 1\nper_events = 5000\n", "utf-8")
    assert "leave one of them out" in run("replay", source, "--config", candidate, code=2)


@pytest.mark.slow
def test_a_stored_profile_is_a_reference(source: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    """With its importances, all rows are replayed; what it does not know is left out of a file."""
    stored = tmp_path / "p.json"
    frame.iloc[:4_000].to_csv(tmp_path / "training.csv", index=False)
    run(
        "profile",
        "build",
        tmp_path / "training.csv",
        "--model",
        "m",
        "--version",
        "3",
        "-o",
        stored,
        "--prediction",
        "score",
        "--label",
        "late",
        "--feature",
        "big",
        "--feature",
        "count",
        "--importance",
        "big=0",
        "--importance",
        "count=1",
    )
    roles = ("--time", "at", "--prediction", "score", "--label", "late", "--reference", stored)

    episodes, summary = lines(source, *roles)
    assert episodes == []
    assert (summary["events"], summary["reference_events"]) == (N, 4_000)
    changes = ("--inject", "mean:big:+3sd@6000", "--inject", "mean:count:+3sd@6000")
    episodes, _ = lines(source, *roles, *changes)
    assert {e["feature"]: e["severity"] for e in episodes} == {"big": "low", "count": "high"}
    output = run("replay", source, "--reference", stored)  # and no prediction: that is not watched
    assert f"m@3, {stored}" in output
    assert "not watched: plan" in output
    assert "  none" in output

    run("replay", source, *roles, "--segment", "count", code=2)
    stored.write_text(stored.read_text("utf-8").replace('"training"', '"guess"'), "utf-8")
    assert "not a reference profile" in run("replay", source, *roles, code=2)
