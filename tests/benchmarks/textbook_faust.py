"""The textbook program: a Faust agent, one River ADWIN and one Page-Hinkley a raw feature.

    python -m tests.benchmarks.textbook_faust BOOTSTRAP TOPIC EVENTS

Prints one JSON line when it has processed so many events.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import uuid

import faust
from river.drift import ADWIN, PageHinkley

servers, topic_name, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])


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
detectors: dict[tuple[str, str, str], tuple[ADWIN, PageHinkley]] = {}


@app.agent(log)
async def watch(events: faust.StreamT[Event]) -> None:
    """Feed every feature to its detectors."""
    seen, drifts, began = 0, 0, 0.0
    async for event in events:
        if event.features is None:  # the model update
            continue
        if not seen:
            began = time.perf_counter()
        for name, value in event.features.items():
            key = (event.model, event.version, name)
            if key not in detectors:
                detectors[key] = (ADWIN(), PageHinkley())
            for detector in detectors[key]:
                detector.update(value)
                drifts += detector.drift_detected
        seen += 1
        if seen == wanted:
            seconds = time.perf_counter() - began
            reported = {"events": seen, "seconds": seconds, "drifts": drifts}
            os.write(1, b"\n" + json.dumps(reported).encode() + b"\n")
            os._exit(0)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--without-web", "--loglevel", "error"]
    app.main()
