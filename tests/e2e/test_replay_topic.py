"""A replayed range of a topic equals a replayed file of its rows, and the alerts of the monitor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.offline.replay.table_replay import replay
from driftline.offline.replay.topic_table import TopicRecords, topic_table_of
from driftline.offline.tables.layout import layout_of
from driftline.offline.tables.table_reader import table_of
from driftline.topics.topic_reader import Record
from producer.codec import encode
from producer.events import InferenceEvent, Label, ModelUpdate
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import profile_to_data
from tests.integration.monitor_harness import START_MS, MonitorHarness, log_of

pytestmark = pytest.mark.kafka
N = 4_000


def replayed(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["replay", *arguments, "--json"])
    assert done.exit_code == code, done.output
    return [json.loads(line) for line in done.stdout.splitlines()] if code == 0 else []


def test_a_topic_gives_the_result_of_a_file_of_its_rows(
    harness: MonitorHarness, tmp_path: Path
) -> None:
    log = list(log_of("churn", 0, n_events=N))
    harness.produce("churn", log)
    harness.produce("other", list(log_of("other", 1, n_events=50)))
    place = (f"topic:{harness.topics.events}", "--bootstrap-servers", harness.broker)
    events = {e.id: e for e in log if isinstance(e, InferenceEvent)}
    truth = {e.id: e.label for e in log if isinstance(e, Label)}
    file = tmp_path / "rows.csv"
    pd.DataFrame(
        [
            {"time_ms": e.time_ms, "prediction": e.prediction, **e.features, "label": truth.get(i)}
            for i, e in events.items()
        ]
    ).to_csv(file, index=False)
    brief = ("--reference", "first:400")
    roles = ("--time", "time_ms", "--prediction", "prediction", "--label", "label")

    *as_it_is, live = replayed(*place, "--model", "churn")
    *from_log, summary = replayed(*place, "--model", "churn", "--reference", "first:10%")
    *from_file, _ = replayed(str(file), *roles)
    *_, first_half = replayed(*place, "--model", "churn", "--to", "4000", *brief)
    *_, shifted = replayed(*place, "--model", "churn", "--inject", "mean:age:+1sd@1000")

    assert live["versions"] == [
        {
            "version": "1",
            "events": N,
            "watched": N - 2_000,
            "reference": "warm_up",
            "reference_events": 2_000,
        }
    ]
    assert "age" in {episode["feature"] for episode in as_it_is}
    assert live["rejected"] > 0  # an unreadable record belongs to no model
    assert from_log == from_file
    assert {"temp", "age"} <= {episode["feature"] for episode in from_log}
    assert summary["events"] + summary["reference_events"] == N
    assert 0 < first_half["events"] < summary["events"]
    assert shifted["injected"][0]["delay_events"] is not None
    replayed(*place, code=2)  # of which model?
    replayed(*place, "--model", "unknown", code=2)
    replayed(*place, "--model", "churn", "--from", "soon", code=2)
    replayed(str(file), "--from", "7", code=2)


def test_the_reference_is_the_announced_profile_of_the_version(
    harness: MonitorHarness, tmp_path: Path
) -> None:
    """All events are replayed, segments included; a new feature is reported, as live."""
    rng = np.random.default_rng(2)

    def event(i: int) -> InferenceEvent:
        site, p = ("north", "south")[i % 2], rng.uniform(0.2, 0.6)
        shifted = 2.0 if i >= 2_000 and site == "north" else 0.0
        new = {"new": 1.0} if i >= 3_000 else {}
        return InferenceEvent(
            id=f"e{i}",
            model="p",
            version="5",
            time_ms=START_MS + 1_000 * i,
            features={"a": rng.normal() + shifted, "b": rng.normal(), **new},
            segment={"site": site},
            prediction={"bad": p, "good": 1 - p},
        )

    normal = [event(i) for i in range(2_000)]
    training = pd.DataFrame(
        [{**e.features, "site": (e.segment or {})["site"], "p": e.prediction} for e in normal]
    )
    profile = profile_from_frame(
        training,
        model="p",
        version="5",
        prediction="p",
        task="binary",
        positive="bad",
        features=["a", "b"],
        segments=["site"],
        importances={"a": 0.0, "b": 1.0},
    )
    update = ModelUpdate(
        id="u", model="p", version="5", time_ms=0, profile=profile_to_data(profile)
    )
    harness.produce("p", [update, *normal, *(event(i) for i in range(2_000, N))])
    place = (
        f"topic:{harness.topics.events}",
        "--bootstrap-servers",
        harness.broker,
        "--model",
        "p",
    )

    *episodes, summary = replayed(*place)
    assert (summary["events"], summary["reference_events"]) == (N, 2_000)
    printed = {(e["feature"], e["segment"]) for e in episodes}
    assert ("schema", None) in printed
    assert printed - {("schema", None)} <= {("a", None), ("a", "site=north"), ("a~b", None)}
    assert {e["severity"] for e in episodes if e["feature"] == "a"} == {"low"}
    reported = CliRunner().invoke(app, ["replay", *place])
    assert "p@5, announced profile: 4,000 of 4,000 events compared with 2,000" in reported.stdout
    *_, later = replayed(*place, "--from", "1500")  # the update lies before the range
    assert later["reference_events"] == 2_000
    *_, asked = replayed(*place, "--reference", "first:400")
    assert asked["reference_events"] == 400
    stored = tmp_path / "p.json"
    stored.write_bytes(msgspec.json.encode(profile_to_data(profile)))
    *rows, _ = replayed(*place, "--reference", str(stored))  # as rows, which have no version
    explanations = [row["explanation"].replace("of version 1.", "of version 5.") for row in rows]
    assert [
        {**row, "explanation": text} for row, text in zip(rows, explanations, strict=True)
    ] == episodes


def test_a_map_of_class_0_and_1_is_watched_as_the_probability_of_1() -> None:
    """It moves from 0.1 to 0.3: the likeliest class is ever the same."""
    rng = np.random.default_rng(3)
    records = []
    for i in range(N):
        p = rng.uniform(0.0, 0.2) + (0.2 if i >= N // 2 else 0.0)
        event = InferenceEvent(
            id=str(i),
            model="m",
            version="1",
            time_ms=i,
            features={"a": 1.0},
            prediction={"0": 1 - p, "1": p},
        )
        records.append(Record(0, i, None, encode(event), None, i))
    frame = topic_table_of(TopicRecords(records, []), "m", "t", profiled=False).frame
    table = table_of(frame, "t")
    layout = layout_of(table, time="time_ms", prediction="prediction")
    found = replay(frame[:1_000], frame[1_000:], layout, MonitorSpec(), first=1_000)
    assert [episode.kind for episode in found.episodes] == ["prediction"]


def test_a_partition_keeps_its_order_with_any_clocks() -> None:
    def event(name: str, partition: int, offset: int, timestamp_ms: int) -> Record:
        value = encode(
            InferenceEvent(
                id=name,
                model="m",
                version="1",
                time_ms=offset,
                features={"a": 1.0},
                prediction={"yes": 0.4, "no": 0.6},
            )
        )
        return Record(partition, offset, None, value, None, timestamp_ms)

    records = [
        event("a", 0, 1, 50),
        event("b", 0, 2, 10),
        event("c", 1, 1, 40),
        event("d", 1, 2, 60),
        event("a", 0, 3, 90),
        Record(0, 4, None, b"{", None, 0),
        Record(1, 9, None, encode(Label(id="d", model="m", label=1, time_ms=3)), None, 95),
    ]
    frame = topic_table_of(TopicRecords(records[::-1], []), None, "t", profiled=False).frame

    assert frame["time_ms"].tolist() == [1, 1, 2, 2]  # c, a, b, d
    assert frame["prediction"].tolist() == ["no"] * 4
    assert frame["label"].isna().tolist() == [True, True, True, False]
