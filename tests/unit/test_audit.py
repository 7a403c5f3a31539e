"""`driftline audit`: the control records of a model, their users, times and outcomes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.topics.topic_reader import Record
from producer.codec import encode
from producer.events import CE_TYPE_OF, Command, Event, ModelUpdate, Topology
from stream_monitor.contracts import DEAD_LETTER_CE_TYPE
from tests.builders import dead_letter, inference_event
from tests.unit.fake_topics import records, use_fake_topics

LOG = "driftline.events.v1"
START_MS = 1_700_000_000_000


def log_of(*events: tuple[int, Event]) -> list[Record]:
    return [
        Record(
            partition,
            offset,
            CE_TYPE_OF[type(event)],
            encode(event),
            b"k",
            START_MS + 1_000 * offset,
            [("ce_source", b"/driftline/alerts")],
        )
        for offset, (partition, event) in enumerate(events)
    ]


def command(action: Any, **more: Any) -> Command:
    return Command(
        id=f"c-{action}",
        model="fraud",
        action=action,
        episode="0123456789abcdef",
        actor="ann",
        time_ms=0,
        **more,
    )


def update(name: str, version: str, **more: Any) -> ModelUpdate:
    return ModelUpdate(id=name, model="fraud", version=version, time_ms=0, **more)


@pytest.fixture
def _log(monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(
        (0, update("u1", "1", profile={"a": 1}, caused_by="job-7")),
        (1, update("u1", "1", profile={"a": 1}, caused_by="job-7")),  # its other partition
        (0, inference_event("e", {}, 1.0, model="fraud")),
        (0, command("acknowledge", reason="known")),
        (0, command("snooze", until_ms=START_MS)),
        (0, Topology(id="t", time_ms=0, generation=1, partitions=4)),
        (1, Topology(id="t2", time_ms=0, generation=1, partitions=4)),
        (0, update("u2", "1", profile={"a": 2})),
        (0, msgspec.structs.replace(command("resolve"), model="churn")),
        (0, command("resolve")),
        (0, update("u3", "2", moved_from=1)),
    )
    rejected = dead_letter(9, topic=LOG, reason="unknown_episode", detail="not open", size_bytes=1)
    use_fake_topics(
        monkeypatch,
        {
            LOG: log,
            "driftline.dead-letters.v1": records(
                msgspec.json.encode(rejected), kind=DEAD_LETTER_CE_TYPE
            ),
        },
    )


@pytest.mark.usefixtures("_log")
def test_audit_lists_changes_with_user_and_time() -> None:
    done = CliRunner().invoke(app, ["audit", "fraud", "--json"])
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["position"].removeprefix(LOG), one["description"]) for one in found] == [
        (":0:0", "version 1 put into service, with a profile"),
        (":0:3", "acknowledge episode 0123456789ab"),
        (":0:4", "snooze episode 0123456789ab until 14 Nov 2023 22:13 UTC"),
        (":0:5", "placement 1: 4 partitions"),
        (":0:7", "version 1: PROFILE REPLACED"),
        (":0:9", "resolve episode 0123456789ab"),
        (":0:10", "version 2: reference copied from partition 1"),
    ]
    assert [one["actor"] for one in found] == ["", "ann", "ann", "", "", "ann", ""]
    assert {one["source"] for one in found} == {"/driftline/alerts"}
    assert found[0]["reason"] == "job-7"
    assert [one["rejected"] for one in found if one["rejected"]] == ["unknown_episode: not open"]


@pytest.mark.usefixtures("_log")
def test_people_read_a_line_each() -> None:
    lines = CliRunner().invoke(app, ["audit", "fraud"]).stdout.splitlines()
    assert len(lines) == 7
    assert lines[1].startswith("2023-11-14 22:13:23Z  driftline.events.v1:0:3  ann (/driftline/al")
    assert lines[1].endswith("acknowledge episode 0123456789ab  known")
    assert "REJECTED, unknown_episode: not open" in lines[5]


@pytest.mark.usefixtures("_log")
def test_since_and_a_model_without_changes() -> None:
    assert CliRunner().invoke(app, ["audit", "fraud", "--since", "1h"]).stdout == ""
    done = CliRunner().invoke(app, ["audit", "unknown", "--json"])
    assert [json.loads(line)["description"] for line in done.stdout.splitlines()] == [
        "placement 1: 4 partitions"
    ]


def test_a_snooze_of_more_than_a_week_is_an_error_before_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_fake_topics(monkeypatch, {})
    for command in (["alerts", "snooze", "e"], ["incidents", "snooze", "i"]):
        done = CliRunner().invoke(app, [*command, "--for", "8d"])
        assert done.exit_code == 2, done.output
        assert "a snooze cannot last longer than 168 h" in done.stderr
        assert "max_snooze_ms" in done.stderr
