"""The messages: what people read, and what Alertmanager's receivers and PagerDuty expect."""

from __future__ import annotations

from driftline.notify.messages import (
    MAX_ALERTS,
    MAX_EPISODES,
    MAX_SUMMARY,
    link_to,
    pagerduty_event_of,
    text_of,
    webhook_of,
)
from tests.unit.notify_subjects import HOUR_MS, NOON_MS, a_subject, an_episode

DASHBOARD = "https://driftline.example/"
FIELDS = {
    "version",
    "groupKey",
    "truncatedAlerts",
    "status",
    "receiver",
    "groupLabels",
    "commonLabels",
    "commonAnnotations",
    "externalURL",
    "alerts",
}
"""The fields of Alertmanager's webhook, version 4."""


def test_a_text_names_model_cause_episodes_and_the_page() -> None:
    episodes = [an_episode(f"f{i}") for i in range(MAX_EPISODES + 2)]

    text = text_of(a_subject(episodes=episodes), "open", DASHBOARD)

    assert text.title == "[medium] churn: broken data (7 episodes)"
    assert "`age` changed. Began 15 Nov 2023" in text.body
    assert "- `f4`: mean 1 → 2." in text.body
    assert "- `f5`" not in text.body
    assert "- and 2 more" in text.body
    assert text.body.endswith("https://driftline.example/incidents/i1")


def test_a_text_without_a_dashboard_has_no_link_and_the_end_is_marked() -> None:
    text = text_of(a_subject(closed_ms=NOON_MS), "resolve", "")

    assert text.is_resolved
    assert text.title == "[resolved, was medium] churn: broken data"
    assert "http" not in text.body


def test_the_text_has_the_fix_and_the_user_who_acknowledged() -> None:
    body = text_of(a_subject(fix="start it", acknowledged_by="ana"), "update", "").body

    assert "To do: start it" in body
    assert "Acknowledged by ana." in body


def test_the_webhook_has_the_shape_of_version_4() -> None:
    ended = an_episode("plan", ended_ms=NOON_MS + HOUR_MS)
    body = webhook_of(
        a_subject(episodes=[an_episode("age"), ended]), "open", "ops", "https://d.example"
    )

    assert set(body) == FIELDS
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "ops")
    assert body["commonLabels"]["model"] == "churn"
    first, second = body["alerts"]
    assert (first["status"], first["endsAt"]) == ("firing", "0001-01-01T00:00:00Z")
    assert (second["status"], second["endsAt"]) == ("resolved", "2023-11-15T13:00:00.000Z")
    assert first["startsAt"] == "2023-11-15T12:00:00.000Z"
    assert first["labels"]["series"] == "feature/age"
    assert first["generatorURL"] == "https://d.example/incidents/i1"


def test_the_end_of_an_incident_has_the_keys_of_its_beginning() -> None:
    ended = a_subject(closed_ms=NOON_MS, episodes=[an_episode("age", ended_ms=NOON_MS)])
    begin, end = (webhook_of(s, "open", "t", "") for s in (a_subject(), ended))

    assert (begin["status"], end["status"]) == ("firing", "resolved")
    assert begin["groupKey"] == end["groupKey"]
    assert [a["fingerprint"] for a in begin["alerts"]] == [a["fingerprint"] for a in end["alerts"]]
    keys = {pagerduty_event_of(s, "open", "k", "")["dedup_key"] for s in (a_subject(), ended)}
    assert len(keys) == 1


def test_a_large_incident_is_cut_and_what_is_left_out_is_counted() -> None:
    many = [an_episode(f"f{i}") for i in range(MAX_ALERTS + 5)]

    body = webhook_of(a_subject(episodes=many), "open", "t", "")

    assert (len(body["alerts"]), body["truncatedAlerts"]) == (MAX_ALERTS, 5)


def test_a_problem_without_episodes_is_one_alert() -> None:
    problem = a_subject(source="health", model="", kinds=["health"], episodes=[], fix="start it")

    (alert,) = webhook_of(problem, "open", "t", "")["alerts"]

    assert alert["labels"]["alertname"] == "DriftlineHealth"
    assert "model" not in alert["labels"]
    assert alert["annotations"]["fix"] == "start it"


def test_pagerduty_is_triggered_acknowledged_and_resolved() -> None:
    acknowledged = a_subject(acknowledged_by="ana")
    events = [
        pagerduty_event_of(a_subject(severity="high"), "open", "key", DASHBOARD),
        pagerduty_event_of(acknowledged, "update", "key", DASHBOARD),
        pagerduty_event_of(a_subject(closed_ms=NOON_MS), "resolve", "key", DASHBOARD),
    ]

    assert [e["event_action"] for e in events] == ["trigger", "acknowledge", "resolve"]
    assert events[0]["payload"]["severity"] == "critical"
    assert events[0]["routing_key"] == "key"
    assert events[0]["links"][0]["href"] == link_to(DASHBOARD, a_subject())


def test_a_long_explanation_fits_into_pagerduty() -> None:
    event = pagerduty_event_of(a_subject(explanation="x" * 5_000), "open", "key", "")

    assert len(event["payload"]["summary"]) == MAX_SUMMARY
