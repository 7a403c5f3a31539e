"""The state of one partition as the runtime sees it: fields of a Redis hash, and an outbox."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from producer.events import Topology
from producer.names import escape, version_key
from producer.synthetic import is_synthetic
from stream_monitor.checks.error_estimate import ErrorEstimate
from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.core.control_records import ControlOutcome
from stream_monitor.core.coverage import CoverageRow
from stream_monitor.core.observation import Observation, Steps, finished
from stream_monitor.core.partition import TOPOLOGY, PartitionMonitor
from stream_monitor.core.placement import PlacementState
from stream_monitor.core.reference_transfer import ReferenceTransfer, transfers_of
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.event_numbers import NumberedRecords
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.stored_profile import PROFILE, StoredProfile, unpack_profile
from stream_monitor.state.codec import decode_state, unwrap, wrap
from stream_monitor.state.store import OUTBOX
from stream_monitor.windows.closed_window import ClosedWindow, window_key
from stream_monitor.windows.performance import WindowPerformance, performance_key

KIND: Final = "monitor"
"""The kind of the envelopes of state."""
STATE: Final = "s:"
"""Prefix of the fields that hold state."""
ALERT: Final = f"{OUTBOX}a:"
"""Prefix of outbox fields that hold an alert as JSON; the rest of the name is the alert's id."""
WINDOW: Final = f"{OUTBOX}w:"
"""Prefix of outbox fields that hold a closed window; the rest is its Redis key."""
PERFORMANCE: Final = f"{OUTBOX}p:"
"""Prefix of outbox fields that hold the performance of a window; the rest is its offset, a colon,
and its Redis key: later performance of the same window is another entry."""
_DISJOINT: Final = (
    "valid",
    "late",
    "not_watched",
    "duplicate",
    "dead_lettered",
    "labels",
    "control",
    "ticks",
)


class BatchResult(NamedTuple):
    """The results of one batch.

    ``outbox`` maps fields (`ALERT`, `WINDOW`, `PERFORMANCE`) to what is published after the commit.
    ``urgent`` asks for an immediate commit; the worker logs ``controls``.  ``batch_rows`` has the
    rows of each record of many events, by offset.
    """

    alerts: Sequence[DriftAlert]
    dead_letters: Sequence[DeadLetter]
    outbox: Mapping[str, bytes]
    urgent: bool
    controls: Sequence[ControlOutcome] = ()
    batch_rows: Mapping[int, int] = {}


class PartitionState:
    """The state of one partition: a pure function of its records below the next offset."""

    def __init__(self, monitor: PartitionMonitor, prefix: str) -> None:
        self.monitor = monitor
        self._prefix = prefix
        self._latest_windows: dict[tuple[str, str], ClosedWindow] = {}  # of this process only

    @property
    def n_versions(self) -> int:
        """The number of watched versions that are not idle."""
        return sum(
            not version.idle
            for model in self.monitor.models.values()
            for version in model.versions.values()
        )

    def observe(self, batch: RecordBatch) -> BatchResult:
        """Apply a batch.  After an exception the state is undefined and must be dropped."""
        return finished(self.observe_in_steps(batch))

    def observe_in_steps(self, batch: RecordBatch) -> Steps[BatchResult]:
        """Apply a batch; between the steps, and if they end early, the state is undefined."""
        decoded = self.monitor.decode(batch)
        yield
        seen = yield from self.monitor.apply_in_steps(decoded)
        return self._result(seen, batch.next - 1)

    def decode_rows(self, batch: RecordBatch) -> list[tuple[int, NumberedRecords]]:
        """Decode one record of many events into its rows; `observe_rows` must follow for each."""
        return self.monitor.decode(batch).by_row()

    def observe_rows(self, rows: NumberedRecords, offset: int) -> BatchResult:
        """Apply rows of the record at ``offset``, as `observe` does the whole record."""
        return self._result(finished(self.monitor.apply_in_steps(rows)), offset)

    def _result(self, seen: Observation, offset: int) -> BatchResult:
        outbox = {f"{ALERT}{alert.alert_id}": msgspec.json.encode(alert) for alert in seen.alerts}
        for window in seen.windows:
            if is_synthetic(window.model):  # a drill: its events are synthetic
                continue
            key = window_key(
                self._prefix,
                window.model,
                window.version,
                window.start_ms,
                window.partition,
                shadow=window.shadow,
            )
            outbox[f"{WINDOW}{key}"] = msgspec.json.encode(window)
            if not window.shadow:
                self._latest_windows[window.model, window.version] = window
        outbox |= self._performance(offset)
        return BatchResult(
            seen.alerts,
            seen.dead_letters,
            outbox,
            bool(seen.alerts),
            seen.controls,
            seen.batch_rows,
        )

    def _performance(self, offset: int) -> dict[str, bytes]:
        """Performance of the windows that labels changed, as of the record at ``offset``."""
        outbox: dict[str, bytes] = {}
        for model in self.monitor.models.values():
            if is_synthetic(model.name):
                continue
            served = [(version, windows, False) for version, windows in model.windows.items()]
            shadows = () if model.shadows is None else model.shadows.windows()
            for version, windows, shadow in [*served, *shadows]:
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
                        shadow=shadow,
                    )
                    key = window_key(
                        self._prefix,
                        model.name,
                        version,
                        start_ms,
                        figures.partition,
                        shadow=shadow,
                    )
                    key = performance_key(self._prefix, key)
                    outbox[f"{PERFORMANCE}{offset}:{key}"] = msgspec.json.encode(figures)
        return outbox

    def skip(self, record: ConsumerRecord) -> None:
        """Count a record that is not processed because it crashes the process."""
        counters = self.monitor.counters
        counters.dead_lettered += 1
        counters.append_clock_ms = max(counters.append_clock_ms, record.timestamp_ms)

    def take_changes(self) -> dict[str, bytes]:
        """Fields that changed since the last call; empty bytes mark a dead field.

        They have to be stored, or this state has to be dropped: they are not returned again.
        """
        return {name: blob for step in self.take_changes_in_steps() for name, blob in step.items()}

    def take_changes_in_steps(self) -> Iterator[dict[str, bytes]]:
        """The same fields, model by model; the state must not change between the steps."""
        for parts in self.monitor.take_changes_in_steps():
            yield {
                f"{STATE}{name}": wrap(KIND, payload) if payload else b""
                for name, payload in parts.items()
            }

    def topology(self) -> Topology | None:
        """The placement of models that the records of this partition describe."""
        return self.monitor.placement.latest

    def reference_transfers(self, wanted: Topology) -> Iterator[ReferenceTransfer]:
        """The references of this partition that other partitions need under a placement."""
        return transfers_of(self.monitor.models.values(), self.monitor.partition, wanted)

    def outcomes(self) -> Mapping[str, int]:
        """Number of records by outcome."""
        counters = self.monitor.counters
        found: dict[str, int] = {name: getattr(counters, name) for name in _DISJOINT}
        return found | ({"shadow": counters.shadow} if counters.shadow else {})

    def levels(self) -> Mapping[tuple[str, str], int]:
        """Drift of each (model@version, series): 0 none, 1 suspected, 2 an open episode."""
        return self.monitor.levels()

    def latest_windows(self) -> list[ClosedWindow]:
        """Return each watched version's last window that this process closed."""
        models = self.monitor.models
        self._latest_windows = {
            (model, version): window
            for (model, version), window in self._latest_windows.items()
            if model in models and version in models[model].versions
        }
        return list(self._latest_windows.values())

    def error_rates(self) -> Mapping[tuple[str, str], float]:
        """Error rate of each (model@version, kind), for versions in service with an estimate."""
        rates: dict[tuple[str, str], float] = {}
        for name, estimate in estimates_of(self.monitor):
            rates |= {(name, of): rate for of, rate in estimate.rates().items()}
        return rates

    def coverage(self) -> Mapping[str, Sequence[CoverageRow]]:
        """By model: events of the last hour, watched or by the reason why they were not."""
        return self.monitor.coverage()

    def label_samples(self) -> Mapping[str, tuple[float, int]]:
        """By model: ratio of predictions that may wait for a label, and labels sampled out."""
        return {
            name: (model.labels.sampling_ratio, model.labels.counts.labels_sampled_out)
            for name, model in self.monitor.models.items()
        }


def estimates_of(monitor: PartitionMonitor) -> Iterator[tuple[str, ErrorEstimate]]:
    """The versions in service that have an estimate of their error, by ``model@version``."""
    for model in monitor.models.values():
        for version, watched in model.versions.items():
            if watched.estimate is not None and not watched.idle:
                yield version_key(model.name, version), watched.estimate


def topology_field() -> str:
    """Return the name of the field that holds the placement of models."""
    return f"{STATE}{TOPOLOGY}"


def topology_in(blob: bytes) -> Topology | None:
    """Decode a field of `topology_field`."""
    return decode_state(KIND, blob, PlacementState).latest


def profile_field(model: str, version: str) -> str:
    """The field that holds the reference of a version."""
    return f"{STATE}model|{escape(model)}|version|{escape(version)}|{PROFILE}"


def profile_in(blob: bytes) -> ReferenceProfile:
    """Decode a field of `profile_field`."""
    return unpack_profile(decode_state(KIND, blob, StoredProfile))


class PartitionStateFactory(NamedTuple):
    """Makes the state of all partitions from one set of settings."""

    spec: MonitorSpec
    prefix: str

    def new(self, topic: str, partition: int) -> PartitionState:
        """The state before the first record."""
        return PartitionState(PartitionMonitor(topic, partition, self.spec), self.prefix)

    def restore(self, topic: str, partition: int, fields: Mapping[str, bytes]) -> PartitionState:
        """The state that was committed.

        Raises:
            CorruptState: the fields cannot be decoded.
        """
        payloads = {
            name.removeprefix(STATE): unwrap(KIND, blob)
            for name, blob in fields.items()
            if name.startswith(STATE) and blob
        }
        monitor = PartitionMonitor.restore(topic, partition, self.spec, payloads)
        return PartitionState(monitor, self.prefix)
