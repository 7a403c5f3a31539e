"""An event's path to its alert is as short as ARCHITECTURE.md states it; a real run is traced.

The path: the files on the call stacks of `STEPS`, from the arrival of a batch in the processor to
its alert in the outbox.  A reader follows them from the record to the alert.  The other files that
run in the same batch are counted: what the steps call (ADWIN, distances, names), and what has no
part in this alert (windows, labels, the other checks).
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple, cast

import msgspec
import pytest

from stream_monitor.contracts import DriftAlert
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.outbox import OutboxRelay
from stream_monitor.runtime.partitions import OwnedPartition, OwnedPartitions
from stream_monitor.runtime.processor import BatchProcessor
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.settings import CommitSettings, DeadLetterSettings
from stream_monitor.state.memory_store import InMemoryStateStore
from stream_monitor.state.partition_state import ALERT, PartitionStateFactory
from stream_monitor.state.store import Acquired
from tests.builders import batch_of
from tests.golden.behaviour import SPECS, TOPIC, read

ROOT: Final = Path(__file__).parents[2]
MAX_PATH: Final = 20
MAX_OTHERS: Final = 73
"""As many as there are now: the number may only fall."""
STEPS: Final = {
    "decode": "bytes become an event",
    "Transform.apply": "a value becomes a score",
    "Channel.observe": "the detectors see it",
    "EpisodeTracker.observe": "a suspicion is confirmed",
    "SignalCheck.findings_of": "a decision becomes a finding",
    "signal_message": "with its sentence",
    "Suppressor.process": "it may be suppressed",
    "alert_of": "the finding becomes an alert",
    "OpenEpisode.publish": "the alert is published",
    "Committer._write": "state, offset and outbox are written",
    "OutboxRelay.add": "the alert lies in the outbox",
}
"""The functions by which an event becomes an alert."""
CHECK: Final = "stream_monitor/checks/feature.py"
"""The check that raises the alert; other checks take the same steps in the same batch."""
BATCH_RECORDS: Final = 64


class Trace(NamedTuple):
    """Files of the product that ran in one batch, in the order of their first call."""

    path: list[str]
    all: set[str]
    steps: set[str]


class _Tracer:
    def __init__(self) -> None:
        self.trace = Trace([], set(), set())
        self._files: dict[str, str | None] = {}

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call" or (file := self._file(frame)) is None:
            return
        self.trace.all.add(file)
        step = frame.f_code.co_qualname
        if step not in STEPS:
            return
        stack = [f for f in map(self._file, reversed(list(_callers(frame)))) if f is not None]
        checks = [f for f in stack if f.startswith("stream_monitor/checks/")]
        if not checks or CHECK in checks:
            self.trace.steps.add(step)
            self.trace.path.extend(f for f in dict.fromkeys(stack) if f not in self.trace.path)

    def _file(self, frame: FrameType) -> str | None:
        name = frame.f_code.co_filename
        if name not in self._files:
            path = Path(name)
            ours = path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in (
                "producer",
                "stream_monitor",
            )
            self._files[name] = str(path.relative_to(ROOT)) if ours else None
        return self._files[name]


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


async def traced() -> Trace:
    """The first batch of the demo's recorded topic that raises an alert on a feature."""
    recording = next(
        found
        for path in sorted((ROOT / "tests/golden").glob("behaviour-*.msgpack.xz"))
        for found in read(path)
        if found.name == "demo 0"
    )
    store, partitions, metrics = InMemoryStateStore(), OwnedPartitions(), Metrics()
    publisher = cast("Publisher", None)  # the relay does not run, and no record is rejected
    relay = OutboxRelay(store, publisher, metrics, topic="alerts", window_ttl_ms=1)
    committer = Committer(
        store,
        partitions,
        relay,
        metrics,
        settings=CommitSettings(),
        on_rejected=lambda _owned, outcome: pytest.fail(outcome),
    )
    processor = BatchProcessor(
        partitions,
        committer,
        publisher,
        metrics,
        dead_letters="dead",
        limit=DeadLetterSettings(),
        on_limit=cast("Any", pytest.fail),
    )
    acquired = await store.acquire("key", 1, "member", 0)
    assert isinstance(acquired, Acquired)
    owned = OwnedPartition(
        topic=TOPIC,
        partition=0,
        key="key",
        fencing_token=acquired.fencing_token,
        fetch_generation="e",
        partition_state=PartitionStateFactory(SPECS["demo"], "driftline").new(TOPIC, 0),
        position=0,
        committed=None,
        last_record_s=time.monotonic(),
    )
    partitions.add(owned)
    for start in range(0, len(recording.records), BATCH_RECORDS):
        part = [ConsumerRecord(*r) for r in recording.records[start : start + BATCH_RECORDS]]
        batch = batch_of(part, TOPIC, 0)._replace(start=owned.position)
        tracer, before = _Tracer(), sys.getprofile()
        sys.setprofile(tracer)
        try:
            assert await processor.on_batch(batch) is None
        finally:
            sys.setprofile(before)
        entries = relay._pending.pop("key", {})
        alerts = [
            msgspec.json.decode(v, type=DriftAlert)
            for k, v in entries.items()
            if k.startswith(ALERT)
        ]
        if any(alert.kind == "data" and alert.series.startswith("feature/") for alert in alerts):
            return tracer.trace
    raise AssertionError("the recording has no such alert")


def listed() -> list[str]:
    """The files that ARCHITECTURE.md lists, from the processor on."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    section = text.split("## The path of an event")[1].split("\n## ")[0]
    items = section[section.index("`stream_monitor/runtime/processor.py`") :].split("\n\n")[0]
    return re.findall(r"`((?:producer|stream_monitor)/[\w/]+\.py)`", items)


def test_the_path_of_an_event_is_the_one_that_is_documented() -> None:
    trace = asyncio.run(traced())
    others = trace.all - set(trace.path)

    assert trace.steps == set(STEPS)
    assert sorted(trace.path) == sorted(listed()), "\n".join(trace.path)
    assert len(trace.path) <= MAX_PATH
    assert len(others) <= MAX_OTHERS, "\n".join(sorted(others))
