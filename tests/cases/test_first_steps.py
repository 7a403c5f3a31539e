"""What `init`, `profile build` and `replay` accept can be watched live; doubts are stated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cases.command_runner import run

NAMED = ("--model", "m", "--version", "1")
BUILDERS = (("init", "m", "--from"), ("profile", "build", *NAMED))
REPLAY = ("replay", "--reference", "first:300")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _rows(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "income": rng.normal(40, 9, n).round(2),
            "score": rng.random(n).round(3),
            "churned": rng.integers(0, 2, n),
        }
    )


def _file(tmp_path: Path, rows: pd.DataFrame) -> Path:
    rows.to_csv(tmp_path / "train.csv", index=False)
    return tmp_path / "train.csv"


@pytest.mark.parametrize("builder", BUILDERS)
def test_more_features_than_an_event_may_have_are_no_reference(
    builder: tuple[str, ...], tmp_path: Path
) -> None:
    """Each event of such a model would be rejected."""
    rng = np.random.default_rng(4)
    wide = pd.DataFrame(rng.normal(size=(400, 513)), columns=[f"f{i}" for i in range(513)])
    file = _file(tmp_path, wide)

    made = run(*builder, file)

    assert made.code == 2
    assert "513 features, and an event with more than 512 is rejected" in made.err
    assert "--ignore" in made.err
    assert run(*builder, file, "--ignore", "f7").code == 0


@pytest.mark.parametrize("builder", BUILDERS)
def test_the_kind_of_predictions_can_be_stated(builder: tuple[str, ...], tmp_path: Path) -> None:
    """An error of either command recommends the option, so both have it."""
    rows = _rows()
    rows["churned"] = np.where(rows["churned"] == 1, 7, 8)
    columns = ("--prediction", "score", "--label", "churned")

    asked = run(*builder, _file(tmp_path, rows), *columns)
    stated = run(*builder, tmp_path / "train.csv", *columns, "--task", "regression")

    assert (asked.code, "--task regression" in asked.err) == (2, True)
    assert stated.code == 0, stated.err


@pytest.mark.parametrize("builder", [*BUILDERS, REPLAY])
def test_percentages_are_no_probabilities(builder: tuple[str, ...], tmp_path: Path) -> None:
    """The error would be the distance of 83 from 1."""
    rows = _rows(900)
    file = _file(tmp_path, rows.assign(score=(100 * rows["score"]).round(1)))
    columns = ("--prediction", "score", "--label", "churned")

    assert "so it is taken for a regression" in run(*builder, file, *columns).err

    _file(tmp_path, rows)
    right = run(*builder, file, *columns, *_force(builder))
    assert (right.code, "regression" in right.err) == (0, False)


def _force(builder: tuple[str, ...]) -> tuple[str, ...]:
    return ("--force",) if builder[0] == "init" else ()


@pytest.mark.parametrize("builder", [*BUILDERS, REPLAY])
def test_one_column_has_one_role(builder: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*builder, _file(tmp_path, _rows()), "--prediction", "score", "--label", "score")

    assert done.code == 2
    assert "--label: 'score' is also named by --prediction" in done.err


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    file = _file(tmp_path, _rows())

    done = run("init", "m", "--from", file, "--folder", file)

    assert done.code == 2
    assert "is a file, not a folder" in done.err
    assert "--force" not in done.err


def test_the_recommended_command_reads_the_file_as_init_did(tmp_path: Path) -> None:
    rows = _rows()
    (tmp_path / "train.csv").write_text(rows.to_csv(sep="^", index=False))

    made = run("init", "m", "--from", tmp_path / "train.csv", "--separator", "^")

    assert made.code == 0, made.err
    assert "--separator '^'" in made.out


def test_a_replay_counts_the_features_that_it_watches(tmp_path: Path) -> None:
    rows = _rows(900)
    rows.loc[:200, "income"] = np.nan

    done = run("replay", _file(tmp_path, rows), "--reference", "first:300")

    assert "600 events of 2 features" in done.out
    assert "not watched: income: 99 valid values of 300, 300 are needed" in done.err


def test_rows_with_the_id_of_an_earlier_row_are_counted(tmp_path: Path) -> None:
    """The monitor counts each id once, so that most events of each customer would be lost."""
    rows = _rows().assign(customer=[f"c{i % 100}" for i in range(600)])

    done = run("publish", _file(tmp_path, rows), *NAMED, "--id", "customer", "--dry-run")

    assert "500 rows have the id of an earlier row: the monitor counts each id once" in done.err
    assert "--id" in done.err


def test_what_cannot_be_written_is_named_as_output(tmp_path: Path) -> None:
    """It is no missing input."""
    file = _file(tmp_path, _rows())
    wanted = {
        "the profile cannot be written": ("profile", "build", file, *NAMED, "-o", "/dev/null/p"),
        "the files cannot be written": ("init", "m", "--from", file, "--folder", "/proc/own"),
    }

    for error, command in wanted.items():
        done = run(*command)
        assert (done.code, error in done.err, "fix" in done.err) == (1, True, True), done.err


@pytest.mark.parametrize("builder", [("init", "--from"), ("profile", "build", "--version", "1")])
@pytest.mark.parametrize("name", ["", "m" * 300, "a\x07b"])
def test_an_invalid_name_of_a_model_is_wrong_usage(
    builder: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    file = _file(tmp_path, _rows())
    model = ("--", name) if builder[0] == "init" else ("--model", name)

    done = run(*builder, file, *model)

    assert (done.code, "give another model name" in done.err) == (2, True), done.err
    assert "\x07" not in done.err
