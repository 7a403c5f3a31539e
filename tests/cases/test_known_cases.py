"""Cases of real trouble, which lie in ``data``: the right value, in every command they concern."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cases.command_runner import DATA, READERS, CommandResult, read_by, run

MODEL = ("--model", "m", "--version", "1")
A1 = DATA / "A1_names.csv"
B2, B2_NOW = DATA / "B2_semicolon_decimal_comma.csv", DATA / "B2_cur.csv"


def features(output: CommandResult) -> Any:
    assert output.code == 0, output
    return output.json()["features"]


def columns(output: CommandResult) -> dict[str, Any]:
    return {one["column"]: one for one in json.loads(output.out)["columns"]}


def test_a1_any_name_is_a_feature_and_its_shift_is_found(tmp_path: Path) -> None:
    profile = tmp_path / "p.json"
    built = run("profile", "build", A1, *MODEL, "--prediction", "score", "-o", profile)
    assert built.code == 0, built
    assert "mean radius (mm)" in json.loads(profile.read_text("utf-8"))["features"]
    assert "mean radius (mm): the reference itself changes at row 400, mean 98.8" in built.err
    published = read_by("publish", A1)
    assert (published.code, published.err) == (0, "600 rows checked\n")
    replayed = run("replay", A1, "--prediction", "score", "--reference", profile, "--json")
    assert replayed.code == 0, replayed
    assert json.loads(replayed.out.splitlines()[-1])["events"] == 600
    moved = run("replay", A1, "--prediction", "score", "--reference", "first:300", "--json")
    first = json.loads(moved.out.splitlines()[0])
    assert first["feature"] == "mean radius (mm)"
    assert 400 <= first["alerted_event"] < 500


def test_b1_commas_at_the_end_of_rows_shift_no_column() -> None:
    found = features(read_by("profile", DATA / "B1_trailing_comma.csv"))
    assert found["amount"]["mean"] == pytest.approx(99.34, abs=0.005)
    assert set(found) == {"amount", "qty", "shop", "score"}


def test_b2_a_decimal_comma_is_read_and_its_drift_found() -> None:
    found = features(read_by("profile", B2))
    assert set(found) == {"amount", "qty", "shop", "score"}
    assert found["amount"]["mean"] == pytest.approx(99.3, abs=0.05)
    checked = run("check", B2, B2_NOW, "--json")
    assert checked.code == 3
    amount = columns(checked)["amount"]
    assert amount["verdict"] == "drift"
    assert amount["explanation"].startswith("mean 99.3 → 109")
    replayed = run("replay", B2_NOW, "--reference", B2, "--json")
    assert "amount" in {json.loads(line).get("feature") for line in replayed.out.splitlines()}


@pytest.mark.parametrize("command", READERS)
def test_b6_western_text_is_read_and_the_encoding_named(command: str) -> None:
    output = read_by(command, DATA / "B6_latin1.csv")
    assert output.code == 0, output
    assert "read as cp1252" in output.err + output.out
    if command == "profile":
        assert output.json()["features"]["shop"]["categories"][-1] == "Köln"


def test_c1_a_decimal_is_a_number_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    file, profile = DATA / "C1_skipped.parquet", tmp_path / "p.json"
    built = run("profile", "build", file, *MODEL, "-o", profile)
    assert built.code == 0, built
    found = json.loads(profile.read_text("utf-8"))["features"]
    assert (found["price"]["kind"], found["price"]["n_invalid"]) == ("numeric", 67)
    assert f"{len(found)} features" in built.err
    for output in (
        built,
        read_by("replay", file),
        run("check", file, file),
        read_by("explain", file),
    ):
        assert "at" in output.err
        assert "a time (use --time)" in output.err


def test_d2_columns_that_are_not_watched_are_missed_where_they_are_gone() -> None:
    before, now = DATA / "D2_unwatched_gone.ref.parquet", DATA / "D2_unwatched_gone.cur.parquet"
    output = run("check", before, now, "--json")
    assert output.code == 3
    assert {name: one["verdict"] for name, one in columns(output).items()} == {
        "x": "ok",
        "note": "quality",
        "emb": "quality",
    }


def test_d3_numbers_beyond_1e12_are_numbers() -> None:
    before, now = DATA / "D3_beyond_1e12.ref.parquet", DATA / "D3_beyond_1e12.cur.parquet"
    checked = run("check", before, now, "--json")
    assert checked.code == 3
    found = columns(checked)["c"]
    assert found["verdict"] == "drift"
    assert found["explanation"].startswith("mean 5.22e+13 → 1.04e+14")
    built = features(read_by("profile", before))
    assert (built["c"]["kind"], built["c"]["n_invalid"]) == ("numeric", 0)
    (episode, _) = run("replay", now, "--reference", before, "--json").out.splitlines()
    assert json.loads(episode)["feature"] == "c"


def test_d4_a_value_that_was_never_there_and_repeats_is_no_chance() -> None:
    before, now = DATA / "D4_sentinel.ref.parquet", DATA / "D4_sentinel.cur.parquet"
    output = run("check", before, now, "--json")
    assert output.code == 3
    found = columns(output)["c"]
    assert found["verdict"] == "quality"
    assert found["explanation"].startswith("3.4% of values are -999, none before")
    reported = json.loads(run("replay", now, "--reference", before, "--json").out.splitlines()[0])
    assert (reported["feature"], reported["kind"]) == ("c", "quality")
    assert "of values are -999" in reported["explanation"]


def test_e3_labels_1_and_2_need_a_word_and_then_err_as_the_model_does() -> None:
    file, roles = DATA / "E3_labels_1_2.csv", ("--prediction", "score", "--label", "y")
    for output in (run("profile", "build", file, *MODEL, *roles), run("replay", file, *roles)):
        assert output.code == 2
        assert "--positive '2'" in output.err
    built = run("profile", "build", file, *MODEL, *roles, "--positive", "2")
    assert built.code == 0, built
    assert built.json()["loss"]["mean"] == 0.0


def test_d4_is_found_by_replay_too(tmp_path: Path) -> None:
    profile = tmp_path / "p.json"
    reference = DATA / "D4_sentinel.ref.parquet"
    assert run("profile", "build", reference, *MODEL, "-o", profile).code == 0
    output = run("replay", DATA / "D4_sentinel.cur.parquet", "--reference", profile, "--json")
    assert output.code == 0
    *episodes, _ = [json.loads(line) for line in output.out.splitlines()]
    ((feature, kind, explanation),) = [
        (e["feature"], e["kind"], e["explanation"]) for e in episodes
    ]
    assert (feature, kind) == ("c", "quality")
    assert "% of values are -999" in explanation


def test_f2_seconds_as_text_are_seconds() -> None:
    file = DATA / "F2_epoch_text.jsonl"
    output = run("replay", file, "--time", "at", "--reference", "first:400", "--json")
    assert output.code == 0, output
    built = features(run("profile", "build", file, *MODEL, "--time", "at"))
    assert set(built) == {"x"}
    power = run("explain", "power", file, "--time", "at", "--json")
    assert power.json()["events_per_hour"] == pytest.approx(60, rel=0.01)
    published = run("publish", file, *MODEL, "--prediction", "x", "--time", "at", "--dry-run")
    assert (published.code, published.err[:17]) == (0, "600 rows checked\n")


@pytest.mark.parametrize("command", READERS)
def test_escapes_reach_no_terminal(command: str) -> None:
    options = ("--ignore", "\x1b[2Jx")
    for output in (
        read_by(command, DATA / "escapes.csv"),
        read_by(command, DATA / "escapes.csv", *options),
    ):
        assert "\x1b" not in output.out + output.err


def test_escapes_are_shown_escaped() -> None:
    output = run("replay", DATA / "escapes.csv", "--reference", "first:50%", "--ignore", "\x1b[2Jx")
    assert output.code == 0, output
    assert "\x1b" not in output.out + output.err
    reported = run("replay", DATA / "escapes.csv", "--reference", "first:50%")
    assert reported.code == 2
    assert "is not a valid name" in reported.err
    assert "\x1b" not in reported.err


def test_e1_two_outputs_are_both_watched_and_reach_the_topic_unchanged() -> None:
    file = DATA / "E1_multi_output.jsonl"
    output = run(
        "replay", file, "--prediction", "prediction", "--reference", "first:1000", "--json"
    )
    assert output.code == 0, output
    reported = [json.loads(line) for line in output.out.splitlines()[:-1]]
    assert {one["kind"] for one in reported} == {"prediction"}
    assert all(any(name in one["explanation"] for one in reported) for name in ("price", "eta_min"))
    assert all(1_500 <= one["alerted_event"] < 1_700 for one in reported)
    published = run("publish", file, *MODEL, "--prediction", "prediction", "--dry-run")
    assert (published.code, published.err) == (0, "3,000 rows checked\n")
    checked = run("check", file, file, "--prediction", "prediction", "--json")
    assert set(columns(checked)) == {"x", "prediction.eta_min", "prediction.price"}
