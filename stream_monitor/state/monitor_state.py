"""`PartitionMonitor` as the runtime folds it: parts as sealed fields, findings as outbox."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from producer.events import Topology
from producer.names import escape, version_key
from producer.synthetic import is_synthetic
from stream_monitor.checks.error_estimate import ErrorEstimate
from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.core.control_records import ControlOutcome
from stream_monitor.core.coverage import CoverageRow
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.placement import Placement
from stream_monitor.core.reference_transfer import ReferenceTransfer, transfers_of
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.errors import CorruptState
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.reference.profile import Origin, profile_from_data
from stream_monitor.state.codec import decode_state, encode_state
from stream_monitor.state.partition_state import ALERT, PERFORMANCE, STATE, WINDOW
from stream_monitor.windows.closed_window import window_key
from stream_monitor.windows.performance import WindowPerformance, performance_key

_KIND = "monitor"
_DISJOINT = (
    "valid",
    "late",
    "not_watched",
    "duplicate",
    "dead_lettered",
    "labels",
    "control",
    "ticks",
)


class EncodedResult(NamedTuple):
    """What a batch led to, ready to be written."""

    alerts: Sequence[DriftAlert]
    dead_letters: Sequence[DeadLetter]
    outbox: Mapping[str, bytes]
    urgent: bool
    controls: Sequence[ControlOutcome] = ()


class MonitorState:
    """One partition's monitor, in the form of its Redis hash."""

    def __init__(self, monitor: PartitionMonitor, prefix: str) -> None:
        self.monitor = monitor
        self._prefix = prefix

    def observe(self, batch: RecordBatch) -> EncodedResult:
        """Fold a batch in."""
        seen = self.monitor.observe(batch)
        outbox = {f"{ALERT}{alert.alert_id}": msgspec.json.encode(alert) for alert in seen.alerts}
        for window in seen.windows:
            if is_synthetic(window.model):  # dashboards show what happened, and this did not
                continue
            key = window_key(
                self._prefix, window.model, window.version, window.start_ms, window.partition
            )
            outbox[f"{WINDOW}{key}"] = msgspec.json.encode(window)
        outbox |= self._performance(batch.next - 1)
        return EncodedResult(
            seen.alerts, seen.dead_letters, outbox, bool(seen.alerts), seen.controls
        )

    def _performance(self, offset: int) -> dict[str, bytes]:
        """Figures of windows that labels changed, as of the record at ``offset``."""
        outbox: dict[str, bytes] = {}
        for model in self.monitor.models.values():
            if is_synthetic(model.name):
                continue
            for version, windows in model.windows.items():
                for start_ms, n_labelled, loss in windows.performance.take_changed():
                    figures = WindowPerformance(
                        model=model.name,
                        version=version,
                        start_ms=start_ms,
                        end_ms=start_ms + windows.spec.size_ms,
                        n_labelled=n_labelled,
                        loss=loss,
                        as_of_offset=offset,
                        partition=self.monitor.partition,
                    )
                    key = window_key(self._prefix, model.name, version, start_ms, figures.partition)
                    key = performance_key(self._prefix, key)
                    outbox[f"{PERFORMANCE}{offset}:{key}"] = msgspec.json.encode(figures)
        return outbox

    def skip(self, record: ConsumerRecord) -> None:
        """Count a record that was not looked into as dead-lettered."""
        counters = self.monitor.counters
        counters.dead_lettered += 1
        counters.append_clock_ms = max(counters.append_clock_ms, record.timestamp_ms)

    def changes(self) -> dict[str, bytes]:
        """Fields that differ from what was last committed; empty bytes are a dead field."""
        return {
            f"{STATE}{name}": b"" if part is None else encode_state(_KIND, part)
            for name, part in self.monitor.changes().items()
        }

    def mark_committed(self) -> None:
        """What `changes` answered is durable now."""
        self.monitor.mark_committed()

    def topology(self) -> Topology | None:
        """The placement of models as the log of this partition says."""
        return self.monitor.placement.latest

    def reference_transfers(self, wanted: Topology) -> Iterator[ReferenceTransfer]:
        """The references held here that other partitions need, where models are so placed."""
        return transfers_of(self.monitor.models.values(), self.monitor.partition, wanted)

    def outcomes(self) -> Mapping[str, int]:
        """Records by how they were counted."""
        return {name: getattr(self.monitor.counters, name) for name in _DISJOINT}

    def levels(self) -> Mapping[tuple[str, str], int]:
        """Drift of every (model, series): 0 none, 1 suspected, 2 an open episode."""
        return self.monitor.levels()

    def error_rates(self) -> Mapping[tuple[str, str], float]:
        """Of versions in service that have an estimate; what nothing is known of is left out."""
        rates: dict[tuple[str, str], float] = {}
        for name, estimate in estimates_of(self.monitor):
            rates |= {(name, of): rate for of, rate in estimate.rates().items()}
        return rates

    def coverage(self) -> Mapping[str, Sequence[CoverageRow]]:
        """By model: what was watched in the last hour, and why not the rest."""
        return self.monitor.coverage()

    def label_samples(self) -> Mapping[str, tuple[float, int]]:
        """By model: share of predictions that may wait for a label, and labels sampled out."""
        return {
            name: (model.labels.sampling_ratio, model.labels.counts.labels_sampled_out)
            for name, model in self.monitor.models.items()
        }


def estimates_of(monitor: PartitionMonitor) -> Iterator[tuple[str, ErrorEstimate]]:
    """The versions in service that have an estimate, as ``model@version``."""
    for model in monitor.models.values():
        for version, watched in model.versions.items():
            if watched.estimate is not None and not watched.idle:
                yield version_key(model.name, version), watched.estimate


def topology_field() -> str:
    """The field that holds what a partition knows of the placement of models."""
    return f"{STATE}topology"


def topology_in(blob: bytes) -> Topology | None:
    """What lies in such a field."""
    placement = Placement(0)
    placement.restore(decode_state(_KIND, blob))
    return placement.latest


def profile_field(model: str, version: str) -> str:
    """The field that holds the reference of a version."""
    return f"{STATE}model|{escape(model)}|profile|{escape(version)}"


def origin_in(blob: bytes) -> Origin:
    """What the reference in such a field was made of."""
    return profile_from_data(decode_state(_KIND, blob)).origin


class MonitorStateFactory(NamedTuple):
    """Makes the folds of all partitions from one set of settings."""

    spec: MonitorSpec
    prefix: str

    def new(self, topic: str, partition: int) -> MonitorState:
        """The state before the first record."""
        return MonitorState(PartitionMonitor(topic, partition, self.spec), self.prefix)

    def restore(self, topic: str, partition: int, fields: Mapping[str, bytes]) -> MonitorState:
        """The state that was committed.

        Raises:
            CorruptState: the fields do not read back.
        """
        parts = {
            name.removeprefix(STATE): decode_state(_KIND, blob)
            for name, blob in fields.items()
            if name.startswith(STATE) and blob
        }
        try:
            monitor = PartitionMonitor.restore(topic, partition, self.spec, parts)
        except Exception as error:  # whatever it is that does not fit: it is rebuilt, not guessed
            raise CorruptState(f"{topic}:{partition}: {error!r}") from error
        return MonitorState(monitor, self.prefix)
