"""Cases D3, E1, E3 and F2: large numbers, several outputs, labels 1 and 2, times as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.cases.command_runner import DATA, run


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_numbers_beyond_a_million_millions_are_watched() -> None:
    output = run("check", DATA / "D3_beyond_1e12.ref.parquet", DATA / "D3_beyond_1e12.cur.parquet")
    assert output.code == 3
    assert "mean 5.22e+13 → 1.04e+14" in output.out


def test_each_of_two_outputs_that_are_no_probabilities_is_found_to_move() -> None:
    output = run(
        "replay",
        DATA / "E1_multi_output.jsonl",
        "--prediction",
        "prediction",
        "--reference",
        "first:1000",
        "--json",
    )
    found = [line for line in lines(output.out) if "alerted_event" in line]
    assert {line["explanation"].split(":")[0] for line in found} == {
        "Prediction `eta_min`",
        "Prediction `price`",
    }
    assert all(1_500 <= line["alerted_event"] < 1_600 for line in found)


LABELLED = ("--model", "m", "--version", "1", "--prediction", "score", "--label", "y")


def built(tmp_path: Path, *options: str, file: Path = DATA / "E3_labels_1_2.csv") -> Any:
    profile = tmp_path / "p.json"
    output = run("profile", "build", file, *LABELLED, "-o", profile, *options)
    return json.loads(profile.read_bytes()) if output.code == 0 else output


def test_labels_1_and_2_ask_for_the_positive_one(tmp_path: Path) -> None:
    output = built(tmp_path)
    assert output.code == 2
    assert "--positive '1' or --positive '2'" in output.err
    assert built(tmp_path, "--positive", "2")["loss"]["mean"] == 0


@pytest.mark.parametrize(
    ("no", "yes", "options", "error"),
    [
        ("0", "1", (), 0.0),
        ("False", "True", (), 0.0),
        ("-1", "1", (), 0.0),
        ("stays", "leaves", ("--positive", "leaves"), 0.0),
        ("stays", "leaves", (), None),
        ("stays", "leaves", ("--positive", "maybe"), None),
        ("5", "9", (), None),
    ],
)
def test_the_error_rate_is_right_or_there_is_none(
    tmp_path: Path, no: str, yes: str, options: tuple[str, ...], error: float | None
) -> None:
    rows = (DATA / "E3_labels_1_2.csv").read_text("utf-8").splitlines()
    named = [rows[0], *(row[:-1] + (yes if row.endswith("2") else no) for row in rows[1:])]
    file = tmp_path / "labels.csv"
    file.write_text("\n".join(named) + "\n")
    made = built(tmp_path, *options, file=file)
    if error is None:
        assert made.code == 2
        assert "--positive" in made.err
    else:
        assert made["loss"]["mean"] == error


@pytest.mark.parametrize("label", [[1], {"class": 1}, [[]]])
def test_labels_that_are_no_scalars_are_named_as_not_watched(label: Any, tmp_path: Path) -> None:
    rows = [{"age": 30 + i % 17, "score": i % 9 / 9, "y": label} for i in range(700)]
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    made = run("profile", "build", file, *LABELLED)
    assert made.code == 0
    assert "not watched: loss of the model: 0 valid values of 700" in made.err
    assert json.loads(made.out)["prediction"]["kind"] == "numeric"
    played = run(
        "replay", file, "--reference", "first:400", "--prediction", "score", "--label", "y"
    )
    assert played.code == 0
    assert "0 valid values of 400" in played.err + played.out


def test_outputs_in_lists_are_compared_each(tmp_path: Path) -> None:
    for name, move in (("a", 0), ("b", 40)):
        rows = [{"age": i % 17, "score": [i % 23, i % 29 + move]} for i in range(900)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    output = run(
        "check", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--prediction", "score", "--json"
    )
    assert output.code == 3
    results = {one["column"]: one["verdict"] for one in json.loads(output.out)["columns"]}
    assert results == {"age": "ok", "score.0": "ok", "score.1": "drift"}


def test_epoch_seconds_as_text_are_seconds() -> None:
    output = run(
        "replay", DATA / "F2_epoch_text.jsonl", "--time", "at", "--reference", "first:400", "--json"
    )
    assert output.code == 0
    [summary] = lines(output.out)
    assert summary["events"] == 200


@pytest.mark.parametrize("form", ["csv", "jsonl", "comma"])
@pytest.mark.parametrize("odd", ["ERR", "{}°C"])
@pytest.mark.parametrize("share", [0.4, 1.0])
def test_what_becomes_text_after_the_reference_is_found(
    form: str, odd: str, share: float, tmp_path: Path
) -> None:
    """The kinds of a replay are those of its reference, whatever comes later."""
    rng = np.random.default_rng(8)
    numbers = rng.normal(50, 10, 3_000).round(2)
    mixed: list[Any] = [
        odd.format(x) if i >= 1_500 and rng.random() < share else float(x)
        for i, x in enumerate(numbers)
    ]
    rows = pd.DataFrame({"temp": mixed, "plan": rng.choice(["a", "b"], 3_000)})
    file = tmp_path / ("rows.jsonl" if form == "jsonl" else "rows.csv")
    if form == "jsonl":
        rows.to_json(file, orient="records", lines=True)
    else:
        mark = "," if form == "comma" else "."
        rows["temp"] = [str(x).replace(".", mark) for x in mixed]
        rows.to_csv(file, index=False, sep=";")

    done = run("replay", file, "--reference", "first:1000", "--json")

    assert done.code == 0, done.err
    [found, _] = [json.loads(line) for line in done.out.splitlines()]
    assert (found["feature"], found["kind"]) == ("temp", "quality")
    assert 1_350 <= found["onset_event"] <= 1_500 < found["alerted_event"] < 2_000


@pytest.mark.parametrize(
    ("first", "shown"),
    [
        (1_711_800_000, "30 Mar 2024 12:05 UTC to 30 Mar 2024 12:14 UTC"),
        (45_381, "1 Jan 1970 12:41 UTC to 1 Jan 1970 12:51 UTC"),  # days of a spreadsheet
        (4_000_000_000, "2 Oct 2096 07:11 UTC to 2 Oct 2096 07:21 UTC"),
    ],
)
def test_a_replay_states_the_times_that_it_read(first: int, shown: str, tmp_path: Path) -> None:
    """Numbers that are no times since 1970, and a clock that is wrong, are seen at once."""
    rows = pd.DataFrame({"at": first + np.arange(900), "x": np.arange(900) % 17})
    rows.to_csv(tmp_path / "rows.csv", index=False)

    done = run("replay", tmp_path / "rows.csv", "--time", "at", "--reference", "first:300")

    assert f"at, {shown}" in done.out


@pytest.mark.parametrize(("factor", "shift"), [(1.0, 60.0), (1.6, 0.0)])
def test_a_jump_that_fits_a_conversion_is_not_claimed_to_be_one(
    factor: float, shift: float, tmp_path: Path
) -> None:
    """A level 1.6 times as high is that of miles sent as km; the rule knows no more than that."""
    file = tmp_path / "jump.csv"
    x = np.random.default_rng(1).normal(100, 8, 3_000)
    x[2_000:] = factor * x[2_000:] + shift
    pd.DataFrame({"x": x}).to_csv(file, index=False)

    (episode, _) = run("replay", file, "--reference", "first:1000", "--json").out.splitlines()

    sentence = json.loads(episode)["explanation"]
    assert "The new level fits miles sent as km." in sentence
    assert "ooks like" not in sentence


@pytest.mark.parametrize(
    ("before", "after"), [(("true", "false"), "10"), ("10", ("TRUE", "FALSE"))]
)
def test_true_and_1_of_a_csv_are_the_same(before: Any, after: Any, tmp_path: Path) -> None:
    """In CSV 0 and 1 are texts like true and false; as JSON they raised no alert either."""
    flags = np.random.default_rng(3).integers(0, 2, 3_000).tolist()
    written = [(before if i < 2_000 else after)[flag] for i, flag in enumerate(flags)]
    file = tmp_path / "flags.csv"
    pd.DataFrame({"flag": written, "x": flags[::-1]}).to_csv(file, index=False)

    found = run("replay", file, "--reference", "first:1000", "--json").out.splitlines()

    assert json.loads(found[-1])["episodes"] == 0
    assert len(found) == 1


def test_a_change_of_large_numbers_is_visible_in_its_sentence(tmp_path: Path) -> None:
    """Three digits of both sides were the same: 1 trillion → 1 trillion."""
    x = np.random.default_rng(1).normal(1e12, 10, 3_000)
    x[2_000:] += 40
    file = tmp_path / "large.csv"
    pd.DataFrame({"x": x}).to_csv(file, index=False)

    (episode, _) = run("replay", file, "--reference", "first:1000", "--json").out.splitlines()

    change = json.loads(episode)["explanation"].partition(" since")[0]
    before, after = change.removeprefix("`x`: mean ").split(" → ")
    assert float(after.replace(",", "")) - float(before.replace(",", "")) == pytest.approx(
        40, abs=9
    )


@pytest.mark.parametrize("scale", [1e-300, 1.0])
def test_a_steady_reference_is_steady_at_any_scale(scale: float, tmp_path: Path) -> None:
    """Squares of tiny numbers are 0, and every level seemed to change."""
    file = tmp_path / "tiny.csv"
    x = np.random.default_rng(1).normal(100, 10, 3_000)
    pd.DataFrame({"x": x * scale}).to_csv(file, index=False)

    done = run("replay", file, "--reference", "first:1000")

    assert (done.code, done.err) == (0, "")
