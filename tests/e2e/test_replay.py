"""Replaying and checking files, as a person does it: columns and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftline.demo import flights
from driftline.demo.scenario import FEATURES
from tests.e2e.replay_runner import N, lines, run


def test_a_stationary_file_raises_no_alert_and_every_column_is_accounted_for(source: Path) -> None:
    episodes, summary = lines(source, "--time", "at")
    assert episodes == []
    assert (summary["events"], summary["reference_events"]) == (N - N // 10, N // 10)
    assert summary["features"] == 8
    output = run("replay", source, "--time", "at")
    for column in ("row", "nothing", "user"):
        assert f"not watched: {column}" in output


@pytest.mark.parametrize(
    ("change", "feature", "kind"),
    [
        ("mean:tiny temp (°C):+1sd@6000", "tiny temp (°C)", "data"),
        ("missing:big:0.3@6000", "big", "quality"),
        ("swap:plan:free=pro@6000", "plan", "data"),
    ],
)
def test_injected_drift_is_found_once_with_its_delay(
    source: Path, change: str, feature: str, kind: str
) -> None:
    episodes, summary = lines(source, "--inject", change)
    (episode,) = episodes
    assert (episode["feature"], episode["kind"]) == (feature, kind)
    assert episode["explanation"].startswith(f"`{feature}`:")
    assert 6_000 <= episode["detected_event"] <= episode["alerted_event"] < 7_500
    assert abs(episode["onset_event"] - 6_000) < 500
    assert episode["started_at"].startswith("1970-01-01T01:")  # an event a second
    assert episode["ended_at"] is None
    (found,) = summary["injected"]
    assert found["delay_events"] == episode["alerted_event"] - 6_000


@pytest.mark.slow
def test_signals_that_move_together_are_one_incident_with_all_of_them(
    source: Path, tmp_path: Path
) -> None:
    changes = [
        *("--inject", "mean:tiny temp (°C):+1sd@6000", "--inject", "mean:big:+1sd@6000"),
        *("--inject", "mean:score:+0.01sd@6000", "--inject", "mean:big:+3sd@9000"),
    ]
    episodes, summary = lines(source, "--time", "at", *changes)
    assert [episode["feature"] for episode in episodes].count("big") == 1
    assert (summary["episodes"], summary["incidents"]) == (2, 1)
    weeks = (N - N // 10 - 1) / (7 * 24 * 60)
    assert summary["alerts_per_week"] == pytest.approx(2 / weeks, rel=0.01)
    assert summary["alerts_per_million"] == pytest.approx(2e6 / summary["events"], rel=0.01)
    delays = [one["delay_events"] for one in summary["injected"]]
    assert [delay is None for delay in delays] == [False, False, True, True]

    output = run("replay", source, "--time", "at", *changes)
    assert f"injected mean of big at row 6,000: alert after {delays[1]} rows" in output
    assert "injected mean of score at row 6,000: missed" in output
    assert "injected mean of big at row 9,000: no new alert" in output
    assert f"{summary['alerts_per_million']} alerts per million events" in output
    assert f"{summary['alerts_per_week']} per week" in output

    deaf = tmp_path / "deaf.toml"
    deaf.write_text("[episodes]\nmin_effect = 50.0\n", "utf-8")
    output = run("replay", source, "--time", "at", *changes, "--config", deaf)
    assert output.count("would not have fired: ") == 2
    assert "would not have fired: `big`: mean" in output


@pytest.mark.slow
def test_a_segment_that_drifts_is_named(frame: pd.DataFrame, tmp_path: Path) -> None:
    data = frame.copy()
    data.loc[(data["plan"] == "pro") & (data.index >= 6_000), "count"] += 1
    data.to_csv(tmp_path / "traffic.csv", index=False)

    episodes, _ = lines(tmp_path / "traffic.csv", "--segment", "plan")

    of_pro = [episode for episode in episodes if episode["segment"] == "plan=pro"]
    assert [episode["feature"] for episode in of_pro] == ["count"]
    assert of_pro[0]["explanation"].startswith("`count`: mean 2")
    assert "traffic of version 1 with plan=pro" in of_pro[0]["explanation"]
    assert {episode["segment"] for episode in episodes} <= {None, "plan=pro"}
    rejected = run("replay", tmp_path / "traffic.csv", "--segment", "user=3", code=2)
    assert "'user' is not a watched column" in rejected


def test_labels_and_predictions_are_watched_too(source: Path, frame: pd.DataFrame) -> None:
    worse = frame.copy()
    worse.loc[6_000:, "late"] = (worse.loc[6_000:, "score"] < 0.5).astype(int)
    worse.to_csv(source, index=False)
    roles = ("--time", "at", "--prediction", "score", "--label", "late")
    episodes, _ = lines(source, *roles)
    assert [episode["kind"] for episode in episodes] == ["concept"]
    assert episodes[0]["started_at"].startswith("2024-01-05T0")


@pytest.mark.slow
def test_all_formats_give_the_same_result(source: Path, frame: pd.DataFrame) -> None:
    change = ("--inject", "mean:big:+1sd@6000", "--reference", "first:3000")
    frame.to_parquet(source.with_suffix(".parquet"))
    frame.to_json(source.with_suffix(".jsonl"), orient="records", lines=True)
    expected = lines(source, *change)[0]
    assert len(expected) == 1
    assert lines(source.with_suffix(".parquet"), *change)[0] == expected
    assert lines(source.with_suffix(".jsonl"), *change)[0] == expected


@pytest.mark.slow
def test_real_flights_in_any_order_hold_the_budget(tmp_path: Path) -> None:
    """Shuffled rows are exchangeable: whatever fires is false.  One in a million was asked for."""
    frame = flights.load()[[*FEATURES, "late"]]
    fired = 0
    for seed in range(3):
        frame.sample(frac=1, random_state=seed).to_csv(tmp_path / "shuffled.csv", index=False)
        fired += lines(tmp_path / "shuffled.csv")[1]["episodes"]
    assert fired <= 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "the file is empty"),
        (b"a,b\n", "no rows"),
        (b"a,a\n1,2\n", "2 columns have the name 'a'"),
        (b"a,b\n\xff\xfe,1\n" * 3, "not UTF-8"),
        (b"a\n1\n2\n3\n", "leave some rows for the reference"),
        (b"a\n" + b"1\n2\n" * 100, "too short"),
        (b"when\n" + b"2024-01-01\n" * 3_000, "no column can be watched"),
    ],
)
def test_an_unusable_file_is_rejected_with_a_reason(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    path = tmp_path / "useless.csv"
    path.write_bytes(content)
    assert complaint in " ".join(run("replay", path, code=2).split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--time", "nowhere"),
        ("--inject", "mean:nowhere:1@5"),
        ("--inject", "mean:big"),
        ("--reference", "first:0"),
        ("--reference", "first:many"),
        ("--time", "plan"),
    ],
)
def test_wrong_options_are_rejected_with_the_right_ones(
    source: Path, arguments: tuple[str, str]
) -> None:
    output = run("replay", source, *arguments, code=2)
    assert any(line.startswith(("  fix", "  why")) for line in output.splitlines()) or (
        "leave some rows for the reference" in output
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("mean:plan:+1@6000", "plan is categorical"),
        ("celsius:plan@6000", "plan is categorical"),
        ("scale:active:2@6000", "active is boolean"),
        ("swap:plan:gold=free@6000", "choose a value of these rows, like 'free', 'pro', 'team'"),
        ("swap:active:yes=no@6000", "like 'False', 'True'"),
        ("swap:count:1.5=2@6000", "like '1', '2'"),
        ("mean:constant:+1sd@6000", "changes no value from row 6,000 on"),
        ("missing:big:0.0001@6000-6001", "inject a larger change, or replay more rows"),
        ("missing:big:20@6000", "a share above 0 and up to 1"),
        ("mean:big:inf@6000", "needs a finite number"),
    ],
)
def test_an_injection_that_changes_nothing_is_no_miss_of_the_detector(
    source: Path, change: str, why: str
) -> None:
    assert why in " ".join(run("replay", source, "--inject", change, code=2).split())


@pytest.mark.slow
def test_codes_are_swapped_by_their_names(frame: pd.DataFrame, tmp_path: Path) -> None:
    codes = np.random.default_rng(4).choice([101.0, 205.0, np.nan], N, p=[0.6, 0.3, 0.1])
    frame.assign(code=codes).to_parquet(tmp_path / "traffic.parquet")
    for options in ((), ("--categorical", "code")):
        change = ("--inject", "swap:code:101=205@6000", *options)
        (episode,), _ = lines(tmp_path / "traffic.parquet", *change)
        assert episode["feature"] == "code"
        assert 6_000 <= episode["alerted_event"] < 7_500


@pytest.mark.slow
def test_equal_files_pass_and_changed_ones_do_not(frame: pd.DataFrame, tmp_path: Path) -> None:
    before, now = tmp_path / "before.csv", tmp_path / "now.csv"
    frame.iloc[:8_000].to_csv(before, index=False)
    frame.iloc[8_000:].to_csv(now, index=False)
    run("check", before, now, "--time", "at")
    changed = frame.iloc[8_000:].assign(big=lambda x: x["big"] * 1.6)
    changed.to_csv(now, index=False)
    assert "drift" in run("check", before, now, "--fail-on", "drift", code=3)
    run("check", before, now, "--fail-on", "quality")
    changed.drop(columns="plan").to_csv(now, index=False)
    assert "the column is gone" in run("check", before, now, "--fail-on", "quality", code=3)
    broken = frame.iloc[8_000:].copy()
    broken.loc[broken.index[::4], "big"] = None
    broken.to_csv(now, index=False)
    found = json.loads(run("check", before, now, "--fail-on", "never", "--json"))
    results = {column["column"]: column["verdict"] for column in found["columns"]}
    assert results["big"] == "quality"
    assert (found["drift"], found["quality"]) == (0, 1)
