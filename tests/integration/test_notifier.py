"""The notifier on a real Kafka: one message an incident, through failures and restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from driftline.notify.heartbeat import FailingTarget, last_notifier_heartbeat
from driftline.notify.notice_store import NotifierAlreadyRunning
from driftline.notify.notifier import Notifier
from driftline.notify.settings import Settings
from driftline.stack.server_process import free_port
from producer.cloudevents import Headers
from stream_monitor.contracts import HEALTH_CE_TYPE, DriftAlert, HealthEvent
from stream_monitor.runtime.outbound_records import alert_headers
from tests.builders import alert
from tests.integration.http_sink import HttpSink, http_sink

NOW_MS: Final = 1_700_000_000_000
WAIT_S: Final = 60.0


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as running:
        yield running


class AlertTopic:
    """An alerts topic of its own, and the settings of a notifier that reads it."""

    def __init__(self, servers: str, data_dir: Path) -> None:
        self.servers, self.data_dir = servers, data_dir
        self.prefix = f"notify-{uuid.uuid4().hex[:8]}"
        self.topic = f"{self.prefix}.alerts.v1"
        admin = AdminClient({"bootstrap.servers": servers})
        admin.create_topics([NewTopic(self.topic, 2, 1)])[self.topic].result()
        self._producer = Producer({"bootstrap.servers": servers})

    def publish(self, *records: DriftAlert | HealthEvent) -> None:
        for number, record in enumerate(records):
            headers: Headers = [("ce_type", HEALTH_CE_TYPE.encode())]
            if isinstance(record, DriftAlert):
                headers = alert_headers(record)
            self._producer.produce(
                self.topic, msgspec.json.encode(record), headers=[*headers], partition=number % 2
            )
        assert self._producer.flush(30) == 0

    def settings(self, targets: dict[str, Any], **notify: Any) -> Settings:
        values: dict[str, Any] = {
            "kafka": {"bootstrap_servers": self.servers},
            "topics": {"prefix": self.prefix},
            "notify": {
                "data_dir": self.data_dir,
                "group_wait_s": 0,
                "update_interval_s": 0,
                "max_retry_interval_s": 0.05,
                "targets": targets,
                **notify,
            },
        }
        return Settings(**values)


def started(name: str, **changes: Any) -> DriftAlert:
    fields: dict[str, Any] = {
        "alert_id": f"{name}-started",
        "episode_id": f"episode-of-{name}",
        "series": f"feature/{name}",
        "feature": name,
        "model": "churn",
        "severity": "medium",
        "onset_ms": NOW_MS,
        "decided_ms": NOW_MS + 1_000,
    }
    return alert(**(fields | changes))


def ended(name: str, **changes: Any) -> DriftAlert:
    fields = {"alert_id": f"{name}-recovered", "phase": "recovered", "decided_ms": NOW_MS + 2_000}
    return started(name, **(fields | {"decided_offset": 99} | changes))


def until(notifier: Notifier, is_done: Callable[[], bool]) -> None:
    """Run the notifier until something is so; the limit only ends a test that fails."""
    deadline = threading.Event()
    timer = threading.Timer(WAIT_S, deadline.set)
    timer.start()
    while not is_done():
        assert not deadline.is_set()
        notifier.run_once()
    timer.cancel()


def has_nothing_to_send(notifier: Notifier) -> bool:
    return notifier.problem is None and all(
        notifier.metrics.pending.labels(name)._value.get() == 0
        and notifier.targets[name].is_free(1 << 62)
        for name in notifier.targets
    )


@pytest.fixture
def alerts(kafka_broker: str, tmp_path: Path) -> AlertTopic:
    return AlertTopic(kafka_broker, tmp_path)


@pytest.mark.kafka
def test_one_message_an_incident_through_failures_and_restarts(
    alerts: AlertTopic, sink: HttpSink
) -> None:
    """What ended before the first start is no message; repeats and drills are none either."""
    settings = alerts.settings(
        {
            "hook": {"kind": "alertmanager", "url": f"http://{sink.host}/hook"},
            "chat": {"url": f"json://{sink.host}/chat"},
        }
    )
    alerts.publish(started("old", model="past"), ended("old", model="past"))
    alerts.publish(started("age"), started("age"), started("x", model="d", drill=True))

    with Notifier(settings) as notifier:
        until(notifier, lambda: len(sink.accepted) == 2 and has_nothing_to_send(notifier))
        with pytest.raises(NotifierAlreadyRunning):
            Notifier(settings)
    assert sorted(posted.path for posted in sink.accepted) == ["/chat", "/hook"]
    sink.status = 500

    with Notifier(settings) as notifier:  # the sink fails
        alerts.publish(ended("age"))
        until(notifier, lambda: len(sink.rejected) > 4)
        assert notifier.readiness()["ready"]
        assert notifier.health()["targets"]["hook"]["state"] == "failing"
        assert "HTTP 500" in notifier.health()["targets"]["hook"]["why"]
        assert b'driftline_notify_target_failing{target="hook"} 1.0' in notifier.metrics.text()
    assert len(sink.accepted) == 2

    def reported() -> dict[str, FailingTarget]:
        client = {"bootstrap.servers": alerts.servers}
        seen = last_notifier_heartbeat(client, alerts.prefix, alerts.topic, 2)
        return {} if seen is None else {each.target: each for each in seen.heartbeat.failing}

    with Notifier(settings) as notifier:  # what was due survives the restart
        until(notifier, lambda: reported().keys() == {"chat", "hook"})
        assert "HTTP 500" in reported()["hook"].why
        sink.status = 200
        until(notifier, lambda: len(sink.accepted) == 4 and has_nothing_to_send(notifier))
        assert notifier.health()["targets"]["hook"]["state"] == "ok"
    hook = [posted.body for posted in sink.accepted if posted.path == "/hook"]
    assert [body["status"] for body in hook] == ["firing", "resolved"]
    assert len({body["groupKey"] for body in hook}) == 1
    chat = [posted.body["title"] for posted in sink.accepted if posted.path == "/chat"]
    assert [title.partition("]")[0] for title in chat] == ["[medium", "[resolved, was medium"]


@pytest.mark.kafka
def test_of_two_notifiers_one_sends_and_the_other_takes_over(
    alerts: AlertTopic, sink: HttpSink, tmp_path: Path
) -> None:
    """Each has its own database, as on two hosts; what the first has sent and ended is no news."""
    targets = {"chat": {"url": f"json://{sink.host}/chat"}}
    first = Notifier(alerts.settings(targets, data_dir=tmp_path / "first"))
    with Notifier(alerts.settings(targets, data_dir=tmp_path / "second")) as second:
        with first:
            alerts.publish(started("age"), ended("age"), started("old", model="past"))
            until(first, lambda: len(sink.accepted) == 1 and has_nothing_to_send(first))
            until(second, lambda: second.health()["role"] == "standby")
            alerts.publish(started("plan", model="m"), ended("plan", model="m"))
            until(first, lambda: len(sink.accepted) == 2 and has_nothing_to_send(first))
            until(second, lambda: not any(second.readiness()["alerts_lag"].values()))
            assert second.readiness()["ready"]
            assert second.health()["sender"]["host"]
            assert b"driftline_notify_sending 0.0" in second.metrics.text()
            assert [len(sink.accepted), second.metrics.pending.labels("chat")._value.get()] == [
                2,
                0,
            ]

        until(second, lambda: second.health()["role"] == "sender")
        alerts.publish(started("new", model="n"))
        until(second, lambda: len(sink.accepted) == 4 and has_nothing_to_send(second))

    titles = [posted.body["title"].partition(":")[0] for posted in sink.accepted]
    assert titles[0] == "[medium] past"
    assert "m" in titles[1]
    assert sorted(titles[2:]) == ["[medium] n", "[medium] past"]  # open ones are sent once more


@pytest.mark.kafka
@pytest.mark.long
def test_routes_health_and_a_growing_incident(alerts: AlertTopic, sink: HttpSink) -> None:
    """In place every change arrives; elsewhere only a rise of the severity does."""
    settings = alerts.settings(
        {
            "hook": {"kind": "alertmanager", "url": f"http://{sink.host}/hook"},
            "chat": {"url": f"json://{sink.host}/chat"},
            "ops": {"url": f"json://{sink.host}/ops"},
        },
        routes=[
            {"models": ["churn"], "targets": ["hook", "chat"]},
            {"kinds": ["health"], "targets": ["ops"]},
        ],
    )
    problem = HealthEvent(
        health_id="h",
        problem_id="p",
        phase="started",
        kind="no_worker",
        subject="driftline.monitor",
        since_ms=NOW_MS,
        time_ms=NOW_MS,
        explanation="no worker runs",
        fix="start one",
    )

    def of(path: str) -> list[Any]:
        return [posted.body for posted in sink.accepted if posted.path == path]

    with Notifier(settings) as notifier:
        alerts.publish(started("age"), started("other", model="unrouted"), problem)
        until(notifier, lambda: len(sink.accepted) == 3 and has_nothing_to_send(notifier))
        alerts.publish(started("plan"))
        until(notifier, lambda: len(of("/hook")) == 2 and has_nothing_to_send(notifier))
        assert len(of("/chat")) == 1
        alerts.publish(started("tenure", severity="high"))
        until(notifier, lambda: len(of("/chat")) == 2 and has_nothing_to_send(notifier))
        assert b"driftline_notify_unrouted_total 1.0" in notifier.metrics.text()

    assert [len(body["alerts"]) for body in of("/hook")] == [1, 2, 3]
    assert of("/chat")[1]["title"].startswith("[now high] churn")
    (health,) = of("/ops")
    assert "To do: start one" in health["message"]


@contextmanager
def notify_process(
    *arguments: str, data_dir: Path, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], Iterator[dict[str, Any]]]]:
    """``driftline notify`` as a process of its own, and the lines of its log."""
    command = [sys.executable, "-m", "driftline", "notify", "--web-port", "0", *arguments]
    command += ["--data-dir", str(data_dir)]
    with subprocess.Popen(
        command, env=os.environ | environment, stderr=subprocess.PIPE, text=True, cwd=data_dir
    ) as process:
        try:
            assert process.stderr is not None
            yield process, map(msgspec.json.decode, iter(process.stderr.readline, ""))
        finally:
            process.kill()


@pytest.mark.slow
def test_without_kafka_the_process_waits_explains_and_stops(tmp_path: Path, sink: HttpSink) -> None:
    servers = f"127.0.0.1:{free_port()}"
    with notify_process(
        "--bootstrap-servers",
        servers,
        data_dir=tmp_path,
        DRIFTLINE_NOTIFY__TARGETS__OPS__URL=f"json://{sink.host}",
    ) as (process, log):
        address = next(line["address"] for line in log if line["event"] == "listening")
        waits = next(line for line in log if "cannot be read" in line["event"])
        ready = httpx.get(f"http://{address}/readyz", trust_env=False)
        alive = httpx.get(f"http://{address}/healthz", trust_env=False)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0

    assert servers in waits["why"]
    assert "bootstrap_servers" in waits["fix"]
    assert (ready.status_code, alive.status_code) == (503, 200)
    assert servers in ready.json()["kafka"]


@pytest.mark.kafka
@pytest.mark.long
def test_a_killed_process_repeats_nothing_that_was_recorded(
    alerts: AlertTopic, sink: HttpSink
) -> None:
    environment = {
        "DRIFTLINE_NOTIFY__GROUP_WAIT_S": "0",
        "DRIFTLINE_NOTIFY__TARGETS__OPS__URL": f"json://{sink.host}",
        "DRIFTLINE_TOPICS__PREFIX": alerts.prefix,
        "DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS": alerts.servers,
    }
    for name in ("a", "b"):
        alerts.publish(started(name, model=name))
        with notify_process(data_dir=alerts.data_dir, **environment) as (process, log):
            next(line for line in log if line["event"] == "message sent" and line["model"] == name)
            process.kill()

    with notify_process(data_dir=alerts.data_dir, **environment) as (process, log):
        alerts.publish(ended("a", model="a"))
        next(line for line in log if line["event"] == "message sent")
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
    titles = [posted.body["title"] for posted in sink.accepted]
    assert [title.partition(":")[0] for title in titles] == [
        "[medium] a",
        "[medium] b",
        "[resolved, was medium] a",
    ]
