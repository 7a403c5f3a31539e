"""What a person does about an episode, from the command line to the alerts topic and back."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from driftline.cli import app
from stream_monitor.contracts import DriftAlert
from tests.integration.monitor_stage import Stage, log_of, until
from tests.integration.topic_reading import read_topic

pytestmark = pytest.mark.kafka


def alerts(stage: Stage) -> list[DriftAlert]:
    found = read_topic(stage.broker, stage.topics.alerts)
    return [msgspec.json.decode(message.value() or b"", type=DriftAlert) for message in found]


def told(stage: Stage, *arguments: str, code: int = 0, group: str = "alerts") -> str:
    place = ["--bootstrap-servers", stage.broker, "--prefix", stage.prefix]
    done = CliRunner().invoke(app, [group, *arguments, *place])
    assert done.exit_code == code, done.output
    return done.stdout


def open_ids(stage: Stage) -> dict[str, Any]:
    lines = told(stage, "list", "--json").splitlines()
    return {alert["episode_id"]: alert for alert in map(json.loads, lines)}


def test_known_quiet_and_over_are_told_to_everybody(stage: Stage) -> None:
    log = list(log_of("churn", 0))
    stage.start()
    stage.produce("churn", log)
    until(lambda: stage.drained(len(log)), "all is read")
    until(lambda: bool(open_ids(stage)), "an episode is open")
    episode = next(iter(open_ids(stage)))

    told(stage, "acknowledge", episode[:10], "--by", "ana", "--reason", "we know")
    told(stage, "snooze", episode, "--for", "1h", "--by", "ana")
    until(lambda: {a.phase for a in alerts(stage)} >= {"acknowledged", "snoozed"}, "it is told")
    told(stage, "resolve", episode, "--by", "ben")
    until(lambda: any(a.phase == "resolved" for a in alerts(stage)), "it is over")

    said = {a.phase: a for a in alerts(stage) if a.episode_id == episode}
    assert (said["acknowledged"].actor, said["acknowledged"].reason) == ("ana", "we know")
    assert said["snoozed"].until_ms is not None
    assert said["resolved"].actor == "ben"
    assert episode not in open_ids(stage)
    told(stage, "resolve", episode, code=2)
    told(stage, "snooze", episode, "--for", "soon", code=2)


def test_episodes_are_handled_together_as_an_incident(stage: Stage) -> None:
    log = list(log_of("churn", 0))
    stage.start()
    stage.produce("churn", log)
    until(lambda: stage.drained(len(log)), "all is read")
    until(lambda: bool(open_ids(stage)), "an episode is open")

    def incidents(*arguments: str, code: int = 0) -> str:
        return told(stage, *arguments, code=code, group="incidents")

    (first, *_) = [json.loads(line) for line in incidents("list", "--json").splitlines()]
    incident = first["incident_id"]
    mine = {m["episode_id"] for m in first["members"] if m["ended_ms"] is None}
    assert mine <= set(open_ids(stage))
    assert first["causes"][0]["score"] > 0
    assert first["causes"][0]["name"] in incidents("show", incident[:10])

    incidents("acknowledge", incident, "--by", "ana")
    incidents("resolve", incident, "--by", "ben")
    until(lambda: mine.isdisjoint(open_ids(stage)), "its episodes are over")

    (again, *_) = [json.loads(line) for line in incidents("list", "--all", "--json").splitlines()]
    assert again["incident_id"] == incident
    assert {m["acknowledged_by"] for m in again["members"] if m["episode_id"] in mine} == {"ana"}
    digest = json.loads(incidents("digest", "--since", "3650d", "--json"))
    assert digest["model"] == "churn"
    assert sum(digest["episodes_by_kind"].values()) == sum(digest["episodes_by_severity"].values())
    incidents("show", "nothing", code=2)
