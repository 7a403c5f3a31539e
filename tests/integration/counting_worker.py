"""A monitor worker whose core only counts records; transport tests run it as a process."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from typing import NamedTuple, cast

import msgspec

from producer.events import CE_TYPE_OF, Tick, Topology
from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.core.coverage import CoverageRow
from stream_monitor.core.reference_transfer import ReferenceTransfer
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.settings import Settings
from stream_monitor.state.codec import decode_state, encode_state
from stream_monitor.state.partition_state import PartitionStateFactory
from tests import builders
from tests.builders import dead_letter

ALERT_EVERY = 1_000
WIDE = 8_000
TICK = CE_TYPE_OF[Tick]
PARTITIONS = 4
TOPOLOGY = Topology(id="t", time_ms=0, generation=1, partitions=PARTITIONS)
"""The topology of every counting state; its log contains none."""


class Counted(NamedTuple):
    alerts: list[DriftAlert]
    dead_letters: list[DeadLetter]
    outbox: dict[str, bytes]
    urgent: bool
    controls: tuple[()] = ()
    batch_rows: Mapping[int, int] = {}


class CountingFold:
    """Counts values by their first byte; every 1,000th record is an alert and a window."""

    def __init__(self, topic: str, partition: int, counts: Counter[str] | None = None) -> None:
        self.topic = topic
        self.partition = partition
        self.counts = Counter() if counts is None else counts
        self.total = sum(self.counts.values())
        self.changed: set[str] = set()
        self.n_versions = 0

    def observe(self, batch: RecordBatch) -> Counted:
        alerts: list[DriftAlert] = []
        dead_letters: list[DeadLetter] = []
        for record in batch.records:
            if record.kind == TICK:
                continue
            value = record.value or b""
            if value == b"kill":
                os._exit(137)
            if value == b"hang":
                threading.Event().wait()
            if value == b"wide":
                self._widen()
            if value == b"explode":
                raise RuntimeError("a record the core cannot process")
            if value.startswith(b"bad"):
                dead_letters.append(rejected(self.topic, self.partition, record.offset, value))
            key = value[:1].decode()
            self.counts[key] += 1
            self.changed.add(key)
            self.total += 1
            if self.total % ALERT_EVERY == 0:
                alerts.append(alert(self.topic, self.partition, record.offset))
        outbox = {f"o:a:{a.alert_id}": msgspec.json.encode(a) for a in alerts}
        outbox |= {f"o:w:window:{a.alert_id}": b'{"n":1000}' for a in alerts}
        return Counted(alerts, dead_letters, outbox, urgent=bool(alerts))

    def observe_in_steps(self, batch: RecordBatch) -> Generator[None, None, Counted]:
        result = self.observe(batch)
        yield
        return result

    def _widen(self) -> None:
        """Change more fields than one write can carry."""
        for number in range(WIDE):
            self.counts[f"wide {number}"] += 1
            self.changed.add(f"wide {number}")

    def skip(self, record: ConsumerRecord) -> None:
        key = f"skipped {record.offset}"
        self.counts[key] += 1
        self.changed.add(key)

    def take_changes(self) -> dict[str, bytes]:
        changed, self.changed = self.changed, set()
        return {f"s:{key}": encode_state("count", self.counts[key]) for key in changed}

    def take_changes_in_steps(self) -> Iterator[dict[str, bytes]]:
        for name, blob in self.take_changes().items():
            yield {name: blob}

    def topology(self) -> Topology:
        return TOPOLOGY

    def reference_transfers(self, wanted: Topology) -> list[ReferenceTransfer]:  # noqa: ARG002 - it holds no reference
        return []

    def outcomes(self) -> dict[str, int]:
        return {"valid": self.total}

    def levels(self) -> dict[tuple[str, str], int]:
        return {("m", "f"): 2}

    def error_rates(self) -> dict[tuple[str, str], float]:
        return {("m", "estimated"): 0.25}

    def label_samples(self) -> dict[str, tuple[float, int]]:
        return {"m": (1.0, 0)}

    def coverage(self) -> dict[str, list[CoverageRow]]:
        return {}


class CountingFolds:
    def new(self, topic: str, partition: int) -> CountingFold:
        return CountingFold(topic, partition)

    def restore(self, topic: str, partition: int, fields: Mapping[str, bytes]) -> CountingFold:
        return CountingFold(topic, partition, read_counts(fields))


def read_counts(fields: Mapping[str, bytes]) -> Counter[str]:
    return Counter(
        {name.removeprefix("s:"): decode_state("count", v) for name, v in fields.items()}
    )


def alert(topic: str, partition: int, offset: int) -> DriftAlert:
    return builders.alert(
        alert_id=f"{topic}:{partition}:{offset}",
        topic=topic,
        partition=partition,
        onset_offset=offset,
        detected_offset=offset,
        decided_offset=offset,
    )


def rejected(topic: str, partition: int, offset: int, value: bytes) -> DeadLetter:
    return dead_letter(
        offset, topic=topic, partition=partition, reason="bad", size_bytes=len(value), payload=value
    )


if __name__ == "__main__":
    from stream_monitor.runtime.worker import run

    sys.exit(run(Settings(), cast("PartitionStateFactory", CountingFolds())))
