"""Write the golden state of today, which later versions must read.

    python -m tests.golden.write_golden_state tests/golden/state-YYYY-MM-DD.json.gz

It never overwrites a file: the state in a user's Redis does not change with our code.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Final

import msgspec

from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.state.partition_state import PartitionStateFactory
from tests.builders import batch_of
from tests.chaos.test_corrupt_state import batch
from tests.integration.monitor_harness import log_of

FOLDS: Final = PartitionStateFactory(
    MonitorSpec(warm_up_events=1_000, warm_up_labels=300), "golden"
)
TOPIC: Final = "log"
N_EVENTS: Final = 3_000
BEFORE: Final = 2_400
"""Records below the state: an episode is open, labels wait, windows are open."""
UPTO: Final = 4_600
"""Records it is continued to: another feature has drifted."""


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """A partition's fields, the records that came next, and what they led to."""

    fields: dict[str, bytes]
    records: list[tuple[int, int, str | None, bytes]]
    alerts: list[str]
    outcomes: dict[str, int]

    def batch(self) -> RecordBatch:
        """The records, as they were read."""
        records = [ConsumerRecord(*record) for record in self.records]
        return batch_of(records, TOPIC)


def made() -> Golden:
    """The state of this moment."""
    log = list(log_of("churn", 3, N_EVENTS))
    fold = FOLDS.new(TOPIC, 0)
    fold.observe(batch(log[:BEFORE]))
    fields = {name: value for name, value in fold.take_changes().items() if value}
    after = batch(log[BEFORE:UPTO], BEFORE)
    seen = fold.observe(after)
    return Golden(
        fields=fields,
        records=[(r.offset, r.timestamp_ms, r.kind, r.value or b"") for r in after.records],
        alerts=[alert.alert_id for alert in seen.alerts],
        outcomes=dict(fold.outcomes()),
    )


def read(path: Path) -> Golden:
    """A state that was written down."""
    return msgspec.json.decode(gzip.decompress(path.read_bytes()), type=Golden)


def main() -> None:
    path = Path(sys.argv[1])
    with path.open("xb") as out:
        out.write(gzip.compress(msgspec.json.encode(made()), mtime=0))


if __name__ == "__main__":
    main()
