"""`driftline monitor` with a defect: one record ends the process that applies it."""

from __future__ import annotations

import os

from driftline.cli.app import app
from producer.failpoints import EXIT_CODE
from stream_monitor.ingest.records import RecordBatch
from stream_monitor.state import partition_state as monitored
from tests.integration.oracle import LETHAL


class CrashingPartitionState(monitored.PartitionState):
    """As a defect of the core that nobody knows of yet would have it."""

    def observe(self, batch: RecordBatch) -> monitored.BatchResult:
        """Fold a batch in, or end."""
        if any(record.value == LETHAL for record in batch.records):
            os._exit(EXIT_CODE)
        return super().observe(batch)


if __name__ == "__main__":
    vars(monitored)["PartitionState"] = CrashingPartitionState
    app()
