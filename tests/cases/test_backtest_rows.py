"""Rows of a backtest as people have them: some without a label, some with an odd one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from driftline.offline.backtest import backtest
from tests.cases.command_runner import CommandResult, run

FACTORIES = Path(__file__).parents[1] / "e2e"
N, TRAINING = 1_500, 1_000


@pytest.fixture(autouse=True)
def path_of_the_factories(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command adds the current folder to the import path, to import a factory from it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(FACTORIES)


def backtest_of(
    folder: Path, labels: Any, factory: str = "logistic", *, policy: str = "never"
) -> CommandResult:
    """A backtest of rows with these labels."""
    x = np.random.default_rng(4).normal(size=N)
    file = folder / "rows.csv"
    pd.DataFrame({"x": x, "noise": x[::-1], "y": labels}).to_csv(file, index=False)
    options = ("--label", "y", "--factory", f"backtest_factories:{factory}")
    return run(
        "backtest", file, *options, "--train", f"first:{TRAINING}", "--policies", policy
    )  # fmt: skip


def some_labels() -> list[Any]:
    return list(np.random.default_rng(3).integers(0, 2, N))


@pytest.mark.parametrize("policy", ["never", "adwin", "driftline"])
def test_training_rows_without_a_label_are_left_out(policy: str, tmp_path: Path) -> None:
    labels = [None if row % 10 == 0 else label for row, label in enumerate(some_labels())]

    done = backtest_of(tmp_path, labels, policy=policy)

    assert done.code == 0, done.err
    assert "900 rows train the first version, 500 are served" in done.out


def test_too_few_labels_are_counted(tmp_path: Path) -> None:
    labels = [None if row < 600 else label for row, label in enumerate(some_labels())]

    done = backtest_of(tmp_path, labels)

    assert (done.code, done.out) == (2, "")
    assert "--train first:1000 has 400 labelled rows of 1,000; 500 are needed" in done.err


def test_no_label_to_compare_with_is_named(tmp_path: Path) -> None:
    done = backtest_of(tmp_path, some_labels()[:TRAINING] + [None] * (N - TRAINING))

    assert done.code == 2
    assert "no row after the 1,000 training rows has a label" in done.err


def test_a_text_among_numbers_is_named_with_its_row(tmp_path: Path) -> None:
    labels = some_labels()
    labels[1_200] = "unclear"

    done = backtest_of(tmp_path, labels)

    assert done.code == 2
    assert "--label y: row 1,200 has 'unclear'; most labels are numeric" in done.err


def test_a_training_part_of_all_rows_is_named_by_its_option(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    pd.DataFrame({"x": [0.5, 0.1, 0.7] * 200, "y": [0, 1] * 300}).to_csv(file, index=False)
    options = ("--label", "y", "--factory", "backtest_factories:logistic", "--train", "first:600")

    error = run("backtest", file, *options).err
    assert "--train 'first:600' selects 600 of 600 rows" in error
    assert "leave some rows to train on" in error


def test_an_error_of_the_estimator_is_of_the_factory(tmp_path: Path) -> None:
    done = backtest_of(tmp_path, [0] * N)

    assert done.code == 2
    assert "the model of the factory cannot be fitted on these rows" in done.err
    assert "backtest_factories:logistic" in done.err


def test_an_error_of_driftline_is_not_of_the_factory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise KeyError("a mistake of driftline")

    monkeypatch.setattr(backtest, "losses", fails)

    done = backtest_of(tmp_path, some_labels())

    assert done.code == 1
    assert "factory" not in done.err
    assert "an unexpected error occurred" in done.err
