"""The same with Quix Streams: a streaming data frame, River on every raw value.

python -m tests.benchmarks.programs.quix_streams BOOTSTRAP TOPIC PARTITION EVENTS

It is the usual form of such a program.
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from typing import Any

from quixstreams import Application

from tests.benchmarks.programs.measured_run import MeasuredRun


def main(servers: str, topic: str, n_wanted: int) -> None:
    """Read from the beginning."""
    app = Application(
        broker_address=servers,
        consumer_group=f"quix-{uuid.uuid4().hex[:8]}",
        auto_offset_reset="earliest",
        state_dir=tempfile.mkdtemp(prefix="driftline-quix-"),
        auto_create_topics=False,
        loglevel="ERROR",
    )
    run = MeasuredRun(n_wanted)

    def watch(event: dict[str, Any]) -> None:
        if "features" in event:  # else the model update
            run.watch(event["features"])

    app.dataframe(app.topic(topic, value_deserializer="json")).update(watch)
    app.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[4]))
