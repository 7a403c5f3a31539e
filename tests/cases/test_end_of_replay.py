"""The last rows of a replay: a change there is named, although it is not confirmed yet."""

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
