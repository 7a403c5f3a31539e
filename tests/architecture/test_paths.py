"""An event's path to its alert is as short as ARCHITECTURE.md states it; a real run is traced.

The path: the files on the call stacks of `STEPS`, from the arrival of a batch in the processor to
its alert in the outbox.  A reader follows them from the record to the alert.  The other files that
run in the same batch are counted: what the steps call (ADWIN, distances, names), and what has no
part in this alert (windows, labels, the other checks).
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, cast

import msgspec
import pytest

from stream_monitor.contracts import DriftAlert
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.metrics import Metrics
from stream_monitor.runtime.committer import Committer
from stream_monitor.runtime.outbox import OutboxRelay
from stream_monitor.runtime.partitions import OwnedPartitions
from stream_monitor.runtime.processor import BatchProcessor
from stream_monitor.runtime.publisher import Publisher
from stream_monitor.settings import CommitSettings, DeadLetterSettings
from stream_monitor.state.partition_state import ALERT
from tests.builders import batch_of
from tests.call_path import ROOT, CallPath
from tests.golden.behaviour import SPECS, TOPIC, read
from tests.memory_store import InMemoryStateStore, new_partition

MAX_PATH: Final = 20
MAX_OTHERS: Final = 74
"""As many as there are now: the number may only fall."""
STEPS: Final = {
    "decode": "bytes become an event",
    "Transform.apply": "a value becomes a score",
    "Channel.observe": "the detectors see it",
    "EpisodeTracker.observe": "a suspicion is confirmed",
    "SignalCheck.findings_of": "a decision becomes a finding",
    "signal_message": "with its sentence",
    "ExplainedEpisodes.process": "it may be suppressed",
    "alert_of": "the finding becomes an alert",
    "OpenEpisode.publish": "the alert is published",
    "Committer._write": "state, offset and outbox are written",
    "OutboxRelay.add": "the alert lies in the outbox",
}
"""The functions by which an event becomes an alert."""
CHECK: Final = "stream_monitor/checks/feature.py"
"""The check that raises the alert; other checks take the same steps in the same batch."""
START: Final = "stream_monitor/runtime/processor.py"
PACKAGES: Final = ("producer", "stream_monitor", "trainer")
BATCH_RECORDS: Final = 64


def is_of_check(stack: list[str]) -> bool:
    """Whether no check is on the stack, or the one that raises the alert."""
    checks = [file for file in stack if file.startswith("stream_monitor/checks/")]
    return not checks or CHECK in checks


async def traced() -> CallPath:
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
    owned = await new_partition(store, SPECS["demo"], TOPIC)
    partitions.add(owned)
    for start in range(0, len(recording.records), BATCH_RECORDS):
        part = [ConsumerRecord(*r) for r in recording.records[start : start + BATCH_RECORDS]]
        batch = batch_of(part, TOPIC, 0)._replace(start=owned.position)
        trace = CallPath({"producer", "stream_monitor"}, STEPS, is_of_check)
        trace.start()
        try:
            assert await processor.on_batch(batch) is None
        finally:
            trace.stop()
        entries = relay._pending.pop("key", {})
        alerts = [
            msgspec.json.decode(v, type=DriftAlert)
            for k, v in entries.items()
            if k.startswith(ALERT)
        ]
        if any(alert.kind == "data" and alert.series.startswith("feature/") for alert in alerts):
            return trace
    raise AssertionError("the recording has no such alert")


def listed(section: str, start: str = "") -> list[str]:
    """The files that the list in a section of ARCHITECTURE.md names, from ``start`` on."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8").split(f"## {section}\n")[1]
    numbered = re.search(r"^1\. .*?(?=\n\n)", text, re.DOTALL | re.MULTILINE)
    assert numbered is not None
    files = re.findall(rf"`((?:{'|'.join(PACKAGES)})/[\w/]+\.py)`", numbered[0])
    return files[files.index(start) if start else 0 :]


@pytest.mark.slow
def test_the_path_of_an_event_is_the_one_that_is_documented() -> None:
    trace = asyncio.run(traced())
    others = trace.all - set(trace.path)

    assert trace.steps == set(STEPS)
    assert sorted(trace.path) == sorted(listed("The path of an event", START)), "\n".join(
        trace.path
    )
    assert len(trace.path) <= MAX_PATH
    assert len(others) <= MAX_OTHERS, "\n".join(sorted(others))
