"""Kafka and Redis are killed under the dashboard and the notifier: both name it, and recover."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from driftline.dashboard.observation import ServerName
from driftline.dashboard.observer import Observer
from driftline.dashboard.overview import Headline
from driftline.dashboard.read_model import ReadModel
from driftline.notify.notifier import Notifier
from driftline.stack.apache_kafka import ApacheKafka
from driftline.stack.temporary_folder import temporary_folder
from driftline.stack.valkey import Valkey
from driftline.topics.topic_registry import create_topics, load_registry
from stream_monitor.settings import RedisSettings, Settings
from stream_monitor.shared_settings import KafkaSettings, TopicSettings
from tests.integration.http_sink import http_sink
from tests.integration.monitor_harness import until
from tests.integration.test_notifier import AlertTopic, ended, started


class Dashboard:
    """The part of a dashboard that reads the servers, and what its first screen states."""

    def __init__(self, settings: Settings) -> None:
        self.observer = Observer(settings)
        self._read = ReadModel(self.observer, settings)

    def headline(self) -> Headline:
        self.observer.observe()
        return self._read.first_screen().headline

    def reaches(self, server: ServerName) -> bool:
        self.observer.observe()
        return server not in {each.name for each in self.observer.current.away()}


@contextmanager
def dashboard_of(kafka: str, redis: str, prefix: str) -> Iterator[Dashboard]:
    settings = Settings(
        kafka=KafkaSettings(bootstrap_servers=kafka),
        redis=RedisSettings(url=redis),
        topics=TopicSettings(prefix=prefix),
    )
    dashboard = Dashboard(settings)
    try:
        yield dashboard
    finally:
        dashboard.observer.close()


def while_it_runs(notifier: Notifier, is_done: Callable[[], bool]) -> Callable[[], bool]:
    """The condition, after one more round of the notifier."""

    def once() -> bool:
        notifier.run_once()
        return is_done()

    return once


@pytest.mark.kafka
def test_while_a_server_is_away_both_name_it_and_then_recover(
    kafka_from_jars: None,  # noqa: ARG001 - it must be there
    tmp_path: Path,
) -> None:
    with temporary_folder("stack") as folder, http_sink() as sink:
        broker, store = ApacheKafka(folder), Valkey(folder)
        try:
            broker.start()
            store.start()
            alerts = AlertTopic(broker.bootstrap_servers, tmp_path)
            client = {"bootstrap.servers": alerts.servers}
            create_topics(client, load_registry(alerts.prefix))
            settings = alerts.settings({"chat": {"url": f"json://{sink.host}"}})
            with (
                dashboard_of(alerts.servers, store.url, alerts.prefix) as dashboard,
                Notifier(settings) as notifier,
            ):
                alerts.publish(started("age"))
                until(while_it_runs(notifier, lambda: len(sink.accepted) == 1), "it is sent")
                assert dashboard.reaches("Kafka")
                assert dashboard.reaches("Redis")

                broker.kill()
                until(while_it_runs(notifier, lambda: notifier.problem is not None), "it is named")
                away = dashboard.headline()
                assert not notifier.readiness()["ready"]
                assert alerts.servers in notifier.readiness()["kafka"]
                broker.restart()
                alerts.publish(ended("age"))
                until(while_it_runs(notifier, lambda: len(sink.accepted) == 2), "it is sent")
                until(while_it_runs(notifier, lambda: notifier.problem is None), "it reads")
                until(lambda: dashboard.reaches("Kafka"), "the dashboard reads Kafka")

                store.process.kill()
                gone = dashboard.headline()
                notifier.run_once()
                assert notifier.readiness()["ready"]  # it does not use Redis
                store.start()
                until(lambda: dashboard.reaches("Redis"), "the dashboard reads Redis")
                back = dashboard.headline()
        finally:
            broker.stop()
            store.stop()

    assert away.text.startswith("Kafka does not answer since")
    assert "recovers by itself" in away.detail
    assert gone.text.startswith("Redis does not answer since")
    assert back.text == "No worker runs: nothing is watched"
    assert "[resolved" in sink.accepted[1].body["title"]
