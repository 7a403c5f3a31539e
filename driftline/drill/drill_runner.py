"""Run a drill on Kafka: copy the live events, wait for the alert, remove the synthetic model."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import msgspec

from driftline.drill.measurement import DrillMeasurement, SyntheticEventCopier
from driftline.drill.messages import FinalState
from driftline.monitor_state.partition_state import RedisReader, read_partition
from driftline.monitor_state.served_profile import known_models
from driftline.topics.topic_reader import END, Record, TopicDecoder, TopicReader, tail
from producer.arrow_batch import BATCH_CE_TYPE
from producer.codec import RejectedRecord
from producer.events import CE_TYPE_OF, Command, InferenceEvent, ModelUpdate
from producer.ids import uuid7
from producer.writer import DeliveryError, EventWriter
from stream_monitor.contracts import ALERT_CE_TYPE, DriftAlert
from stream_monitor.ingest.event_columns import events_in
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data

POLL_S: Final = 0.02
"""Longest wait for records of a topic; it limits the resolution of the measured times."""
CHECK_INTERVAL_S: Final = 0.5
ALERTS_TAIL: Final = 1_000
_INFERENCE: Final = (CE_TYPE_OF[InferenceEvent], BATCH_CE_TYPE, None)


class DrillTarget(NamedTuple):
    """The topics and servers of a drill; ``client`` is librdkafka's configuration."""

    client: Mapping[str, Any]
    bootstrap_servers: str
    prefix: str
    events: str
    alerts: str
    redis: RedisReader
    shards: int


def new_drill_id() -> str:
    """A random id for a drill."""
    return secrets.token_hex(6)


class Drill:
    """One drill; use as a context manager, which removes the synthetic model at the end.

    ``clock_s`` is a monotonic clock for all measured times.

    Raises:
        KafkaException: no broker answers.
        MissingTopicError: the topic does not exist.
        DeliveryError: Kafka did not acknowledge a record.
    """

    def __init__(
        self,
        measurement: DrillMeasurement,
        target: DrillTarget,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._measurement, self._target, self._clock_s = measurement, target, clock_s
        self._copier = SyntheticEventCopier(measurement.plan)
        self._partitions: set[int] = set()
        self._alert_of = TopicDecoder(target.alerts, DriftAlert, kind=ALERT_CE_TYPE)
        self._started_s = clock_s()
        self._writer = open_event_writer(
            target, f"/driftline/drill/{measurement.plan.synthetic_model}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(DeliveryError):  # all copies must precede the command
            self._writer.flush()
        name = self._measurement.plan.synthetic_model
        write_forget_command(self._writer, name, sorted(self._partitions))

    def run(self, profile: ReferenceProfile, timeout_s: float, max_changed: int) -> FinalState:
        """Copy events until the alert arrives, at most ``max_changed`` changed ones.

        Stops after ``timeout_s`` seconds.
        """
        plan, target = self._measurement.plan, self._target
        self._started_s = self._clock_s()
        with (
            TopicReader(target.client, target.alerts, start=tail(ALERTS_TAIL)) as alerts,
            TopicReader(target.client, target.events, start=END) as events,
        ):
            self._announce(profile)
            checked_s = self._clock_s()
            while self._measurement.first_alert is None and self._elapsed_s() < timeout_s:
                if self._copier.n_copies < plan.unchanged_events + max_changed:
                    self._copy(events.poll(POLL_S))
                elif self._clock_s() - checked_s > CHECK_INTERVAL_S:
                    checked_s = self._clock_s()
                    if not self._unread():
                        self._read_alerts(alerts.poll(CHECK_INTERVAL_S))
                        break
                self._read_alerts(alerts.poll(POLL_S))
        return FinalState(self._elapsed_s(), self._unread(), self._known())

    def _elapsed_s(self) -> float:
        return self._clock_s() - self._started_s

    def _announce(self, profile: ReferenceProfile) -> None:
        """Announce the synthetic model with the profile of the live version."""
        plan, now_ms = self._measurement.plan, round(time.time() * 1000)
        update = ModelUpdate(
            id=uuid7(now_ms),
            model=plan.synthetic_model,
            version=plan.version,
            time_ms=now_ms,
            profile=profile_to_data(msgspec.structs.replace(profile, model=plan.synthetic_model)),
        )
        self._writer.write(update, on_delivered=lambda where, _: self._partitions.add(where))
        self._writer.flush()

    def _copy(self, records: Sequence[Record]) -> None:
        name = self._measurement.plan.model.encode()
        for record in records:
            # Most records of a shared topic belong to other models: do not decode them.
            if record.kind not in _INFERENCE or name not in (record.value or b""):
                continue
            try:
                events = events_in(record.value or b"", record.kind)
            except RejectedRecord:
                continue  # the monitor rejects it, too
            for event in events:
                copy = self._copier.copy(event) if isinstance(event, InferenceEvent) else None
                if copy is not None:
                    self._write(copy, self._copier.n_copies - 1)
        if records:
            self._writer.flush()

    def _write(self, copy: InferenceEvent, number: int) -> None:
        def on_delivered(partition: int, offset: int) -> None:
            self._measurement.on_delivered(number, partition, offset, self._clock_s())

        self._writer.write(copy, on_delivered=on_delivered)

    def _read_alerts(self, records: Sequence[Record]) -> None:
        received_s = self._clock_s()
        for record in records:
            alert = self._alert_of.of(record)
            if alert is not None:
                self._measurement.on_alert(alert, received_s)

    def _unread(self) -> int:
        """The number of records not processed, and of alerts not published, by the monitor."""
        behind = 0
        for partition, end in self._measurement.ends.items():
            state = read_partition(self._target.redis, self._target.events, partition)
            behind += max(0, end - (state.next or 0)) + state.unpublished
        return behind

    def _known(self) -> bool:
        target, synthetic_model = self._target, self._measurement.plan.synthetic_model
        return all(
            synthetic_model in known_models(target.redis, target.events, partition)
            for partition in self._partitions
        )


def open_event_writer(target: DrillTarget, source: str) -> EventWriter:
    """A writer of the event topic with ``source`` as its ``ce_source``."""
    librdkafka = {name: v for name, v in target.client.items() if name != "bootstrap.servers"}
    return EventWriter(
        target.bootstrap_servers,
        topic_prefix=target.prefix,
        source=source,
        shards=target.shards,
        librdkafka=librdkafka,
    )


def write_forget_command(
    writer: EventWriter, synthetic_model: str, partitions: Sequence[int]
) -> None:
    """Write a command to forget a synthetic model into each of its partitions.

    Raises:
        DeliveryError: Kafka did not acknowledge the command; the synthetic model stays.
    """
    now_ms = round(time.time() * 1000)
    for partition in partitions:
        order = Command(
            id=uuid7(now_ms),
            model=synthetic_model,
            action="forget",
            episode="",
            actor="drill",
            time_ms=now_ms,
        )
        writer.write(order, partition=partition)
    writer.flush()
