"""The log itself replayed: a range of the topic gives what a file of the same rows gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from driftline.cli import app
from driftline.reading import Record
from driftline.replay.topic import frame_of
from producer.codec import encode
from producer.events import InferenceEvent, Label
from tests.integration.monitor_stage import Stage, log_of

pytestmark = pytest.mark.kafka
N = 4_000


def replayed(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["replay", *arguments, "--json"])
    assert done.exit_code == code, done.output
    return [json.loads(line) for line in done.stdout.splitlines()] if code == 0 else []


def test_the_log_says_what_a_file_of_its_rows_says(stage: Stage, tmp_path: Path) -> None:
    log = list(log_of("churn", 0, n_events=N))
    stage.produce("churn", log)
    stage.produce("other", list(log_of("other", 1, n_events=50)))
    place = (f"topic:{stage.topics.events}", "--bootstrap-servers", stage.broker)
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

    *from_log, summary = replayed(*place, "--model", "churn")
    *from_file, _ = replayed(str(file), *roles)
    *_, first_half = replayed(*place, "--model", "churn", "--to", "4000", *brief)
    *_, shifted = replayed(*place, "--model", "churn", "--inject", "mean:age:+1sd@1000")

    assert from_log == from_file
    assert {"temp", "age"} <= {episode["feature"] for episode in from_log}
    assert summary["events"] + summary["reference_events"] == N
    assert 0 < first_half["events"] < summary["events"]
    assert shifted["injected"][0]["delay_events"] is not None
    replayed(*place, code=2)  # of which model?
    replayed(*place, "--model", "nobody", code=2)
    replayed(*place, "--model", "churn", "--from", "soon", code=2)
    replayed(str(file), "--from", "7", code=2)


def test_a_partition_keeps_its_order_whatever_its_clocks_say() -> None:
    def event(name: str, partition: int, offset: int, timestamp_ms: int) -> Record:
        value = encode(
            InferenceEvent(id=name, model="m", version="1", time_ms=offset, features={"a": 1.0},
                           prediction={"yes": 0.4, "no": 0.6})
        )  # fmt: skip
        return Record(partition, offset, None, value, None, timestamp_ms)

    records = [
        event("a", 0, 1, 50), event("b", 0, 2, 10), event("c", 1, 1, 40), event("d", 1, 2, 60),
        event("a", 0, 3, 90), Record(0, 4, None, b"{", None, 0),
        Record(1, 9, None, encode(Label(id="d", model="m", label=1, time_ms=3)), None, 95),
    ]  # fmt: skip
    frame = frame_of(reversed(records), None, "t")

    assert frame["time_ms"].tolist() == [1, 1, 2, 2]  # c, a, b, d
    assert frame["prediction"].tolist() == ["no"] * 4
    assert frame["label"].isna().tolist() == [True, True, True, False]
