"""A version that is put into service once more."""

from __future__ import annotations

from typing import Any

from producer.events import ModelUpdate
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import RecordBatch
from stream_monitor.reference.profile import profile_to_data
from tests.builders import record_of
from tests.unit.test_feature_correlation import profile
from tests.unit.test_feature_importance import columns


def serve(monitor: PartitionMonitor, offset: int, version: str, data: Any = None) -> None:
    update = ModelUpdate(id=f"u{offset}", model="m", version=version, time_ms=offset, profile=data)
    record = record_of(offset, update, offset)
    monitor.observe(RecordBatch("t", 0, "e", offset, offset + 1, [record]))


def test_a_version_in_service_again_is_still_so_after_a_restart() -> None:
    data = profile_to_data(profile(columns(0)))
    monitor = PartitionMonitor("t", 0, MonitorSpec())
    stored: dict[str, bytes] = {}

    for offset, (version, reference) in enumerate(
        [("1", data), ("2", {**data, "version": "2"}), ("1", None)]
    ):
        serve(monitor, offset, version, reference)
        stored |= monitor.take_changes()
    again = PartitionMonitor.restore("t", 0, MonitorSpec(), stored)

    for one in (monitor, again):
        assert one.models["m"].retention.champion == "1"
        assert [watched.idle for watched in one.models["m"].versions.values()] == [False, False]
