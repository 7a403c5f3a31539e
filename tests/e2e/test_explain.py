"""The calibrated thresholds and the minimum detectable effects of a file of traffic."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from redis import Redis
from typer.testing import CliRunner

from driftline.cli.app import app
from producer.codec import encode
from producer.events import CE_TYPE_OF, InferenceEvent
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.state.partition_state import PartitionStateFactory
from stream_monitor.state.redis_store import partition_key


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    drag = np.zeros(6_000)
    for i, step in enumerate(rng.normal(size=6_000)):
        drag[i] = 0.9 * drag[i - 1] + step
    frame = pd.DataFrame({"free": rng.normal(50, 10, 6_000), "drag": drag, "still": 1.0})
    frame.to_csv(tmp_path / "traffic.csv", index=False)
    return tmp_path / "traffic.csv"


def reported(*arguments: str | Path) -> Any:
    done = CliRunner().invoke(app, ["explain", *(str(a) for a in arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_budget_is_shared_by_all_detectors_of_the_model(source: Path) -> None:
    found = reported("calibration", source)
    channels = found["channels"]
    share = found["false_alerts"] / found["per_events"]
    detectors = 2 * (len(channels) + 1)  # the loss, which labels will bring, has its share
    detectors += 2 * 3  # so has the range of each of the three features
    detectors += 4  # so have silence, volume, and labels that stop or come late
    assert {channel["arl0_events"] for channel in channels} == {detectors / share}
    blocks = {c["series"]: c["block"] for c in channels if c["channel"] == "location"}
    assert blocks["drag"] > blocks["free"]


def test_detectable_effects_grow_with_autocorrelation_and_shrink_with_time(source: Path) -> None:
    features = {
        one["series"]: one for one in reported("power", source, "--rate", "900")["features"]
    }
    hour, day = features["free"]["within_hour"], features["free"]["within_day"]
    assert 0 < day["sd"] < hour["sd"] < 1
    assert hour["units"] == pytest.approx(10 * hour["sd"], rel=0.1)
    assert features["drag"]["within_day"]["sd"] > 2 * day["sd"]
    assert features["free"]["missing_within_day"] < features["free"]["missing_within_hour"] < 0.1


def test_the_rate_is_that_of_the_file_where_it_has_times(source: Path) -> None:
    frame = pd.read_csv(source)
    frame["at"] = pd.date_range("2024-01-01", periods=len(frame), freq="10s")
    frame.to_csv(source, index=False)
    assert reported("power", source, "--time", "at")["events_per_hour"] == pytest.approx(
        360, rel=0.01
    )
    assert reported("power", source)["events_per_hour"] == 1_000


def test_text_and_json_have_the_same_content(source: Path) -> None:
    for command in ("power", "calibration"):
        done = CliRunner().invoke(app, ["explain", command, str(source)])
        assert done.exit_code == 0
        assert {"free", "drag", "still"} <= set(done.stdout.split())


def test_a_budget_per_week_shows_its_rate_or_its_absence(source: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(source)
    frame["at"] = pd.date_range("2024-01-01", periods=len(frame), freq="10s")
    frame.to_csv(source, index=False)
    config = tmp_path / "weeks.toml"
    config.write_text("[budget]\nper_weeks = 2\n", "utf-8")

    def printed(*arguments: str | Path) -> tuple[Any, str]:
        given = ("calibration", source, "--config", config, *arguments)
        done = CliRunner().invoke(app, ["explain", *(str(a) for a in given)])
        return reported(*given), done.stdout

    found, text = printed("--time", "at")
    assert found["events_per_week"] == pytest.approx(60_480)
    assert (found["unit"], found["per_weeks"], found["per_events"]) == ("weeks", 2, 120_960)
    assert "1 false alerts in 2 weeks of event time, at the 60,480 events a week" in text
    assert "in 120,960 events of the model" in text
    found, text = printed()
    assert (found["unit"], found["per_weeks"], found["per_events"]) == ("events", 2, 1_000_000)
    assert "the budget holds per events" in text
    assert "(--time COLUMN)" in text
    frame.assign(at=1_700_000_000).to_csv(source, index=False)
    _, text = printed("--time", "at")
    assert "use rows over ten seconds or more" in text
    config.write_text("[budget]\nper_weeks = 0\n", "utf-8")
    done = CliRunner().invoke(app, ["explain", "calibration", str(source), "--config", str(config)])
    assert (done.exit_code, "per_weeks is a positive number" in done.stderr) == (2, True)


def test_a_profile_without_a_rate_is_to_be_built_again(source: Path, tmp_path: Path) -> None:
    """And --time, which is of rows, is rejected."""
    stored, config = str(tmp_path / "p.json"), tmp_path / "weeks.toml"
    config.write_text("[budget]\nper_weeks = 2\n", "utf-8")
    run = CliRunner()
    built = run.invoke(
        app, ["profile", "build", str(source), "--model", "m", "--version", "1", "-o", stored]
    )
    assert built.exit_code == 0, built.output
    given = ["explain", "calibration", stored, "--config", str(config)]

    text = run.invoke(app, given).stdout
    assert "driftline profile build with --time or --events-per-week, and profile send" in text
    for command in ("calibration", "power"):
        done = run.invoke(app, ["explain", command, stored, "--time", "at"])
        assert (done.exit_code, "and this is a profile" in done.stderr) == (2, True)


@pytest.fixture
def watched(source: Path, redis_url: str) -> Iterator[list[str]]:
    """The same rows as events of a model, one in ten seconds, in the state of a monitor."""
    prefix = f"x{uuid.uuid4().hex[:10]}"
    topic = f"{prefix}.events.v1"
    fold = PartitionStateFactory(MonitorSpec(warm_up_events=2_000), prefix).new(topic, 3)
    records = [
        ConsumerRecord(
            i,
            10_000 * i,
            CE_TYPE_OF[InferenceEvent],
            encode(
                InferenceEvent(
                    id=f"e{i}",
                    model="churn",
                    version="7",
                    time_ms=10_000 * i,
                    features=row,
                    prediction=0.5,
                )
            ),
        )
        for i, row in enumerate(json.loads(pd.read_csv(source).to_json(orient="records")))
    ]
    encoded = fold.observe(RecordBatch(topic, 3, "e", 0, len(records), records))
    redis: Any = Redis.from_url(redis_url)
    redis.hset(partition_key(topic, 3), mapping=fold.take_changes())
    for name, blob in encoded.outbox.items():
        if f"{prefix}:window:" in name:
            redis.set(name[name.index(prefix) :], blob)
    yield ["--redis-url", redis_url, "--prefix", prefix]
    for key in redis.scan_iter(f"*{prefix}*"):
        redis.delete(key)
    redis.close()


def test_a_model_that_is_watched_is_explained_by_its_name(watched: list[str]) -> None:
    found = reported("power", "churn", *watched)
    assert {"free", "drag", "still"} <= {one["series"] for one in found["features"]}
    assert found["events_per_hour"] == pytest.approx(360, rel=0.05)  # of its closed windows
    assert reported("power", "churn", "--rate", "9", *watched)["events_per_hour"] == 9
    channels = reported("calibration", "churn", *watched)["channels"]
    assert {"free", "drag"} <= {one["series"] for one in channels}


def test_an_unknown_source_lists_the_known_models(watched: list[str], tmp_path: Path) -> None:
    def rejected(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["explain", *arguments])
        return done.exit_code, done.stderr

    code, printed = rejected("power", "chrun", *watched)
    assert code == 2
    assert "the monitor does not know a model 'chrun'" in printed
    assert "one of churn" in printed
    nowhere = ("--redis-url", "redis://127.0.0.1:1/0")
    assert rejected("calibration", "churn", *nowhere)[0] == 4
    code, printed = rejected(
        "power", str(tmp_path / "gone.csv"), *nowhere
    )  # a file is not asked for
    assert (code, "the file does not exist" in printed) == (2, True)
    assert rejected("power", "churn", "--time", "at", *watched)[0] == 2
