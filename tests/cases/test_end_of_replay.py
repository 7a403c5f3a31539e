"""The last lines of a replay name the changes that were not reported, and the reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cases.command_runner import run


@pytest.mark.parametrize("n_changed", [20, 50])
def test_a_change_in_the_last_rows_is_named_as_suspected(n_changed: int, tmp_path: Path) -> None:
    """Without the last line such a replay looks like one without a change."""
    values = np.random.default_rng(1).normal(100, 10, (3_000, 2))
    values[-n_changed:, 0] += 40
    file = tmp_path / "late.csv"
    pd.DataFrame(values, columns=["late", "same"]).to_csv(file, index=False)
    options = ("replay", file, "--reference", "first:1000")

    shown = run(*options).out
    assert "drift that begins in the last 64 events is not confirmed yet" in shown
    assert "suspected at the end, neither confirmed nor dismissed: late\n" in shown
    assert json.loads(run(*options, "--json").out.splitlines()[-1])["suspected"] == ["late"]

    report = tmp_path / "report.html"
    assert run(*options, "--html", report).code == 0
    assert "Suspected at the end, neither confirmed nor dismissed: late." in report.read_text()


def test_without_a_suspicion_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "calm.csv"
    values = np.random.default_rng(2).normal(100, 10, 3_000)
    pd.DataFrame({"x": values}).to_csv(file, index=False)

    found = run("replay", file, "--reference", "first:1000", "--json").out.splitlines()
    assert "suspected" not in json.loads(found[-1])


def test_rows_that_are_newest_first_are_named(tmp_path: Path) -> None:
    """The reference is then the newest part, and every change is reported in reverse."""
    file = tmp_path / "reversed.csv"
    at = pd.date_range("2024-01-01", periods=3_000, freq="min")[::-1]
    pd.DataFrame({"at": at, "x": np.random.default_rng(2).normal(size=3_000)}).to_csv(
        file, index=False
    )

    done = run("replay", file, "--reference", "first:1000", "--time", "at")

    assert "the newest are first, also in the reference; sort the rows by time" in done.out


@pytest.mark.parametrize(("slope", "named"), [(0.01, True), (0.0, False)])
def test_a_reference_that_proves_little_is_named(
    slope: float, *, named: bool, tmp_path: Path
) -> None:
    """Later values that no reference row had raised no alert, without a word."""
    file = tmp_path / "trend.csv"
    noise = np.random.default_rng(2).normal(size=3_000)
    pd.DataFrame({"x": slope * np.arange(3_000) + noise}).to_csv(file, index=False)

    for command in (
        ("replay", file, "--reference", "first:2000"),
        ("profile", "build", file, "--model", "m", "--version", "1"),
    ):
        done = run(*command)
        assert ("x: the rows of the reference depend on each other over" in done.err) == named


def test_a_change_within_the_cooldown_of_an_earlier_one_is_counted(tmp_path: Path) -> None:
    """Without the line the second change looks as if it had not been found."""
    values = np.random.default_rng(3).normal(size=4_800)
    values[1_500:2_000] += 2
    values[2_900:3_400] += 2
    rows = pd.DataFrame({"at": 1_700_000_000 + 60 * np.arange(4_800), "x": values})
    file = tmp_path / "twice.csv"
    rows.to_csv(file, index=False)
    options = ("replay", file, "--reference", "first:1000")

    a_second_apart = run(*options, "--ignore", "at")
    assert "suppressed: the signal had recovered shortly before" in a_second_apart.out
    assert "without --time an event lasts a second" in a_second_apart.out
    summary = json.loads(run(*options, "--ignore", "at", "--json").out.splitlines()[-1])
    assert (summary["episodes"], summary["suppressed"] > 0) == (1, True)

    a_minute_apart = json.loads(run(*options, "--time", "at", "--json").out.splitlines()[-1])
    assert a_minute_apart["episodes"] == 2
    assert "suppressed" not in a_minute_apart
