"""The textbook program: a Faust agent, one River ADWIN and one Page-Hinkley a raw feature.

python -m tests.benchmarks.programs.textbook_faust BOOTSTRAP TOPIC PARTITION EVENTS

It is the usual form of such a program.
"""

from __future__ import annotations

import sys
import tempfile
import uuid

import faust

from tests.benchmarks.programs.measured_run import MeasuredRun

servers, topic_name, n_wanted = sys.argv[1], sys.argv[2], int(sys.argv[4])


class Event(faust.Record, serializer="json"):
    """An inference event."""

    id: str
    model: str
    version: str
    time_ms: int
    features: dict[str, float] | None = None
    prediction: float = 0.0


app = faust.App(
    f"textbook-{uuid.uuid4().hex[:8]}",
    broker=f"kafka://{servers}",
    store="memory://",
    datadir=tempfile.mkdtemp(prefix="driftline-textbook-"),
    consumer_auto_offset_reset="earliest",
    topic_disable_leader=True,
    worker_redirect_stdouts=False,
)
log = app.topic(topic_name, value_type=Event, key_type=bytes)
run = MeasuredRun(n_wanted)


@app.agent(log)
async def watch(events: faust.StreamT[Event]) -> None:
    """Give every feature to its detectors."""
    async for event in events:
        if event.features is not None:  # else the model update
            run.watch(event.features)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--without-web", "--loglevel", "error"]
    app.main()
