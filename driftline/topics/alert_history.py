"""Read all alerts of the alerts topic, and find the episodes that are still open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from driftline.topics import topic_reader as reading
from driftline.topics.topic_reader import TopicDecoder
from stream_monitor.contracts import ALERT_CE_TYPE, ENDED_PHASES, DriftAlert

_IDLE_TIMEOUT_S: Final = 2.0


def read_alerts(
    client: Mapping[str, Any], topic: str, *, drills: bool = False
) -> tuple[list[DriftAlert], list[str]]:
    """All alerts of the topic, repeats included, and a note on records that could not be read.

    Alerts that a drill caused are included only with ``drills``.

    Raises:
        MissingTopicError: the topic does not exist.
    """
    found: list[DriftAlert] = []
    values = TopicDecoder(topic, DriftAlert, kind=ALERT_CE_TYPE)
    read = Counter[str]()
    with reading.TopicReader(client, topic) as reader:
        n_records = sum(reader.ends().values())
        for record in reader.read_until(
            lambda: read["records"] >= n_records, idle_timeout_s=_IDLE_TIMEOUT_S
        ):
            read["records"] += 1
            alert = values.of(record)
            if alert is not None and (drills or not alert.drill):
                found.append(alert)
    return found, values.notes()


def open_alerts(alerts: Iterable[DriftAlert]) -> list[DriftAlert]:
    """The latest alert of each episode that has not ended, in the order the episodes started."""
    latest: dict[str, DriftAlert] = {}
    ended: set[str] = set()
    for alert in alerts:
        latest[alert.episode_id] = alert
        if alert.phase in ENDED_PHASES:
            ended.add(alert.episode_id)
    return [alert for episode_id, alert in latest.items() if episode_id not in ended]
