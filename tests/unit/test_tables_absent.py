"""A JSON row without the key of the prediction is an event without one in every command."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from msgspec import UNSET

from driftline.offline.check.column_check import ColumnCheck, check
from driftline.offline.replay.table_replay import replay
from driftline.offline.tables import table_reader as reader
from driftline.offline.tables.layout import layout_of
from driftline.offline.tables.reference_profile import profile_of
from driftline.offline.tables.row_events import PublishColumns, layout_to_publish, row_events_of
from driftline.offline.tables.table_reader import open_table, read_table
from producer.events import InferenceEvent
from producer.limits import Limits
from stream_monitor.core.spec import MonitorSpec

N = 3_000


def written(path: Path, *, key: int = 3, null: int = 0, label: bool = False) -> Path:
    """Rows of which every ``key``-th has a score, and every ``null``-th of these a null one."""
    rng = np.random.default_rng(1)
    lines = []
    for i in range(N):
        row: dict[str, object] = {"x": round(float(rng.normal()), 6)}
        score = round(float(rng.beta(2, 5)), 6)
        if i % key == 0:
            row["score"] = None if null and i // key % null == 0 else score
        if label:
            row["y"] = int(rng.random() < score)
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("chunk_rows", [2, 7, 50_000])
def test_rows_without_the_key_are_marked_and_counted_in_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_rows: int
) -> None:
    monkeypatch.setattr(reader, "CHUNK_ROWS", chunk_rows)
    file = tmp_path / "rows.jsonl"
    scores: list[dict[str, object]] = [{"score": 0.5}, {"score": None}, {}, {}, {"score": 0.25}]
    file.write_text("\n".join(json.dumps({"x": i} | row) for i, row in enumerate(scores)))

    table = read_table(file, prediction="score")
    opened = open_table(file, prediction="score")

    by_chunk = [value for frame in opened.frames() for value in frame["score"]]
    for values in (by_chunk, table.frame["score"].tolist()):
        kinds = [None if v is not UNSET and pd.isna(v) else v for v in values]
        assert kinds == [0.5, None, UNSET, UNSET, 0.25]
    assert table.inferred["score"].kind == opened.inferred["score"].kind == "numeric"
    assert any("2 of 5 rows have no 'score'" in note for note in table.notes)
    assert read_table(file).frame["score"].isna().sum() == 3  # a feature that is missing
    assert read_table(file).notes == []


def test_the_reference_of_the_predictions_is_that_of_the_rows_that_have_one(tmp_path: Path) -> None:
    table = read_table(written(tmp_path / "rows.jsonl", null=10, label=True), prediction="score")
    layout = layout_of(table, prediction="score", label="y")

    profile = profile_of(table.frame, layout, model="m", version="1")

    assert profile.prediction is not None
    assert (profile.prediction.n_events, profile.prediction.n_invalid) == (1_000, 100)
    assert (profile.task, profile.n_events) == ("binary", N)
    assert profile.loss is not None
    assert profile.loss.n_events - profile.loss.n_invalid == 900


def test_a_replay_watches_the_inputs_of_events_without_a_prediction(tmp_path: Path) -> None:
    table = read_table(written(tmp_path / "rows.jsonl"), prediction="score")
    layout = layout_of(table, prediction="score")

    done = replay(
        table.frame.iloc[:2_000], table.frame.iloc[2_000:], layout, MonitorSpec(), first=2_000
    )

    assert not done.rejected
    assert [episode for episode in done.episodes if episode.kind == "quality"] == []


def test_published_events_have_no_prediction_where_the_row_has_none(tmp_path: Path) -> None:
    table = open_table(written(tmp_path / "rows.jsonl", null=10), prediction="score")
    columns = PublishColumns(prediction="score")
    rows = row_events_of(
        table,
        layout_to_publish(table, columns),
        model="m",
        version="1",
        columns=columns,
        source="a",
        now_ms=2**41,
        limits=Limits(),
    )

    events = [event for row in rows for event in row.events if isinstance(event, InferenceEvent)]

    by_state = Counter(
        "none" if e.prediction is UNSET else "null" if e.prediction is None else "valid"
        for e in events
    )
    assert by_state == {"none": 2_000, "null": 100, "valid": 900}


def compared(before: Path, now: Path) -> ColumnCheck:
    reference, current = (read_table(path, prediction="score") for path in (before, now))
    columns = check(reference, current, layout_of(reference))
    return next(column for column in columns if column.column == "score")


def test_check_compares_the_predictions_there_are_and_names_a_change_of_the_share_that_is_not(
    tmp_path: Path,
) -> None:
    full = written(tmp_path / "full.jsonl", key=1)
    third = written(tmp_path / "third.jsonl")
    again = written(tmp_path / "again.jsonl")
    null = written(tmp_path / "null.jsonl", null=4)

    same, fewer, invalid = (
        compared(*files) for files in ((third, again), (full, third), (third, null))
    )

    assert (same.result, same.missing_now) == ("ok", 0.0)
    assert (fewer.result, fewer.missing_now, fewer.lost) == ("quality", 0.0, True)
    assert "rows without a prediction 0.0% → 66.7%" in fewer.explanation
    assert (invalid.result, invalid.missing_now) == ("quality", 0.25)
    assert "rows without" not in invalid.explanation


def test_several_outputs_are_absent_together(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [{"x": i, "out": {"a": i * 1.5, "b": 2.0}} if i % 2 else {"x": i} for i in range(8)]
    file.write_text("\n".join(map(json.dumps, lines)))

    table = reader.with_outputs(read_table(file, prediction="out"), "out")

    assert table.frame["out.a"].tolist() == [UNSET, 1.5, UNSET, 4.5, UNSET, 7.5, UNSET, 10.5]
    assert {"out.a", "out.b"} <= table.inferred.keys()
