"""`--html` of `check` and `replay`: one file that loads nothing and has every finding."""

from __future__ import annotations

import json
import re
from html import escape, unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import driftline
from driftline.offline.tables.source_error import SourceError
from tests.e2e.replay_runner import lines, run
from tests.unit.self_contained import assert_self_contained

N = 6_000
HOSTILE_COLUMN = '"><img src=x onerror=alert(2)>'
HOSTILE_CATEGORY = "</text></svg><script>alert(3)</script>"


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "at": pd.date_range("2024-01-01", periods=N, freq="min").strftime("%Y-%m-%dT%H:%M:%SZ"),
            HOSTILE_COLUMN: rng.normal(10, 2, N),
            "plan": rng.choice(["free", "pro", HOSTILE_CATEGORY], N, p=[0.5, 0.3, 0.2]),
            "steady": rng.normal(0, 1, N),
            "user": [f"user-{i}" for i in range(N)],
            "gone": rng.random(N),
        }
    )


@pytest.fixture(scope="module")
def files(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("report")
    before, now = folder / "before.csv", folder / "now.csv"
    frame.iloc[:4_000].to_csv(before, index=False)
    changed(frame).to_csv(now, index=False)
    return before, now


def changed(frame: pd.DataFrame) -> pd.DataFrame:
    rest = frame.iloc[4_000:].reset_index(drop=True).drop(columns="gone")
    return rest.assign(**{HOSTILE_COLUMN: rest[HOSTILE_COLUMN] + 3.0})


def shown(page: str) -> str:
    """The page as a person reads it, without the elements that mark names."""
    return unescape(re.sub(r"</?code>", "", page))


@pytest.mark.parametrize(("fail_on", "code"), [("any", 3), ("drift", 3), ("never", 0)])
def test_the_report_of_a_check_has_every_column_and_the_same_exit_code(
    files: tuple[Path, Path], tmp_path: Path, fail_on: str, code: int
) -> None:
    report = tmp_path / "check.html"
    options = ("--time", "at", "--fail-on", fail_on)
    run("check", *files, *options, "--html", report, code=code)
    page = report.read_text("utf-8")
    assert_self_contained(page)

    if code == 0:
        data = json.loads(run("check", *files, *options, "--json"))
        for column in data["columns"]:
            assert f"<td>{escape(column['column'], quote=False)}</td>" in page.replace("&#34;", '"')
            assert column["explanation"] in shown(page)
        for name, why in data["ignored"].items():
            assert f"<dt>{name}</dt><dd>{why}</dd>" in page
        assert "1 drift, 1 quality. The check passes (fail on: never)." in page
        assert page.count('<svg class="histogram"') == 3
    else:
        assert f"The check fails (fail on: {fail_on})." in page


def test_without_a_difference_the_report_states_it(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    report = tmp_path / "check.html"
    run("check", files[0], files[0], "--time", "at", "--html", report)
    page = report.read_text("utf-8")
    assert '<p class="result ok">No difference in 4 columns. The check passes' in page


def test_the_report_of_a_replay_has_every_episode(frame: pd.DataFrame, tmp_path: Path) -> None:
    traffic, report = tmp_path / "traffic.csv", tmp_path / "replay.html"
    moved = frame.assign(steady=frame["steady"] + 2.0 * (frame.index >= 4_500))
    moved.to_csv(traffic, index=False)
    inject = f"mean:{HOSTILE_COLUMN}:+2sd@3000"
    arguments = (traffic, "--time", "at", "--inject", inject)
    episodes, _ = lines(*arguments, "--html", report)
    page = report.read_text("utf-8")
    assert_self_contained(page)

    assert {episode["feature"] for episode in episodes} >= {"steady", HOSTILE_COLUMN}
    for episode in episodes:
        assert episode["explanation"].replace("`", "") in shown(page)
        assert f"<td>{episode['alerted_event']:,}</td>" in page
    assert f"{len(episodes)} episodes in" in page
    assert page.count('<svg class="histogram"') >= 2
    assert "<dt>user</dt>" in page
    assert "1 false alarm in 1,000,000 events" in page


def test_a_notebook_shows_the_replay_of_a_frame(frame: pd.DataFrame, tmp_path: Path) -> None:
    """With the episodes of the command; also against other rows than the first ones."""
    moved = frame.assign(steady=frame["steady"] + 2.0 * (frame.index >= 4_500))
    traffic = tmp_path / "traffic.csv"
    moved.to_csv(traffic, index=False)
    episodes, _ = lines(traffic, "--time", "at")

    found = driftline.report.replay(moved, time="at")
    against = driftline.report.replay(moved.iloc[4_000:], reference=frame.iloc[:4_000], time="at")

    assert [e.explanation for e in found.episodes] == [e["explanation"] for e in episodes]
    assert "user" in found.not_watched
    assert {one.feature for one in against.episodes} == {"steady"}
    texts = "".join(assert_self_contained(against.html).texts)
    assert "the given rows" in texts
    assert against.episodes[0].explanation.replace("`", "") in texts
    assert found._repr_html_().startswith("<iframe sandbox ")
    with pytest.raises(SourceError, match="steady"):
        driftline.report.replay(frame.drop(columns="steady"), reference=frame, time="at")


def test_a_report_that_cannot_be_written_is_an_error_with_its_path(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    absent = tmp_path / "none" / "check.html"
    output = run("check", files[0], files[0], "--time", "at", "--html", absent, code=1)
    assert "the report cannot be written" in output
    assert "none" in output


def test_a_notebook_shows_the_report_of_two_frames(frame: pd.DataFrame, tmp_path: Path) -> None:
    found = driftline.report.check(frame.iloc[:4_000], changed(frame), time="at")

    assert found.failed
    assert {c.column for c in found.columns} == {*frame.columns} - {"at"}
    assert "user" in found.not_watched
    page = found.save(tmp_path / "check.html").read_text("utf-8")
    assert page == found.html
    assert_self_contained(page)
    shown_in = found._repr_html_()
    assert shown_in.startswith("<iframe sandbox ")
    assert shown_in.count("<") == 2  # the frame opens and closes; the report is its attribute
    srcdoc = re.search(r'srcdoc="([^"]*)"', shown_in)
    assert srcdoc is not None
    assert unescape(srcdoc[1]) == page


def test_a_report_of_a_live_model_names_a_server_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        '[kafka]\nbootstrap_servers = "127.0.0.1:1"\n[redis]\nurl = "redis://127.0.0.1:1"\n'
    )
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(ConnectionError, match="Kafka does not answer"):
        driftline.report.model("churn", config=file)
