"""The textbook program as a worker: a Faust agent, River on raw values, counts in Redis.

    python -m tests.chaos.baseline_faust BROKER REDIS PREFIX acks|take

``acks``: one event at a time, acknowledged when it is processed.  ``take``: a hundred at a time.
Both follow Faust's own guide; sessions are as short as those of the monitor.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import faust
import redis.asyncio as redis

from tests.chaos.baseline_scoring import Watch, alerts_of, counts_of, events_of

broker, redis_url, prefix, how = sys.argv[1:5]


class Event(faust.Record, serializer="json"):
    """An inference event."""

    id: str
    model: str
    features: dict[str, float]


app = faust.App(
    f"{prefix}-faust",
    broker=f"kafka://{broker}",
    store="memory://",
    datadir=tempfile.mkdtemp(prefix="driftline-baseline-"),
    consumer_auto_offset_reset="earliest",
    broker_session_timeout=2.0,
    broker_heartbeat_interval=0.5,
    topic_disable_leader=True,
    topic_allow_declare=False,
    worker_redirect_stdouts=False,
)
log = app.topic(events_of(prefix), value_type=Event, key_type=bytes)
alerts = app.topic(alerts_of(prefix), value_serializer="json")
counts: Any = redis.Redis.from_url(redis_url)
watch = Watch()


async def process(event: Event) -> None:
    """Count the event, feed its values to the detectors, publish drift."""
    await counts.hincrby(counts_of(prefix), event.id, 1)
    for alert in watch.of(event.id, event.model, event.features):
        await alerts.send(value=alert)


if how == "acks":

    @app.agent(log)
    async def one_by_one(events: faust.StreamT[Event]) -> None:
        """An event is acknowledged when the loop asks for the next one."""
        async for event in events:
            await process(event)

else:

    @app.agent(log)
    async def by_the_hundred(events: faust.StreamT[Event]) -> None:
        """A hundred events are acknowledged together."""
        async for some in events.take(100, within=0.2):
            for event in some:
                await process(event)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--without-web", "--loglevel", "error"]
    app.main()
