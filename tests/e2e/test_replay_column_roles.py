"""Options that declare columns: the positive label, and numbers that are codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from driftline import profile_from_frame
from driftline.cli.app import app
from driftline.cli.command_error import EXIT_USAGE
from stream_monitor.reference.fit import NoPositiveLabel
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data
from tests.e2e import replay_runner as replaying

N = 6_000
TURNED_AT = 4_000
ROLES = ("--prediction", "score", "--label", "churned")


def frame() -> pd.DataFrame:
    """From one row on, labels contradict the scores; codes change places there, too."""
    rng = np.random.default_rng(5)
    score = rng.random(N)
    truth = rng.random(N) < score
    truth[TURNED_AT:] = ~truth[TURNED_AT:]
    codes = rng.choice([101, 205, 309], N, p=[0.4, 0.2, 0.4])
    return pd.DataFrame(
        {"x": rng.normal(size=N), "code": codes, "score": score, "churned": truth.astype(int)}
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


def run(*arguments: object, code: int = 0) -> str:
    output = replaying.run(*map(str, arguments), code=code)
    return output if code == 0 else " ".join(output.split())


def episodes(*arguments: object) -> list[dict[str, Any]]:
    output = run("replay", *arguments, "--reference", "first:3000", "--json")
    return [json.loads(line) for line in output.splitlines()][:-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "positive"),
    [
        ({0: "no", 1: "yes"}, "yes"),
        ({0: 1, 1: 2}, "2"),
        ({0: False, 1: True}, "true"),
        ({0: "a", 1: "b"}, "b"),
    ],
)
def test_a_named_positive_label_equals_labels_0_and_1(
    file: Path, words: dict[int, Any], positive: str
) -> None:
    plain = frame()
    plain.to_csv(file, index=False)
    expected = episodes(file, *ROLES)
    assert [(one["kind"], one["alerted_event"] >= TURNED_AT) for one in expected] == [
        ("concept", True)
    ]
    plain.assign(churned=plain["churned"].map(words)).to_csv(file, index=False)
    assert episodes(file, *ROLES, "--positive", positive) == expected


@pytest.mark.slow
@pytest.mark.parametrize("words", [["no", "yes"], ["TRUE!", "false"], ["late"]])
def test_labels_that_are_words_are_not_guessed_at(file: Path, words: list[str]) -> None:
    plain = frame().assign(churned=[words[i % len(words)] for i in range(N)])
    plain.to_csv(file, index=False)
    build = ("profile", "build", file, "--model", "m", "--version", "1")
    for command in (("replay", file), build):
        for given, why in (
            ((), "the error is inverted"),
            (("--positive", "maybe"), "would count as negative"),
        ):
            output = run(*command, *ROLES, *given, code=EXIT_USAGE)
            assert "churned" in output
            assert all(f"--positive '{word}'" in output for word in words)
            assert why in output
    with pytest.raises(NoPositiveLabel, match=r"churned.*positive="):
        profile_from_frame(plain, model="m", version="1", prediction="score", label="churned")


def built(file: Path, *arguments: str) -> ReferenceProfile:
    output = run("profile", "build", file, "--model", "m", "--version", "1", *arguments)
    return profile_from_data(json.loads(output))


def test_a_profile_has_its_positive_label_and_the_same_loss(file: Path) -> None:
    plain = frame()
    plain.to_csv(file, index=False)
    expected = built(file, *ROLES)
    plain.assign(churned=plain["churned"].map({0: "no", 1: "yes"})).to_csv(file, index=False)
    found = built(file, *ROLES, "--positive", "yes")
    assert (found.positive, found.loss) == ("yes", expected.loss)
    assert found.loss is not None


def test_a_label_of_two_booleans_may_have_the_false_one_as_positive(file: Path) -> None:
    plain = frame()
    plain.assign(churned=plain["churned"] == 1, score=1 - plain["score"]).to_csv(file, index=False)
    assert built(file, *ROLES, "--positive", "false").positive is False


@pytest.mark.slow
@pytest.mark.parametrize(
    "given", [("--categorical", "code", "--categorical", "x"), ("--categorical", "code,x")]
)
def test_codes_are_categories_with_the_option(file: Path, given: tuple[str, ...]) -> None:
    """205 becomes as frequent as 101 was: to a mean nothing happens, to categories all does."""
    rng = np.random.default_rng(6)
    after = rng.choice([101, 205, 309], N - TURNED_AT, p=[0.2, 0.6, 0.2])
    plain = frame()[["code"]].assign(x=rng.integers(0, 30, N))
    plain.loc[TURNED_AT:, "code"] = after
    plain.to_csv(file, index=False)
    (found,) = [one for one in episodes(file, *given) if one["feature"] == "code"]
    assert "205" in found["explanation"]
    assert "note" not in run("replay", file, *given)
    kinds = {name: of.kind for name, of in built(file, *given).features.items()}
    assert kinds == {"code": "categorical", "x": "categorical"}
    now = file.with_name("now.csv")
    plain[TURNED_AT:].to_csv(now, index=False)
    plain[:TURNED_AT].to_csv(file, index=False)
    output = json.loads(run("check", file, now, *given, "--fail-on", "never", "--json"))
    assert [one["kind"] for one in output["columns"]] == ["categorical", "categorical"]


def test_a_note_names_columns_of_few_whole_numbers_only(file: Path) -> None:
    plain = frame().assign(
        bit=lambda x: x["churned"], many=range(7, 7 + N), late=[1.5, 2.0] * (N // 2)
    )
    plain.to_csv(file, index=False)
    output = run("replay", file, *ROLES)
    assert "with few different values: code; if these are codes: --categorical code\n" in output
    done = CliRunner().invoke(
        app, ["profile", "build", str(file), "--model", "m", "--version", "1", *ROLES]
    )
    assert "--categorical code\n" in done.stderr


@pytest.mark.parametrize("command", ["replay", "check", "profile"])
def test_a_category_that_is_no_feature_is_rejected(file: Path, command: str) -> None:
    frame().to_csv(file, index=False)
    build = ("build", file, "--model", "m", "--version", "1")
    more = {"check": (file, file), "replay": (file,), "profile": build}[command]
    output = run(command, *more, "--categorical", "code,cdoe", code=EXIT_USAGE)
    assert "there is no column 'cdoe'" in output
