"""Classes of predictions and labels that do not fit, and labels that are no classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from driftline import profile_from_frame
from tests.cases.command_runner import run

N = 3_000
RNG = np.random.default_rng(8)
PREDICTED, TRUE = RNG.integers(0, 2, (2, N))
NOTE = "has two classes, and p is from"


def written(folder: Path, predictions: Any, labels: Any) -> Path:
    file = folder / "rows.csv"
    rows = {"x": RNG.normal(size=N), "p": predictions, "y": labels}
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


@pytest.mark.parametrize(
    ("classes", "labels"), [(["Yes", "No"], ["yes", "no"]), (["good", "bad"], [0, 1])]
)
@pytest.mark.parametrize("command", ["replay", "profile"])
def test_labels_without_a_class_of_the_model_are_an_error(
    classes: list[str], labels: list[Any], command: str, tmp_path: Path
) -> None:
    """Every prediction would be wrong, in the reference too, and nothing would show it."""
    file = written(tmp_path, np.array(classes)[PREDICTED], np.array(labels)[TRUE])
    start = {
        "replay": ("replay", file, "--reference", "first:1000"),
        "profile": ("profile", "build", file, "--model", "m", "--version", "1"),
    }[command]

    done = run(*start, "--prediction", "p", "--label", "y")

    assert done.code == 2
    named = ", ".join(map(repr, sorted(classes)))
    assert f"the model predicts {named}, and the labels are" in done.err
    assert "every prediction would count as wrong" in done.err


def test_the_class_that_1_stands_for_can_be_named(tmp_path: Path) -> None:
    """Half of the predictions are wrong; without the class all those of 1 would be."""
    file = written(tmp_path, np.array(["bad", "good"])[PREDICTED], TRUE)
    build = ("profile", "build", file, "--model", "m", "--version", "1")

    done = run(*build, "--prediction", "p", "--label", "y", "--positive", "good")

    assert done.code == 0, done.err
    error_rate = float(np.mean(PREDICTED != TRUE))
    assert json.loads(done.out)["loss"]["mean"] == pytest.approx(error_rate)


def test_labels_that_are_fractions_are_those_of_a_regression(tmp_path: Path) -> None:
    """A model of rates predicts from 0 to 1; its error was not watched."""
    rates = RNG.uniform(0.1, 0.9, N)
    labels = rates + RNG.normal(0, 0.02, N)
    labels[2_000:] = 1 - labels[2_000:]
    file = written(tmp_path, rates, labels)

    done = run(
        "replay", file, "--reference", "first:1000", "--prediction", "p", "--label", "y", "--json"
    )

    (episode, _) = map(json.loads, done.out.splitlines())
    assert episode["kind"] == "concept"
    assert NOTE not in done.err


@pytest.mark.parametrize(("labels", "noted"), [(RNG.normal(0, 9, N), False), (TRUE, True)])
def test_only_two_classes_are_named_as_two_classes(
    labels: Any, *, noted: bool, tmp_path: Path
) -> None:
    file = written(tmp_path, RNG.uniform(-30, 30, N), labels)

    done = run("replay", file, "--reference", "first:1000", "--prediction", "p", "--label", "y")

    assert (NOTE in done.err) == noted


OUTPUTS = RNG.normal([5.0, 50.0], [1.0, 3.0], (N, 2))
OUTPUTS[2_000:, 1] += 9


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float64()),
        pa.list_(pa.float64(), 2),
        pa.map_(pa.string(), pa.float64()),
        pa.struct([("0", pa.float64()), ("1", pa.float64())]),
    ],
    ids=str,
)
def test_outputs_in_columns_of_parquet_are_watched_and_published(
    kind: pa.DataType, tmp_path: Path
) -> None:
    """Lists ended the commands, and maps were not watched."""
    named = [{"0": first, "1": second} for first, second in OUTPUTS.tolist()]
    rows: list[Any] = named if pa.types.is_struct(kind) else OUTPUTS.tolist()
    if pa.types.is_map(kind):
        rows = [list(row.items()) for row in named]
    file = tmp_path / "outputs.parquet"
    columns = {"x": RNG.normal(size=N), "p": pa.array(rows, kind)}
    parquet.write_table(pa.table(columns), file)

    found = run("replay", file, "--reference", "first:1000", "--prediction", "p", "--json")
    sent = run(
        "publish", file, "--model", "m", "--version", "1", "--prediction", "p", "--dry-run"
    )  # fmt: skip

    assert (found.code, sent.code) == (0, 0), found.err + sent.err
    (episode, _) = map(json.loads, found.out.splitlines())
    assert episode["explanation"].startswith("Prediction `1`: mean ")
    assert f"{N:,} rows checked" in sent.err


@pytest.mark.parametrize("of", [np.array, tuple])
def test_outputs_of_a_frame_may_be_arrays(of: Any) -> None:
    frame = pd.DataFrame({"x": OUTPUTS[:, 0], "p": [of(row) for row in OUTPUTS]})

    assert {*profile_from_frame(frame, model="m", version="1", prediction="p").outputs} == {
        "0",
        "1",
    }


def test_durations_of_a_frame_are_seconds_as_in_the_logger() -> None:
    frame = pd.DataFrame({"wait": pd.to_timedelta(range(1, 1_001), unit="s")})

    wait = profile_from_frame(frame, model="m", version="1").features["wait"]

    assert (wait.kind, wait.mean) == ("numeric", 500.5)


def test_two_columns_of_one_name_are_named() -> None:
    frame = pd.DataFrame(RNG.normal(size=(N, 2)), columns=["x", "x"])

    with pytest.raises(ValueError, match="several columns have the name 'x'"):
        profile_from_frame(frame, model="m", version="1")


@pytest.mark.parametrize(
    ("odd", "named"),
    [
        ("unknown", "1,000 labels cannot be compared with their predictions"),
        (None, "1,000 rows have no label"),
    ],
)
def test_labels_that_are_not_compared_are_counted(
    odd: str | None, named: str, tmp_path: Path
) -> None:
    """The last third of the rows had no error, and the replay did not mention it."""
    labels = [odd if row >= 2_000 else label for row, label in enumerate(TRUE)]
    file = written(tmp_path, RNG.uniform(size=N), labels)

    done = run("replay", file, "--reference", "first:1000", "--prediction", "p", "--label", "y")

    assert f"label       y ({named})" in done.out
