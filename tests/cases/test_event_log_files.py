"""Files of events in driftline's own format, as a copy of the event topic has them.

Labels, repeats, shadow predictions and control records are among the events.  A file is read as the
monitor reads the topic, whatever the order of its lines.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.cases.command_runner import run

N = 900
ROLES = ("--time", "time_ms", "--prediction", "prediction")
REPLAY = ("--reference", "first:400", *ROLES, "--json")


def _events(version_from: int = N) -> list[dict[str, Any]]:
    rng = random.Random(5)  # noqa: S311
    return [
        {
            "id": f"e{i}",
            "model": "churn",
            "version": "2" if i >= version_from else "1",
            "time_ms": 1_711_800_000_000 + 1_000 * i + rng.randint(-3_000, 3_000),
            "features": {"x": rng.gauss(0, 1), "plan": rng.choice("ab")},
            "prediction": rng.random(),
        }
        for i in range(N)
    ]


def _labels(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    rng = random.Random(6)  # noqa: S311
    return [
        {
            "id": event["id"],
            "model": "churn",
            "label": int(rng.random() < event["prediction"]),
            "time_ms": event["time_ms"] + 60_000,
        }
        for event in events
    ]


def _file(tmp_path: Path, records: Iterable[Any], name: str = "log.jsonl") -> Path:
    file = tmp_path / name
    file.write_text("\n".join(map(json.dumps, records)))
    return file


def test_the_fields_of_events_are_no_features(tmp_path: Path) -> None:
    """A new version, or the passing of time, is no drift."""
    done = run("replay", _file(tmp_path, _events(version_from=600)), *REPLAY)

    assert done.code == 0, done.err
    summary = json.loads(done.out.splitlines()[-1])
    assert (summary["features"], summary["episodes"]) == (2, 0)
    assert "a field of the event, no feature" in done.err


@pytest.mark.parametrize("order", ["first", "last", "among", "array"])
def test_labels_are_joined_with_their_events_wherever_they_are(order: str, tmp_path: Path) -> None:
    events = _events()
    labels = _labels(events)
    records = {
        "first": labels + events,
        "last": events + labels,
        "among": [record for pair in zip(labels, events, strict=True) for record in pair],
        "array": labels[:5] + events + labels[5:],
    }[order]
    file = _file(tmp_path, records)
    if order == "array":
        file = tmp_path / "log.json"
        file.write_text(json.dumps(records))
    joined = [e | {"label": y["label"]} for e, y in zip(events, labels, strict=True)]

    done = run("replay", file, *REPLAY, "--label", "label")
    expected = run("replay", _file(tmp_path, joined, "joined.jsonl"), *REPLAY, "--label", "label")

    assert (done.code, expected.code) == (0, 0), done.err
    assert "900 labels were joined with their events" in done.err
    assert _without_duration(done.out) == _without_duration(expected.out)


def _without_duration(out: str) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in json.loads(line).items() if k != "seconds"}
        for line in out.split("\n")
        if line
    ]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    events = _events()
    shadow = events[7] | {"shadow": True, "version": "3"}
    update = {"id": "u1", "model": "churn", "version": "2", "time_ms": 1, "profile": None}
    orphan = {"id": "gone", "model": "churn", "label": 1, "time_ms": 1}
    file = _file(tmp_path, [update, orphan, *events, *events[200:500], shadow])

    done = run("replay", file, *REPLAY)
    published = run(
        "publish", file, "--model", "m", "--version", "1", *ROLES, "--id", "id", "--dry-run"
    )

    assert json.loads(done.out.splitlines()[-1])["events"] == N - 400
    for note in (
        "1 labels have the id of no event in the file",
        "300 events repeat the id of an earlier one and are left out",
        "1 shadow predictions are left out",
        "1 records that are neither events nor labels are left out",
    ):
        assert note in done.err
    assert "900 rows checked" in published.err


def test_labels_that_contradict_an_earlier_one_and_versions_are_counted(tmp_path: Path) -> None:
    events = [e | {"version": "2" if i >= 600 else "1"} for i, e in enumerate(_events())]
    labels = [
        {"id": event["id"], "model": "churn", "label": label, "time_ms": 1}
        for label in (0, 1)
        for event in events[:100]
    ]

    done = run("replay", _file(tmp_path, [*events, *labels]), *REPLAY)

    assert "100 labels differ from an earlier one of the same event and are left out" in done.err
    assert "events of 2 versions: 1, 2" in done.err


def test_events_of_two_models_are_an_error(tmp_path: Path) -> None:
    events = _events()
    other = [event | {"id": f"o{i}", "model": "fraud"} for i, event in enumerate(events)]

    done = run("replay", _file(tmp_path, events + other), *REPLAY)

    assert done.code == 2
    assert "the events are of 2 models: churn, fraud" in done.err
    assert "a file of their own" in done.err


def test_rows_with_a_column_features_that_are_no_events_stay_rows(tmp_path: Path) -> None:
    rows = [{"features": {"x": float(i % 17)}, "label": i % 2} for i in range(N)]

    done = run("inspect", _file(tmp_path, rows), "--json")

    assert done.code == 0, done.err
    assert {column["name"] for column in done.json()["columns"]} == {"x", "label"}
