"""The same with Bytewax: a data flow from Kafka, msgspec, River on every raw value.

python -m tests.benchmarks.programs.bytewax_dataflow BOOTSTRAP TOPIC PARTITION EVENTS

It is the usual form of such a program.
"""

from __future__ import annotations

import sys
from typing import Any

import bytewax.operators as op
import msgspec
from bytewax.connectors.kafka import KafkaSource
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from tests.benchmarks.programs.measured_run import MeasuredRun


def main(servers: str, topic: str, n_wanted: int) -> None:
    """Read from the beginning."""
    decode = msgspec.json.Decoder().decode
    run = MeasuredRun(n_wanted)

    def watch(message: Any) -> None:
        event = decode(message.value)
        if "features" in event:  # else the model update
            run.watch(event["features"])

    flow = Dataflow("drift")
    messages = op.input("read", flow, KafkaSource([servers], [topic], batch_size=4_000))
    op.output("nothing", op.filter_map("watch", messages, watch), StdOutSink())
    run_main(flow)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[4]))
