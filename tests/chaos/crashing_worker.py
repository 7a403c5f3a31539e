"""`driftline monitor` with a defect: one record, or row of a batch, ends the process."""

from __future__ import annotations

import os
import struct

from driftline.cli.app import app
from producer.failpoints import EXIT_CODE
from stream_monitor.core.observation import Steps
from stream_monitor.ingest.event_columns import EventColumns
from stream_monitor.ingest.event_numbers import NumberedRecords
from stream_monitor.ingest.records import RecordBatch
from stream_monitor.state import partition_state as monitored
from tests.integration.oracle import CRASHING, FATAL_PREDICTION

_IN_A_BATCH = struct.pack("<d", FATAL_PREDICTION)


class CrashingPartitionState(monitored.PartitionState):
    """Acts as an undiscovered defect of the core."""

    def observe_in_steps(self, batch: RecordBatch) -> Steps[monitored.BatchResult]:
        """Apply a batch, or end."""
        for record in batch.records:
            if record.value == CRASHING or _IN_A_BATCH in (record.value or b""):
                os._exit(EXIT_CODE)
        return (yield from super().observe_in_steps(batch))

    def observe_rows(self, rows: NumberedRecords, offset: int) -> monitored.BatchResult:
        """Apply rows, or end."""
        for _, event in rows.records:
            if isinstance(event, EventColumns) and FATAL_PREDICTION in event.predictions:
                os._exit(EXIT_CODE)
        return super().observe_rows(rows, offset)


if __name__ == "__main__":
    vars(monitored)["PartitionState"] = CrashingPartitionState
    app()
