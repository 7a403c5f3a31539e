"""Prints one line for each new episode: ``python alert_consumer.py BOOTSTRAP_SERVERS``.

Alerts arrive at least once, so a repeat is recognised by its ``alert_id``.  The group's offset is
committed after the line is printed: a crash prints a line twice rather than never.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from typing import Any

from confluent_kafka import Consumer, Message

ALERT = b"io.driftline.drift-alert.v1"
MAX_REMEMBERED = 10_000


def new_episode(message: Message, seen: OrderedDict[str, None]) -> dict[str, Any] | None:
    """The alert of a record that starts an episode, if it is no repeat and no drill."""
    if dict(message.headers() or []).get("ce_type") != ALERT:
        return None  # a health event, or a type that this consumer does not know
    alert: dict[str, Any] = json.loads(message.value() or b"{}")
    if alert["alert_id"] in seen or alert["phase"] != "started" or alert.get("drill"):
        return None
    seen[alert["alert_id"]] = None
    if len(seen) > MAX_REMEMBERED:
        seen.popitem(last=False)
    return alert


def main(bootstrap_servers: str, topic: str = "driftline.alerts.v1") -> None:
    """Print new episodes until the process is stopped."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "alert-printer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    seen: OrderedDict[str, None] = OrderedDict()
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            sys.stderr.write(f"{message.error()}\n")
            continue
        alert = new_episode(message, seen)
        if alert is not None:
            line = (
                f"{alert['severity']:6} {alert['model']}@{alert['version']} {alert['explanation']}"
            )
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        consumer.commit(message, asynchronous=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
