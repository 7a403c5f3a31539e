"""Actions on an episode, from the command line to the alerts topic and back."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from driftline.cli.app import app
from stream_monitor.contracts import DriftAlert
from tests.integration.monitor_harness import MonitorHarness, log_of, until
from tests.integration.read_topic import read_topic

pytestmark = pytest.mark.kafka


def alerts(harness: MonitorHarness) -> list[DriftAlert]:
    found = read_topic(harness.broker, harness.topics.alerts)
    return [msgspec.json.decode(message.value() or b"", type=DriftAlert) for message in found]


def reported(harness: MonitorHarness, *arguments: str, code: int = 0, group: str = "alerts") -> str:
    place = ["--bootstrap-servers", harness.broker, "--prefix", harness.prefix]
    done = CliRunner().invoke(app, [group, *arguments, *place])
    assert done.exit_code == code, done.output
    return done.stdout


def open_ids(harness: MonitorHarness) -> dict[str, Any]:
    lines = reported(harness, "list", "--json").splitlines()
    return {alert["episode_id"]: alert for alert in map(json.loads, lines)}


def test_acknowledged_snoozed_and_resolved_episodes_are_shown_to_all(
    harness: MonitorHarness,
) -> None:
    log = list(log_of("churn", 0))
    harness.start()
    harness.produce("churn", log)
    until(lambda: harness.drained(len(log)), "all is read")
    until(lambda: bool(open_ids(harness)), "an episode is open")
    episode = next(iter(open_ids(harness)))

    reported(harness, "acknowledge", episode[:10], "--user", "ana", "--reason", "we know")
    reported(harness, "snooze", episode, "--for", "1h", "--user", "ana")
    until(
        lambda: {a.phase for a in alerts(harness)} >= {"acknowledged", "snoozed"},
        "both are published",
    )
    reported(harness, "resolve", episode, "--user", "ben")
    until(lambda: any(a.phase == "resolved" for a in alerts(harness)), "it is over")

    printed = {a.phase: a for a in alerts(harness) if a.episode_id == episode}
    assert (printed["acknowledged"].actor, printed["acknowledged"].reason) == ("ana", "we know")
    assert printed["snoozed"].until_ms is not None
    assert printed["resolved"].actor == "ben"
    assert episode not in open_ids(harness)
    reported(harness, "resolve", episode, code=2)
    reported(harness, "snooze", episode, "--for", "soon", code=2)


@pytest.mark.long
def test_episodes_are_handled_together_as_an_incident(harness: MonitorHarness) -> None:
    log = list(log_of("churn", 0))
    harness.start()
    harness.produce("churn", log)
    until(lambda: harness.drained(len(log)), "all is read")
    until(lambda: bool(open_ids(harness)), "an episode is open")

    def incidents(*arguments: str, code: int = 0) -> str:
        return reported(harness, *arguments, code=code, group="incidents")

    (first, *_) = [json.loads(line) for line in incidents("list", "--json").splitlines()]
    incident = first["incident_id"]
    mine = {m["episode_id"] for m in first["members"] if m["ended_ms"] is None}
    assert mine <= set(open_ids(harness))
    assert first["causes"][0]["score"] > 0
    assert first["causes"][0]["name"] in incidents("show", incident[:10])

    incidents("acknowledge", incident, "--user", "ana")
    incidents("resolve", incident, "--user", "ben")
    until(lambda: mine.isdisjoint(open_ids(harness)), "its episodes are over")

    (again, *_) = [json.loads(line) for line in incidents("list", "--all", "--json").splitlines()]
    assert again["incident_id"] == incident
    assert {m["acknowledged_by"] for m in again["members"] if m["episode_id"] in mine} == {"ana"}
    digest = json.loads(incidents("digest", "--since", "3650d", "--json"))
    assert digest["model"] == "churn"
    assert sum(digest["episodes_by_kind"].values()) == sum(digest["episodes_by_severity"].values())
    incidents("show", "nothing", code=2)
